"""The figures and pictures of docs/gan-instability.md, docs/gan-collapse.md and docs/gan-bias.md.

``python -m benchmarks.gan_pages [instability] [collapse] [bias] [--seeds 5]``, one CPU thread. The data are points in
the plane and scikit-learn's digits, the players small perceptrons: what they show is how games go wrong, and not how
good a game can be. Pictures are of seed 0; figures are means over seeds with 95 % intervals (Student's t).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks._pictures import Cloud, Line, Panel, charts, clouds, sheet
from sklearn.datasets import load_digits
from torch import Tensor, nn

import gradtape as gt
from gradtape.evidence import mean_interval, per_group, proportion
from gradtape.nets import MinibatchStdDev, PointDiscriminator, PointGenerator
from gradtape.runs import SeriesStore
from gradtape.seeding import generator as random_stream
from gradtape.tracking import read_history
from gradtape.training import Played

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
Settings = dict[str, Any]


class Player(nn.Module):
    """A perceptron with two hidden layers that may be told a class."""

    def __init__(self, inputs: int, outputs: int, width: int = 128, classes: int = 0, last: nn.Module | None = None):
        super().__init__()
        self.classes = classes
        self.body = nn.Sequential(
            nn.Linear(inputs + classes, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)
        )
        self.last = last or nn.Linear(width, outputs)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return outputs (n, outputs)."""
        if label is not None:
            x = torch.cat([x, nn.functional.one_hot(label, self.classes).to(x)], dim=1)
        return self.last(self.body(x))


def figure(values: Sequence[float]) -> str:
    """Return a mean with its interval, or the one value that there is."""
    return f"{mean_interval(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


# --- instability ------------------------------------------------------------------------------------------------------


class Shift(nn.Module):
    """A generator with one number: it puts every sample there."""

    def __init__(self, place: float):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([[place]]))

    def forward(self, z: Tensor) -> Tensor:
        """Return the place n times, shape (n, 1)."""
        return self.place.expand(len(z), 1)


def dirac(steps: int, **settings: Any) -> list[tuple[float, float]]:
    """Return the way of (generator, discriminator) where the data are the point 0 and the discriminator is a slope."""
    slope = nn.Linear(1, 1, bias=False)
    nn.init.constant_(slope.weight, 0.0)
    game = gt.GAN(Shift(1.0), slope, loss="wasserstein", latent=1, **settings)
    for name, model in game.models.items():
        game.optimizers[name] = torch.optim.SGD(model.parameters(), lr=0.1)
    way = []
    for _ in range(steps):
        way.append((game.models["generator"].place.item(), slope.weight.item()))
        game.step(torch.zeros(4, 1))
    return way


