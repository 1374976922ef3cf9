"""Playing games: what is tracked and measured, stopping in time, going back, exact resume."""

from __future__ import annotations

import copy
import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError
from gradtape.games import GameStep
from gradtape.runs import SeriesStore
from gradtape.seeding import derive, generator
from gradtape.tracking import Finding
from gradtape.training import Checkpoint, Played
from gradtape.training import _course as course_file
from gradtape.training._likeness import Likeness
from gradtape.training._rollback import CHANGES, Weights, change

ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join([str(ROOT / "src"), str(ROOT)])


def perceptron(inputs: int, outputs: int, width: int = 24) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, outputs))


def ring(n: int, seed: int = 0, modes: int = 8) -> Tensor:
    random = generator(seed, "ring")
    angle = torch.randint(modes, (n,), generator=random) * (2 * math.pi / 8)
    centre = torch.stack([angle.cos(), angle.sin()], dim=1) * math.sqrt(2)
    return centre + 0.05 * torch.randn(n, 2, generator=random)


class Kept(gt.GAN):
    """A game that remembers what its steps returned."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.returned: list[GameStep] = []

    def step(self, real: Tensor, condition: Tensor | None = None) -> GameStep:
        self.returned.append(super().step(real, condition))
        return self.returned[-1]


def game(kind: type[Kept] | None = None, seed: int = 0, dropout: bool = False, **settings: Any) -> Kept:
    torch.manual_seed(seed)
    critic: nn.Module = perceptron(2, 1)
    if dropout:
        critic = nn.Sequential(nn.Dropout(0.1), critic)
    given = {"latent": 4, "lr": 2e-3, "penalties": [gt.R1(0.05), gt.R2(0.05)], "ema": 0.9, "seed": seed, **settings}
    return (kind or Kept)(perceptron(4, 2), critic, **given)


def same(a: object, b: object) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def scripted(values: list[float]) -> Any:
    left = iter(values)
    return lambda samples: next(left)


def test_channels_hold_what_each_step_returned_and_what_the_game_says_of_rows() -> None:
    store, player, real = SeriesStore(Path(":memory:")), game(), ring(200)
    held_out = ring(100, seed=1)
    said: list[tuple[int, float, float, float]] = []

    def look(step: int, game: gt.GAN) -> None:
        said.append((step, *(float(game.judge(x).mean()) for x in (real, held_out)), float("nan")))

    played = gt.play(player, real, steps=10, every=4, held_out=held_out, store=store, player="a", look=look)
    assert player.position == played.steps == 10
    for name, channel in (
        ("discriminator", "discriminator/loss"),
        ("generator", "generator/loss"),
        ("penalty", "discriminator/penalty"),
        ("real", "discriminator/real"),
        ("fake", "discriminator/fake"),
    ):
        series = store.read(f"a/{channel}")
        assert series.steps.tolist() == list(range(10))
        expected = torch.tensor([getattr(done, name) for done in player.returned])
        assert torch.equal(torch.tensor(series.values[:, 0]), expected)
    assert [step for step, *_ in said] == [4, 8, 10]
    for column, channel in ((1, "training"), (2, "held_out")):
        series = store.read(f"a/discriminator/{channel}")
        assert series.steps.tolist() == [3, 7, 9]
        assert series.values[:, 0].tolist() == pytest.approx([row[column] for row in said], rel=1e-5)
    assert store.read("a/generator/quality").values[:, 0].tolist() == pytest.approx([v for _, v in played.quality])
    assert [step for step, _ in played.quality] == [4, 8, 10]
    assert 0 <= store.read("a/generator/coverage").values.min() <= store.read("a/generator/coverage").values.max() <= 1
    assert played.stopped == "all 10 steps were made"


def test_playing_is_stepping_on_rows_drawn_by_the_seed_and_looks_change_nothing() -> None:
    played, stepped, real = game(dropout=True), game(dropout=True), ring(300)
    gt.play(
        played, real, steps=12, every=3, batch_size=16, seed=5, held_out=ring(50, 1), quality=scripted([1, 2, 3, 4])
    )
    random = generator(5, "batches")
    states = []
    for number in range(12):
        torch.manual_seed(derive(5, "noise", number))
        stepped.step(real[torch.randint(300, (16,), generator=random)])
        states.append(copy.deepcopy(stepped.average.state_dict()))
    assert played.returned == stepped.returned
    assert same(played.models["generator"].state_dict(), stepped.models["generator"].state_dict())
    assert same(played.average.state_dict(), states[2])  # the best of the scripted looks was the first


def test_classes_go_to_both_players_with_the_rows_they_belong_to() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watching(gt.GAN):
        def step(self, real: Tensor, condition: Tensor | None = None) -> GameStep:
            assert condition is not None
            seen.append((real, condition))
            return super().step(real, condition)

    class Told(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.table, self.net = nn.Embedding(8, 3), perceptron(inputs + 3, outputs)

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return self.net(torch.cat([x, self.table(labels)], dim=1))

    real = ring(64)
    labels = torch.arange(64) % 8
    gt.play(Watching(Told(4, 2), Told(2, 1), latent=4), real, labels, steps=4, held_out=real, held_condition=labels)
    for rows, told in seen:
        assert all(labels[int((real == row).all(1).nonzero())] == label for row, label in zip(rows, told, strict=True))


def test_the_best_average_is_what_the_game_holds_in_the_end() -> None:
    player, at = game(), {}

    def look(step: int, game: gt.GAN) -> None:
        at[step] = copy.deepcopy(game.average.state_dict())

    values = [0.9, 0.4, float("nan"), 0.4, 0.7]
    played = gt.play(player, ring(100), steps=10, every=2, quality=scripted(values), look=look)
    assert (played.best_step, played.steps) == (4, 10)
    assert same(player.average.state_dict(), at[4])
    assert not same(at[4], at[10])
    assert [step for step, _ in played.quality] == [2, 4, 6, 8, 10]
    assert math.isnan(played.floor)


def test_patience_counts_looks_since_the_best() -> None:
    values = [0.9, 0.5, 0.6, 0.4, 0.5, 0.45, 0.1]
    played = gt.play(game(), ring(100), steps=14, every=2, quality=scripted(values), patience=2)
    assert (played.steps, played.best_step, played.stopped) == (12, 8, "no improvement in 2 looks")
    played = gt.play(game(), ring(100), steps=14, every=2, quality=scripted(values), patience=3)
    assert (played.steps, played.best_step, played.stopped) == (14, 14, "all 14 steps were made")


class Counted:
    def __init__(self) -> None:
        self.work, self.stages = 0.0, []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, work: float) -> None:
        assert work >= 0
        self.work += work


BREAK = 120


def broken(times: float = 1e4) -> Any:
    """A look that breaks the generator's learning rate once, and keeps the state that it found."""
    found: dict[str, Any] = {"looks": []}

    def look(step: int, game: gt.GAN) -> None:
        found["looks"].append(step)
        if step == BREAK:
            found["state"] = copy.deepcopy(game.state_dict())
            for group in game.optimizers["generator"].param_groups:
                group["lr"] *= times

    look.found = found  # type: ignore[attr-defined]
    return look


