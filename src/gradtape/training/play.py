"""Playing a game: so many steps on real data, watched, measured, stopped in time, and taken back where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.games import GAN
from gradtape.runs import SeriesStore
from gradtape.seeding import generator as random_stream
from gradtape.seeding import reseed
from gradtape.tracking import Finding, judge, read_history, track
from gradtape.training._course import Course
from gradtape.training._looks import Looks, Quality
from gradtape.training._rollback import MOST, Rollback, failing
from gradtape.training.loop import Checkpoint, Loop, RandomState, Stateful
from gradtape.training.progress import Progress, Silent

_LOOKS = 20  # at the quality, where ``every`` is not given
_SETTLED = 100  # steps before which no game is taken back for what follows, as it takes time to settle
_LATE = ("mode collapse", "diverging game", "player too strong")

Look = Callable[[int, GAN], object]


class Played(NamedTuple):
    """What came of a game.

    Attributes:
        steps: Number of steps that led to where it ended.
        best_step: Number of steps after which the average was best; that one is in ``game.average`` now. None where no
            quality was finite.
        quality: (number of steps, quality) at each look; lower is better.
        floor: What as many fresh real rows score by the default quality; NaN with one of your own.
        findings: What the rules say of the game in the end.
        rollbacks: Where it was taken back, and what was changed there.
        stopped: Why it ended, in words.
    """

    steps: int
    best_step: int | None
    quality: list[tuple[int, float]]
    floor: float
    findings: list[Finding]
    rollbacks: list[Rollback]
    stopped: str


def play(
    game: GAN,
    real: Tensor,
    condition: Tensor | None = None,
    *,
    steps: int,
    batch_size: int = 64,
    seed: int = 0,
    held_out: Tensor | None = None,
    held_condition: Tensor | None = None,
    store: SeriesStore | None = None,
    player: str = "",
    checkpoint: Checkpoint | None = None,
    every: int | None = None,
    quality: Quality | None = None,
    patience: int | None = None,
    on_failure: Literal["report", "rollback"] = "report",
    look: Look | None = None,
    progress: Progress | None = None,
) -> Played:
    """Train a game on real data; its moving average is the best of those looked at, in the end.

    After every ``every`` steps the average is looked at: as many samples are drawn as there are rows in a reference (up
    to 512), always from the same latents, and their distance from it is the quality: the energy distance in units of
    the data's spread, plus the share of the reference that no sample is near. It is no loss of the game, and it rises
    where modes are lost.

    A game that is interrupted and played again with the same arguments, a fresh game and the same checkpoint ends in
    the same state, bit for bit.

    Args:
        game: The game, fresh; give it ``steps`` too, so that its learning rates fall to zero.
        real: Real samples, shape (n, ...), on the device of the models.
        condition: Their classes (n,) or attributes (n, k), for players that take them.
        steps: Number of steps, at least 1.
        batch_size: Rows per step, drawn with replacement.
        seed: Seed of the draws.
        held_out: Real samples that are not trained on. With them the quality is the distance from these, and it is seen
            when the discriminator learns its training samples by heart.
        held_condition: Their conditions.
        store: Where gradients, losses, mean logits, quality and coverage are tracked; in memory otherwise.
        player: Put before the players' names in the store, with a slash.
        checkpoint: Where to save the state.
        every: Steps from one look to the next; a twentieth of the steps otherwise.
        quality: ``quality(samples)``, lower is better, in place of the default.
        patience: Looks without improvement after which the game ends; None plays all steps.
        on_failure: ``"report"`` says in the end what the rules found. ``"rollback"`` asks the rules at every look: a
            game that fails goes back to the last healthy look with one setting changed, at most 3 times; then it ends
            there. Lost modes and balance count from step 100 on.
        look: ``look(number of steps, game)``, called at each look; ``game.sample`` with a ``random`` of its own leaves
            the game as it was.
        progress: Told of every step, and of what is changed on the way.

    Returns:
        The quality at each look, what was found and changed, and why the game ended.

    Raises:
        InputError: Too few rows, conditions that do not go with them, or a setting out of range.

    Examples:
        >>> from gradtape.nets import PointDiscriminator, PointGenerator
        >>> real = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> game = GAN(PointGenerator(2, latent=4), PointDiscriminator(2), latent=4, steps=40)
        >>> played = play(game, real, steps=40)
        >>> len(played.quality), played.stopped
        (20, 'all 40 steps were made')

    Source: early stopping: Prechelt 1998.
    """
    _check(real, condition, held_out, held_condition)
    if on_failure not in ("report", "rollback"):
        raise InputError(f"on_failure is {on_failure!r}", remedy="use report or rollback")
    for name, value in (("steps", steps), ("batch_size", batch_size), ("every", every), ("patience", patience)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}", remedy="give at least 1")
    if on_failure == "rollback" and checkpoint is not None and store is None:
        raise InputError(
            "with a checkpoint and no store, a game that goes on would be judged without what came before",
            remedy="give store=SeriesStore(path) too",
        )
    looks = Looks(game, real, condition, held_out, held_condition, quality, seed)
    random = RandomState(random_stream(seed, "batches"))
    told = progress or Silent()
    each = every or max(1, steps // _LOOKS)
    own = SeriesStore(Path(":memory:")) if store is None else store
    names = {name: f"{player}/{name}" if player else name for name in game.models}
    tracker = track(
        {names[name]: model for name, model in game.models.items()},
        {names[name]: optimizer for name, optimizer in game.optimizers.items()},
        own,
        budget=None,
    )
    course = Course(game, random, tracker, keeps=on_failure == "rollback")

    def findings(made: int) -> list[Finding]:
        """Return what the rules say of the first ``made`` steps; behind them, failures may be stored."""
        tracker.flush()
        return judge([read_history(own, name).until(made - 1) for name in names.values()])

    def step(number: int) -> int | None:
        reseed(real.device, seed, "noise", number)  # of dropout and its kin
        rows = torch.randint(len(real), (batch_size,), generator=random.generator).to(real.device)
        done = game.step(real[rows], None if condition is None else condition[rows])
        for name, known in names.items():
            tracker.log("loss", getattr(done, name), known)
        for name in ("real", "fake", "penalty"):
            tracker.log(name, getattr(done, name), names["discriminator"])
        made = number + 1
        return at_look(made) if made % each == 0 or made == steps else None

    def at_look(made: int) -> int | None:
        value, readings = looks.measure()
        for (name, reading), number in readings.items():
            tracker.log(reading, number, names[name])
        failure = failing(findings(made)) if on_failure == "rollback" else None
        if failure is not None and made < _SETTLED and failure.rule in _LATE:
            failure = None
        if failure is not None:
            return go_back(made, failure)
        course.record(made, value)
        course.keep(made)
        if look is not None:
            look(made, game)
        if patience is not None and course.stale >= patience and made < steps:
            course.stopped = f"no improvement in {patience} looks"
            return steps
        return None

    def go_back(made: int, failure: Finding) -> int:
        back = course.go_back(made, failure)
        if back is None:
            course.stopped = f"{failure.rule} at step {made}, after {MOST} changes that did not help"
            course.given_up = failure
            told.stage(course.stopped)
            return steps
        told.stage(str(course.rollbacks[-1]))
        own.note(f"{player}/rollbacks" if player else "rollbacks", [done._asdict() for done in course.rollbacks])
        return back

    state: dict[str, Stateful] = {"game": game, "random": random, "course": course}
    loop = Loop(step, steps, state, checkpoint=checkpoint, tracker=tracker, progress=told)
    course.keep(0)
    try:
        with torch.random.fork_rng([real.device] if real.is_cuda else []):
            loop.run()
        found = [*findings(course.steps), *([course.given_up] if course.given_up is not None else [])]
    finally:
        tracker.close()
        if store is None:
            own.close()
    course.finish()
    return Played(
        course.steps,
        None if course.best is None else course.best.step,
        course.curve,
        looks.floor,
        found,
        course.rollbacks,
        course.stopped or f"all {steps} steps were made",
    )


def _check(real: Tensor, condition: Tensor | None, held_out: Tensor | None, held_condition: Tensor | None) -> None:
    for name, rows, told in (("real", real, condition), ("held_out", held_out, held_condition)):
        if rows is not None and not bool(rows.isfinite().all()):
            raise InputError(
                f"{name} of shape {tuple(rows.shape)} holds values that are not finite", remedy="leave out such rows"
            )
        if told is not None and (rows is None or len(told) != len(rows)):
            count = "no" if rows is None else str(len(rows))
            raise InputError(f"{count} rows of {name} and {len(told)} conditions", remedy="give one for each row")
    for name, told in (("condition", condition), ("held_condition", held_condition)):
        if told is None:
            continue
        if told.is_floating_point() and (told.dim() != 2 or not bool(told.isfinite().all())):
            raise InputError(
                f"{name} is {told.dtype} of shape {tuple(told.shape)}, or holds values that are not finite",
                remedy="give labels (n,) as integers, or finite attributes (n, k)",
            )
        if told.dim() == 1 and len(told) and int(told.min()) < 0:
            raise InputError(f"{name} has the label {int(told.min())}", remedy="give labels from 0 up")
    if held_out is not None and held_out.shape[1:] != real.shape[1:]:
        raise InputError(
            f"held_out has the shape {tuple(held_out.shape)} and real {tuple(real.shape)}",
            remedy="hold out samples of the same shape",
        )
    if held_out is not None and (condition is None) != (held_condition is None):
        raise InputError("only one of condition and held_condition is given", remedy="give both or neither")