def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits in [-1, 1], (1797, 64), in random order, and their classes."""
    found = load_digits()
    order = torch.randperm(len(found.data), generator=random_stream(0, "order"))
    return torch.tensor(found.data / 8 - 1, dtype=torch.float32)[order], torch.tensor(found.target)[order]


def play_digits(seed: int, length: int, store: SeriesStore, played: Settings, **settings: Any) -> tuple[Played, gt.GAN]:
    """Play a game of perceptrons on the digits."""
    x, _ = digits()
    torch.manual_seed(seed)
    generator = Player(16, 64, last=nn.Sequential(nn.Linear(128, 64), nn.Tanh()))
    game = gt.GAN(generator, Player(64, 1), latent=16, ema=0.98, seed=seed, **settings)
    done = gt.play(game, x[:1500], steps=length, held_out=x[1500:], seed=seed, store=store, **played)
    return done, game


FAST = {"loss": "minimax", "penalties": [], "lr": (1e-3, 3e-2)}


def penalised() -> Settings:
    return {"penalties": [gt.R1(0.5), gt.R2(0.5)]}


HEALTHY = "rates 2e-3, relativistic, R1 + R2, decay"
INSTABILITY: dict[str, Callable[[int], tuple[Settings, Settings]]] = {
    "as it is": lambda steps: (FAST, {}),
    "R1 + R2": lambda steps: ({**FAST, **penalised()}, {}),
    "rollback": lambda steps: (FAST, {"on_failure": "rollback"}),
    HEALTHY: lambda steps: ({**penalised(), "lr": 2e-3, "steps": steps}, {}),
}
SHOWN = {HEALTHY: "a healthy game", "as it is": "a game that is lost"}


def instability(seeds: int, steps: int = 400) -> None:
    """A discriminator that learns 30 times as fast, with a loss that saturates."""
    print("\nDirac-GAN: distance from the goal, which is 0, after 200 steps of size 0.1")
    ways = {
        "one pass, no penalty": dirac(201, penalties=[]),
        "in turns, no penalty": dirac(201, penalties=[], solver="alternating"),
        "one pass, R1(1)": dirac(201, penalties=[gt.R1(1.0)]),
        "in turns, R1(1)": dirac(201, penalties=[gt.R1(1.0)], solver="alternating"),
    }
    for name, way in ways.items():
        print(f"  {name:<24}{math.hypot(*way[-1]):8.4f}")
    shown = []
    for name, way in list(ways.items())[:3]:
        across, up = zip(*way, strict=True)
        shown.append(Panel(name, [Line("generator", range(201), across), Line("discriminator", range(201), up)]))
    charts(shown, ASSETS / "gan-dirac.svg", 3)

    panels, pictures, notes = [], [], []
    print(f"\nquality at the end and at its best, {seeds} seeds of {steps} steps; lower is better")
    for arm, make in INSTABILITY.items():
        last, best, named, back = [], [], [], 0
        for seed in range(seeds):
            settings, played = make(steps)
            with closing(SeriesStore(Path(":memory:"))) as store:
                done, game = play_digits(seed, steps, store, played, **settings)
                if seed == 0 and arm in SHOWN:
                    panels.append(curves(SHOWN[arm], store, done))
            last.append(done.quality[-1][1])
            best.append(min(value for _, value in done.quality))
            named.append({finding.rule for finding in done.findings})
            back += len(done.rollbacks)
            if seed == 0:
                quality = " ".join(f"{value:.2f}" for _, value in done.quality)
                notes += [f"\n{arm}, seed 0: quality {quality}, floor {done.floor:.2f}; {done.stopped}"]
                notes += [f"  {said}" for said in (*done.rollbacks, *done.findings)]
                z = torch.randn(16, 16, generator=random_stream(0, "shown"))
                pictures.append(game.models["generator"](z).detach().view(-1, 8, 8))
        each = " ".join(f"{value:.2f}" for value in last)
        rules = sorted({rule for found in named for rule in found})
        heard = ", ".join(f"{rule} {sum(rule in found for found in named)}" for rule in rules)
        print(
            f"  {arm:<46}{figure(last):<20}{figure(best):<20}{each} {back} rollbacks; {heard or 'nothing found'}",
            flush=True,
        )
    print("\n".join(notes))
    charts([panel for row in reversed(panels) for panel in row], ASSETS / "gan-instability.svg", 3)
    sheet([pictures[-1], pictures[0], pictures[-2]], ASSETS / "gan-instability.png")


def curves(title: str, store: SeriesStore, done: Played) -> list[Panel]:
    """Return charts of the quality, of both gradient norms and of the mean logits."""
    histories = {name: read_history(store, name) for name in ("generator", "discriminator")}
    norms = {name: np.sqrt(np.nansum(h.measures["grad_norm"] ** 2, axis=1)) for name, h in histories.items()}
    marks = sorted({finding.since_step for finding in done.findings})
    logits = {name: store.read(f"discriminator/{name}") for name in ("real", "fake")}
    steps = [step for step, _ in done.quality]
    return [
        Panel(
            f"{title}: quality",
            [Line("quality", steps, [v for _, v in done.quality]), Line("real data", steps, [done.floor] * len(steps))],
            marks=marks, start=0.0,
        ),
        Panel("gradient norms", [Line(n, histories[n].steps, v) for n, v in norms.items()], log=True, marks=marks),
        Panel("mean logits", [Line(n, s.steps, s.values[:, 0]) for n, s in logits.items()], marks=marks),
    ]  # fmt: skip


# --- collapse ---------------------------------------------------------------------------------------------------------

MODES, DEVIATION = 8, 0.1


def centres() -> Tensor:
    angle = torch.arange(MODES) * (2 * math.pi / MODES)
    return torch.stack([angle.cos(), angle.sin()], dim=1) / 0.71  # of about unit variance


def ring(n: int, random: torch.Generator) -> Tensor:
    """Return n points of eight Gaussians on a circle."""
    rows = torch.randint(MODES, (n,), generator=random)
    return centres()[rows] + DEVIATION * torch.randn(n, 2, generator=random)


def modes(points: Tensor) -> tuple[int, float]:
    """Return the number of modes that are reached, and the share of points within 3 deviations of any.

    A mode is reached by a quarter of its share of the points that are near one, so that samples that are blurred alike
    everywhere count as having all modes: how sharp they are is the second figure.
    """
    distance, mode = torch.cdist(points, centres()).min(dim=1)
    near = distance < 3 * DEVIATION
    counts = torch.bincount(mode[near], minlength=MODES)
    least = max(5.0, float(near.sum()) / MODES / 4)
    return int((counts >= least).sum()), float(near.double().mean())


PLAIN: Settings = {"loss": "nonsaturating", "penalties": [], "steps": None}
COLLAPSE: dict[str, tuple[Settings, str]] = {
    "non-saturating, no penalty": (PLAIN, ""),
    "+ Packing(4)": ({**PLAIN, "views": [gt.Packing(4)]}, "packed"),
    "+ MinibatchStdDev(4)": (PLAIN, "deviation"),
    "+ ModeSeeking(1)": ({**PLAIN, "diversity": [gt.ModeSeeking(1.0)]}, ""),
    "+ unroll=3": ({**PLAIN, "unroll": 3}, ""),
    "+ PointGenerator": (PLAIN, "mixture"),
    "+ R1 + R2": ({"loss": "nonsaturating", "steps": None}, ""),
    "relativistic, no penalty": ({"penalties": [], "steps": None}, ""),
    "relativistic, R1 + R2": ({"steps": None}, ""),
    "the same, PointGenerator": ({"steps": None}, "mixture"),
    "all defaults, point networks": ({"lr": (5e-4, 1e-3)}, "points"),
}


def ring_game(seed: int, steps: int, settings: Settings, networks: str) -> gt.GAN:
    torch.manual_seed(seed)
    generator: nn.Module = Player(8, 2, 64)
    discriminator: nn.Module = Player(8 if networks == "packed" else 2, 1, 64)
    if networks == "deviation":
        discriminator = Player(2, 1, 64, last=nn.Sequential(MinibatchStdDev(4), nn.Linear(65, 1)))
    if networks in ("mixture", "points"):
        generator = PointGenerator(2, latent=8, width=64)
    if networks == "points":
        discriminator = PointDiscriminator(2, width=64)
    return gt.GAN(
        generator,
        discriminator,
        **{"latent": 8, "lr": (1e-3, 1e-2), "ema": 0.98, "steps": steps, "seed": seed, **settings},
    )


def collapse(seeds: int, steps: int = 400) -> None:
    """Eight Gaussians on a circle, of which a game without penalty keeps a few."""
    goal = ring(2000, random_stream(0, "goal"))
    found = modes(goal)
    print(f"\nreal data: {found[0]} modes, {found[1]:.3f} near one")
    blur = modes(torch.randn(2000, 2, generator=random_stream(0, "blur")) * goal.std())
    print(f"one Gaussian of the data's spread: {blur[0]} modes, {blur[1]:.3f} near one")
    shown = []
    for arm, (settings, networks) in COLLAPSE.items():
        counts, shares, seconds = [], [], []
        for seed in range(seeds):
            game, random = ring_game(seed, steps, settings, networks), random_stream(seed, "data")
            began = time.process_time()
            for _ in range(steps):
                game.step(ring(64, random))
            seconds.append((time.process_time() - began) / steps * 1000)
            points = game.sample(2000, random=random_stream(seed, "shown"))
            kept, near = modes(points)
            counts.append(float(kept))
            shares.append(near)
            if seed == 0:
                shown.append(Cloud(arm.partition(" (")[0].replace(", no penalty", ""), points[:400], goal[:400]))
        print(
            f"  {arm:<38}{figure(counts):<20}{' '.join(f'{n:.0f}' for n in counts):<12}"
            f"{figure(shares):<20}{np.median(seconds):5.1f} ms  {game.solver.name}",
            flush=True,
        )
    clouds(shown, ASSETS / "gan-collapse.svg", 5, 2.0)


# --- bias -------------------------------------------------------------------------------------------------------------

SMALL, LARGE = 30, 570  # zeros and other digits that are trained on
GROUPS = ("others", "zeros")
BIAS: dict[str, tuple[Settings, bool, bool]] = {  # settings, conditional, groups drawn evenly
    "unconditional, no penalty, no decay": ({"penalties": [], "steps": None}, False, False),
    "unconditional, R1 + R2": ({}, False, False),
    "conditional": ({}, True, False),
    "conditional, drawn evenly": ({}, True, True),
}


class Reader:
    """Reads which group a sample belongs to, by its five nearest neighbours among all real digits."""

    def __init__(self, x: Tensor, group: Tensor) -> None:
        self.x, self.group = x, group

    def __call__(self, samples: Tensor, skip: int = 0) -> Tensor:
        """Return groups (n,); ``skip`` nearest rows are left out, for rows that are among them."""
        near = torch.cdist(samples, self.x).topk(5 + skip, dim=1, largest=False).indices[:, skip:]
        return self.group[near].double().mean(dim=1).round().long()


def energy(a: Tensor, b: Tensor) -> float:
    """Return the energy distance of two sets of rows, in units of the spread of the second."""
    within = float(torch.cdist(b, b).mean())
    return (2 * float(torch.cdist(a, b).mean()) - float(torch.cdist(a, a).mean()) - within) / within


def closer(samples: Tensor, trained: Tensor, fresh: Tensor) -> float:
    """Return P(a sample is nearer to a training row than a fresh real one is): 0.5 is no nearer, 1 is copied."""
    made, real = (torch.cdist(rows, trained).min(dim=1).values for rows in (samples, fresh))
    return float((made[:, None] < real).double().mean() + (made[:, None] == real).double().mean() / 2)


def bias(seeds: int, steps: int = 400) -> None:
    """Digits of which one in twenty is a zero."""
    x, label = digits()
    group = (label == 0).long()
    reader = Reader(x, group)
    read = per_group((reader(x, skip=1) == group).numpy(), group.numpy(), GROUPS)
    print("\nthe reader on real digits:", ", ".join(f"{g.name} {g.interval:.3f} n={g.n}" for g in read))
    zeros, others = torch.nonzero(group).squeeze(1), torch.nonzero(group == 0).squeeze(1)
    rows = torch.cat([others[:LARGE], zeros[:SMALL]])
    held = {0: x[others[LARGE:]], 1: x[zeros[SMALL:]]}
    real, told = x[rows], group[rows]
    print(f"trained on: {proportion(SMALL, SMALL + LARGE):.3f} zeros; held out {len(held[1])} and {len(held[0])}")
    floor = {g: energy(real[told == g], held[g]) for g in (0, 1)}
    print("quality of the training rows: " + ", ".join(f"{GROUPS[g]} {floor[g]:.3f}" for g in (0, 1)))
    lines, pictures = [], [held[1][:16]]
    for arm, (settings, conditional, evenly) in BIAS.items():
        figures: dict[str, list[float]] = {}
        for seed in range(seeds):
            torch.manual_seed(seed)
            classes = 2 if conditional else 0
            last = nn.Sequential(nn.Linear(128, 64), nn.Tanh())
            game = gt.GAN(
                Player(16, 64, classes=classes, last=last),
                Player(64, 1, classes=classes),
                **{**penalised(), "latent": 16, "lr": 2e-3, "ema": 0.98, "steps": steps, "seed": seed, **settings},
            )
            chosen = random_stream(seed, "batches")
            weight = torch.where(told == 1, 0.5 / SMALL, 0.5 / LARGE) if evenly else torch.ones(len(real))
            asked = (torch.arange(2000) < 2000 * SMALL // (SMALL + LARGE)).long()
            course = []
            for step in range(steps):
                picked = torch.multinomial(weight, 64, replacement=True, generator=chosen)
                game.step(real[picked], told[picked] if conditional else None)
                if seed == 0 and step % 20 == 19:
                    some = game.sample(500, asked[::4] if conditional else None, random_stream(1, "shown"))
                    course.append((step + 1, float(reader(some).double().mean())))
            samples = game.sample(2000, asked if conditional else None, random_stream(seed, "shown"))
            seen = reader(samples)
            figures.setdefault("share", []).append(float(seen.double().mean()))
            of = asked if conditional else seen
            if conditional:
                obeyed = per_group((seen == asked).numpy(), asked.numpy(), GROUPS)
                figures.setdefault("zeros obeyed", []).append(obeyed[1].value or 0.0)
            for g in (0, 1):
                found = samples[of == g]
                if len(found) < 20:
                    continue
                figures.setdefault(f"{GROUPS[g]} quality", []).append(energy(found, held[g]))
                figures.setdefault(f"{GROUPS[g]} closer", []).append(closer(found, real[told == g], held[g]))
            if seed == 0:
                lines.append(Line(arm.rpartition("unconditional, ")[2], *np.array(course).T))
                zero = samples[of == 1][:16]
                pictures.append(torch.cat([zero, torch.full((16 - len(zero), 64), -1.0)]))
        print(f"  {arm}", flush=True)
        for name, values in figures.items():
            shown = f"{mean_interval(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"
            print(f"    {name:<16}{shown}  n={len(values)}  {' '.join(f'{v:.3f}' for v in values)}")
    sheet([images.view(-1, 8, 8) for images in pictures], ASSETS / "gan-bias.png")
    course_of = np.asarray(lines[0].x)
    data = Line("the data", course_of, np.full(len(course_of), SMALL / (SMALL + LARGE)))
    charts([Panel("share of zeros", [lines[0], data]), Panel("share of zeros", [lines[1], data])],
           ASSETS / "gan-bias.svg", 2)  # fmt: skip


TOPICS = {"instability": instability, "collapse": collapse, "bias": bias}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", choices=[*TOPICS, []], help="which pages; all if none is named")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ASSETS.mkdir(exist_ok=True)
    for name in asked.topics or TOPICS:
        began = time.process_time()
        TOPICS[name](asked.seeds)
        print(f"{name}: {time.process_time() - began:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