def test_a_broken_game_goes_back_to_its_last_healthy_state_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    player, store, progress = game(steps=300), SeriesStore(Path(":memory:")), Counted()
    look, gone_back = broken(), []
    restore = course_file.change

    def watched(game: gt.GAN, weights: Weights, finding: Finding) -> str:
        gone_back.append(copy.deepcopy(game.state_dict()))
        return restore(game, weights, finding)

    monkeypatch.setattr(course_file, "change", watched)
    played = gt.play(
        player, ring(500), steps=300, every=30, on_failure="rollback", look=look, store=store, progress=progress
    )
    (back,) = played.rollbacks
    assert (back.step, back.back_to) == (150, BREAK)
    assert same(gone_back[0], look.found["state"])  # bit for bit
    assert back.rule in CHANGES
    assert back.changed == "the generator's learning rate halved"
    assert look.found["looks"] == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300]
    assert played.stopped == "all 300 steps were made"
    assert (played.steps, player.position) == (300, 300)
    assert [step for step, _ in played.quality] == list(range(30, 301, 30))
    assert played.findings == []
    assert played.quality[-1][1] < played.quality[3][1]
    rates = [player.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
    assert rates[0] == pytest.approx(rates[1] / 2)
    assert store.notes()["rollbacks"] == [back._asdict()]
    assert progress.stages == [str(back)]
    assert progress.work == 300
    assert store.read("generator/loss").steps.tolist() == list(range(300))


class Doomed(Kept):
    """A game of which a weight is no number after a certain step, however often it is played."""

    def step(self, real: Tensor, condition: Tensor | None = None) -> GameStep:
        done = super().step(real, condition)
        if self.position == 50:
            next(self.models["discriminator"].parameters()).data[0] = math.nan
        return done


def test_a_game_that_breaks_every_time_is_given_up_where_it_was_healthy() -> None:
    player = game(Doomed)
    played = gt.play(player, ring(500), steps=100, every=20, on_failure="rollback")
    assert [(back.step, back.back_to, back.rule) for back in played.rollbacks] == 3 * [(60, 40, "non-finite")]
    assert played.stopped == "non-finite at step 60, after 3 changes that did not help"
    assert (played.steps, player.position) == (40, 40)
    assert [step for step, _ in played.quality] == [20, 40]
    assert all(bool(weight.isfinite().all()) for model in player.models.values() for weight in model.parameters())
    rates = [player.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
    assert min(rates) / max(rates) == pytest.approx(1 / 8)


@pytest.mark.parametrize("weight", [0.5, lambda position: 0.5 - 0.001 * position])
def test_changes_double_what_the_penalties_weigh_at_any_position(weight: Any) -> None:
    player = game(penalties=[gt.R1(weight)])
    collapse = Finding("mode collapse", "a/generator", "all parameters", 3, "", "")
    weights = Weights(player)
    before = player.penalties[0].weight_at(100)
    assert change(player, weights, collapse) == "penalties weigh 2 times as much"
    assert change(player, weights, collapse) == "penalties weigh 4 times as much"
    assert player.penalties[0].weight_at(100) == 4 * before
    assert player.optimizers["generator"].param_groups[0]["lr"] == 2e-3
    bare = game(penalties=[])
    assert change(bare, Weights(bare), collapse) == "the generator's learning rate halved"
    assert bare.optimizers["generator"].param_groups[0]["lr"] == 1e-3


def found(played: Played) -> set[tuple[str, str]]:
    return {(finding.rule, finding.player) for finding in played.findings}


class Forgetful(nn.Module):
    """Makes the ring from the start, but for the modes that it is told to lose."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((2,), math.sqrt(2)))
        self.register_buffer("modes", torch.tensor(8))

    def forward(self, z: Tensor) -> Tensor:
        angle = (nn.functional.sigmoid(1.7 * z[:, 0]) * self.modes).floor() * (2 * math.pi / 8)
        return torch.stack([angle.cos(), angle.sin()], 1) * self.scale + 0.05 * z[:, 1:3]


def forgetful() -> gt.GAN:
    torch.manual_seed(0)
    return gt.GAN(Forgetful(), perceptron(2, 1), latent=4, lr=(1e-4, 2e-4), ema=0.0)


def test_a_generator_that_collapses_at_once_is_taken_back() -> None:
    def look(step: int, game: gt.GAN) -> None:
        if step == 160:
            game.models["generator"].modes.fill_(1)  # type: ignore[operator, union-attr]

    played = gt.play(forgetful(), ring(500), steps=180, every=20, look=look, on_failure="rollback")
    (back,) = played.rollbacks
    assert (back.rule, back.step, back.back_to) == ("mode collapse", 180, 160)
    assert back.changed == "penalties weigh 2 times as much"
    assert played.findings == []


def test_a_generator_that_loses_modes_one_by_one_is_found_by_what_it_covers() -> None:
    def look(step: int, game: gt.GAN) -> None:
        if step > 60:
            game.models["generator"].modes -= 1  # type: ignore[operator, assignment]

    played = gt.play(forgetful(), ring(1000), steps=120, every=10, held_out=ring(500, 1), look=look)
    (finding,) = [finding for finding in played.findings if finding.rule == "mode collapse"]
    assert "of the real ones" in finding.evidence
    assert finding.since_step == 99  # with five of eight modes
    values = [value for _, value in played.quality]
    assert max(values[:7]) < 0.2
    assert values[-1] > 0.8


def test_a_discriminator_that_is_too_strong_is_found() -> None:
    uneven = game(lr=(2e-6, 2e-3), penalties=[])
    assert ("player too strong", "discriminator") in found(gt.play(uneven, ring(500), steps=60))


def test_a_discriminator_that_learns_its_samples_by_heart_is_found_beside_held_out_ones() -> None:
    # Noise has nothing to learn but which rows were shown: the generator makes as good ones from the start
    real, held_out = torch.randn(200, 30, generator=generator(0, "rows")).split([30, 170])

    def learning(lr: float, n: int) -> Played:
        torch.manual_seed(0)
        same = nn.Linear(30, 30)
        nn.init.eye_(same.weight)
        given = gt.GAN(same, perceptron(30, 1, 64), latent=30, penalties=[], lr=(1e-5, lr), loss="nonsaturating")
        rows = torch.randn(n, 30, generator=generator(1, "rows"))
        return gt.play(given, real if n == 30 else rows, steps=100, every=5, held_out=held_out)

    assert ("memorisation", "discriminator") in found(learning(5e-3, 30))
    assert ("memorisation", "discriminator") not in found(learning(5e-3, 5000))  # too many to remember


def test_a_critic_that_nothing_holds_is_found() -> None:
    loose = game(loss="wasserstein", penalties=[], lr=(1e-5, 2e-2))
    assert ("diverging game", "discriminator") in found(gt.play(loose, ring(500), steps=200))
    held = game(loss="wasserstein", penalties=[gt.GradientPenalty(10.0)], lr=(1e-5, 2e-2))
    assert ("diverging game", "discriminator") not in found(gt.play(held, ring(500), steps=200))


class Fragile(Kept):
    """A game that breaks at a step as long as its learning rates were not halved twice."""

    def step(self, real: Tensor, condition: Tensor | None = None) -> GameStep:
        done = super().step(real, condition)
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers.values()]
        if self.position == 55 and math.prod(rates) > 1.1e-6:
            next(self.models["discriminator"].parameters()).data[0] = math.nan
        return done


class Blocking(Counted):
    """Says where it is, and waits there to be killed."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def stage(self, name: str) -> None:
        super().stage(name)
        if len(self.stages) == self.after:
            wait()


def wait() -> None:
    print("here", flush=True)
    time.sleep(60)


def fragile(folder: Path, kill: str = "never") -> tuple[Kept, Played]:
    """Play a game that is taken back twice; wait to be killed at its second time, or at a later look."""
    player, store = game(Fragile, dropout=True), SeriesStore(folder / "series.sqlite")
    played = gt.play(
        player,
        ring(300),
        steps=120,
        every=10,
        held_out=ring(100, 1),
        on_failure="rollback",
        look=lambda step, game: wait() if kill == "late" and step == 80 else None,
        store=store,
        checkpoint=Checkpoint(folder / "state", every=7),
        progress=Blocking(2 if kill == "going back" else 99),
    )
    store.close()
    return player, played


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept, Played]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, *fragile(folder)


@pytest.mark.parametrize("kill", ["going back", "late"])
def test_a_killed_game_played_again_ends_bit_equal_with_what_was_changed_in_it(
    tmp_path: Path, kill: str, whole: tuple[Path, Kept, Played]
) -> None:
    script = f"""
        import sys, torch
        from pathlib import Path
        from tests.training.test_play import fragile
        torch.set_num_threads(1)
        fragile(Path(sys.argv[1]), {kill!r})
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": PATHS}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    folder, straight, played = whole
    resumed, parts = fragile(tmp_path)
    assert [(back.step, back.back_to) for back in played.rollbacks] == [(60, 50), (60, 50)]
    assert len(resumed.returned) < 80 < 140 == len(straight.returned)  # it went on, not again from the start
    assert same(resumed.state_dict(), straight.state_dict())
    assert str(parts) == str(played)  # quality, rollbacks and findings; NaN is not itself
    stores = [SeriesStore(where / "series.sqlite", read_only=True) for where in (folder, tmp_path)]
    for name in stores[0].names():
        one, other = (store.read(name) for store in stores)
        assert one.steps.tolist() == other.steps.tolist()
        assert one.values.tobytes() == other.values.tobytes()
    for store in stores:
        store.close()


def test_what_cannot_be_played_is_said_in_a_sentence() -> None:
    real, labels = ring(20), torch.zeros(20, dtype=torch.long)
    for given, sentence in (
        ({"steps": 0}, "steps is 0: give at least 1"),
        ({"every": 0}, "every is 0: give at least 1"),
        ({"patience": 0}, "patience is 0: give at least 1"),
        ({"batch_size": 0}, "batch_size is 0: give at least 1"),
        ({"on_failure": "pray"}, "on_failure is 'pray': use report or rollback"),
        ({"real": real[:3]}, "3 real rows: give at least 4 to train on and 2 held-out ones, or none"),
        ({"held_out": real[:1]}, "20 real rows and 1 held-out ones: give at least 4"),
        ({"held_out": torch.zeros(5, 3)}, "held_out has the shape (5, 3) and real (20, 2): hold out samples"),
        ({"condition": labels[:7]}, "20 rows of real and 7 conditions: give one for each row"),
        ({"held_condition": labels}, "no rows of held_out and 20 conditions: give one for each row"),
        ({"condition": labels, "held_out": real}, "only one of condition and held_condition is given: give both"),
        ({"real": real / 0}, "real of shape (20, 2) holds values that are not finite: leave out such rows"),
        (
            {"on_failure": "rollback", "checkpoint": Checkpoint(Path("nowhere"))},
            "with a checkpoint and no store, a game that goes on would be judged without what came before: give store=",
        ),
    ):
        arguments: dict[str, Any] = {"real": real, "steps": 5, **given}
        with pytest.raises(InputError) as caught:
            gt.play(game(), **arguments)
        assert str(caught.value).startswith(sentence)


def test_a_single_point_is_as_far_from_points_as_its_distances_say() -> None:
    # Twin of the formula with numpy-free loops over rows
    real, held_out = ring(60), ring(40, 1)
    likeness = Likeness(real, held_out=held_out)
    rows, samples = likeness.reference.double(), ring(40, 2).double() + 0.1
    assert sorted(rows.tolist()) == sorted(held_out.double().tolist())

    def mean(a: Tensor, b: Tensor) -> float:
        return sum(math.dist(x, y) for x in a.tolist() for y in b.tolist()) / (len(a) * len(b))

    unit = mean(rows, rows)
    energy = (2 * mean(rows, samples) - mean(samples, samples) - unit) / unit
    radii = [sorted(math.dist(x, y) for y in rows.tolist())[5] for x in rows.tolist()]  # the 0th is the row itself
    near = [
        min(math.dist(x, y) for y in samples.tolist()) <= radius for x, radius in zip(rows.tolist(), radii, strict=True)
    ]
    coverage = sum(near) / len(near)
    measured = likeness(samples.float())
    assert measured.coverage == coverage
    assert measured.value == pytest.approx(energy + 1 - coverage, abs=1e-5)
    assert 0 < coverage < 1


def test_real_rows_score_about_the_floor_and_lost_modes_noise_and_points_more() -> None:
    likeness = Likeness(ring(2000), held_out=ring(1000, 1))
    n = len(likeness.reference)
    assert n == 512
    fresh = [likeness(ring(n, seed)).value for seed in (2, 3, 4)]
    assert max(fresh) < 0.1
    assert likeness.floor < 0.1
    lost = [likeness(ring(n, 5, modes)) for modes in (7, 6, 5, 4, 2)]
    values = [likeness.floor, *(measured.value for measured in lost)]
    assert all(after > before + 0.1 for before, after in itertools.pairwise(values))  # a mode is an eighth of the data
    assert lost[0].coverage == pytest.approx(7 / 8, abs=0.04)
    noisy = [
        likeness(ring(n, 5) + std * torch.randn(n, 2, generator=generator(0, "noise"))).value for std in (0.1, 1.0)
    ]
    assert max(fresh) + 0.05 < noisy[0] < noisy[1]
    assert likeness(torch.zeros(n, 2)).value > 1
    assert likeness(torch.full((n, 2), math.nan)) == (math.inf, 0.0)
    scaled = Likeness(100 * ring(2000) + 7, held_out=100 * ring(1000, 1) + 7)
    assert scaled(100 * ring(n, 2) + 7).value == pytest.approx(fresh[0], abs=1e-3)  # no unit


@pytest.mark.parametrize(("shape", "rows"), [((1, 8, 8), 800), ((3, 40, 24), 60)])
def test_images_of_any_size_are_looked_at_where_they_vary_and_beside_it(shape: tuple[int, ...], rows: int) -> None:
    random = generator(0, "images")
    patterns = torch.randn(5, *shape, generator=random)

    def images(n: int) -> Tensor:
        return torch.einsum("nk,k...->n...", torch.randn(n, 5, generator=random), patterns)

    likeness = Likeness(images(rows), held_out=images(rows))
    n = len(likeness.reference)
    fresh = likeness(images(n)).value
    assert fresh < 0.6
    beside = images(n) + 2 * torch.randn(n, *shape, generator=random)  # outside of what the components span, mostly
    assert likeness(beside).value > fresh + 0.4
    assert likeness(images(1).expand(n, *shape)).value > 1


def test_samples_of_the_wrong_class_do_not_count() -> None:
    real, held_out = ring(1000), ring(500, 1)
    halves = [(rows[:, 0] > 0).long() for rows in (real, held_out)]
    likeness = Likeness(real, halves[0], held_out, halves[1])
    assert likeness.condition is not None
    fresh = ring(4000, 2)
    right = torch.stack([fresh[(fresh[:, 0] > 0) == bool(told)][i] for i, told in enumerate(likeness.condition)])
    assert likeness(right).value < 0.1
    assert likeness(-right).value > 0.8
    assert likeness.floor < 0.1
