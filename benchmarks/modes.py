"""How many modes of a mixture in the plane the default game finds, how cleanly, how evenly, seed by seed.

``python benchmarks/modes.py [--seeds 10] [--steps 12000] [--only ring] [--solver auto]``, one CPU thread.

The protocol is PacGAN's (Lin et al. 2018): ring: 8 Gaussians on a circle of radius 1, σ .01; grid: 25 on
{-4, -2, 0, 2, 4}², σ .05; 2,500 samples; a sample is of high quality within 3 σ of the nearest mode; a mode counts with
one such sample; KL is that of the counts of high-quality samples against the uniform distribution. The data are
standardised by their own mean and standard deviation; every setting is the same for both and is ``gt.GAN``'s default.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import gradtape as gt
from gradtape.evidence import mean_interval
from gradtape.nets import PointDiscriminator, PointGenerator
from gradtape.seeding import generator as random_stream

SAMPLES = 2_500
POOL = 100_000
BATCH = 256


class Mixture(NamedTuple):
    """Gaussians of one size, equally likely."""

    centres: Tensor
    deviation: float

    def draw(self, n: int, random: torch.Generator) -> Tensor:
        """Return n samples."""
        rows = torch.randint(len(self.centres), (n,), generator=random)
        return self.centres[rows] + self.deviation * torch.randn(n, 2, generator=random)


class Score(NamedTuple):
    """What samples are worth."""

    modes: int
    high_quality: float
    reverse_kl: float
    spread: float


def ring() -> Mixture:
    angle = torch.arange(8) * math.pi / 4
    return Mixture(torch.stack([angle.cos(), angle.sin()], dim=1), 0.01)


def grid() -> Mixture:
    side = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(side, side), 0.05)


MIXTURES: dict[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid}


def score(samples: Tensor, mixture: Mixture) -> Score:
    """Return modes found, share of high quality, reverse KL, and the standard deviation inside modes over theirs."""
    distance, mode = torch.cdist(samples, mixture.centres).min(dim=1)
    good = distance < 3 * mixture.deviation
    counts = torch.bincount(mode[good], minlength=len(mixture.centres)).double()
    share = counts[counts > 0] / counts.sum()
    kl = float((share * (share * len(counts)).log()).sum()) if len(share) else math.inf
    within = (samples - mixture.centres[mode])[good]
    return Score(len(share), float(good.double().mean()), kl, float(within.std() / mixture.deviation))


def play(mixture: Mixture, seed: int, steps: int, solver: str) -> tuple[Score, float, str]:
    """Return the score of a game by the defaults, its CPU seconds, and how it was stepped."""
    began = time.process_time()
    random = random_stream(seed, "data")
    pool = mixture.draw(POOL, random)
    mean, deviation = pool.mean(dim=0), pool.std(dim=0)
    pool = (pool - mean) / deviation
    torch.manual_seed(seed)
    game = gt.GAN(PointGenerator(2), PointDiscriminator(2), steps=steps, solver=solver, seed=seed)
    for _ in range(steps):
        game.step(pool[torch.randint(POOL, (BATCH,), generator=random)])
    samples = game.sample(SAMPLES) * deviation + mean
    return score(samples, mixture), time.process_time() - began, game.solver.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--only", choices=MIXTURES)
    parser.add_argument("--solver", default="auto")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in [asked.only] if asked.only else MIXTURES:
        mixture = MIXTURES[name]()
        perfect = score(mixture.draw(SAMPLES, random_stream(0, "perfect")), mixture)
        spread = mixture.draw(POOL, random_stream(0, "floor")).std() * torch.randn(
            SAMPLES, 2, generator=random_stream(1, "floor")
        )
        print(f"\n{name}   modes  high quality  reverse KL  spread   CPU s  solver")
        print(f"{'ceiling':<8}" + line(perfect) + "          perfect samples")
        print(
            f"{'floor':<8}" + line(score(spread, mixture)) + "          one Gaussian of the data's spread", flush=True
        )
        found = []
        for seed in range(asked.first, asked.first + asked.seeds):
            result, seconds, solver = play(mixture, seed, asked.steps, asked.solver)
            found.append(result)
            print(f"seed {seed:<3}{line(result)}{seconds:8.0f}  {solver}", flush=True)
        everywhere = sum(result.modes == len(mixture.centres) for result in found)
        print(f"all {len(mixture.centres)} modes in {everywhere} of {len(found)} seeds; ", end="")
        print(f"worst high quality {min(r.high_quality for r in found):.4f}, KL {max(r.reverse_kl for r in found):.4f}")
        if len(found) > 1:
            for title, values in (
                ("high quality", [r.high_quality for r in found]),
                ("reverse KL", [r.reverse_kl for r in found]),
            ):
                interval = mean_interval(values)
                print(f"mean {title} {interval.mean:.4f} (95% {interval.low:.4f} to {interval.high:.4f})", flush=True)


def line(found: Score) -> str:
    return f"{found.modes:>6}{found.high_quality:>14.4f}{found.reverse_kl:>12.4f}{found.spread:>8.2f}"


if __name__ == "__main__":
    main()
