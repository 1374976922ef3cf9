"""A player's stored series, as the rules read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from gradtape.runs import SeriesStore
from gradtape.tracking.measures import MEASURES

Matrix = npt.NDArray[np.float64]
_T = TypeVar("_T")
SEPARATOR = " / "
INERT = "inert"
LOSS = "loss"
RATES, REVERSALS = "lr", "reversals"
RESERVED = {LOSS, RATES, REVERSALS}
CONFLICTS, ACTIVATIONS = "conflicts/", "activations/"


class Activations(NamedTuple):
    """One measure of activations.

    Attributes:
        modules: Paths of the modules, length m; the model itself is ``(output)``.
        values: Numbers, shape (t, m); NaN where it was not read.
    """

    modules: tuple[str, ...]
    values: Matrix


class Settings(NamedTuple):
    """What does not change from step to step, or hardly.

    Attributes:
        optimizer: The optimizer's class.
        eps: Its eps for each parameter, length p; NaN where it has none.
        betas: Its two betas for each parameter, shape (p, 2); NaN where it has none.
        weight_decay: Its weight decay for each parameter, length p.
        momentum: Its momentum for each parameter, length p.
        dtypes: Type of each parameter, ``float32``.
        shapes: Shape of each parameter.
        unheld: The model's parameters that require a gradient and that no tracked optimizer holds.
        frozen: Those that the optimizer holds and that require none.
        beside: The other players of the same tracker; None where that is not known.
        last_module: Path of the model's last module without children.
    """

    optimizer: str = ""
    eps: tuple[float, ...] = ()
    betas: tuple[tuple[float, float], ...] = ()
    weight_decay: tuple[float, ...] = ()
    momentum: tuple[float, ...] = ()
    dtypes: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    unheld: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    beside: tuple[str, ...] | None = None
    last_module: str = ""


class History(NamedTuple):
    """What is known of a player's training.

    Attributes:
        player: Its name.
        parameters: Names of its parameters, from the input to the output, length p.
        steps: The steps that were read, shape (t,).
        measures: Measure's name -> numbers, shape (t, p); NaN at steps where it was not read. ``update_ratio`` is
            ``update_norm`` over ``weight_norm``, 0 over 0 being 0. A measure with fields is named ``name / field``.
        loss: The loss at the same steps, logged or caught from backward, shape (t,); NaN where there is none.
        reversals: Reversal's name -> what passed through it at the same steps (``calls``, ``attached``, ``arriving``,
            ``strength``), shape (t,) each.
        inert: Modules that define ``backward``, which nobody calls.
        lr: Learning rate of each parameter, shape (t, p).
        settings: The optimizer's settings and the parameters' kinds.
        logged: Name of another logged number -> values, shape (t,); NaN where there is none.
        conflicts: ``a | b`` -> cosine between the gradients of the named losses a and b, shape (t, p).
        activations: Measure of activations -> its modules and numbers.
        rivals: The other players of the same run.
    """

    player: str
    parameters: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    measures: Mapping[str, Matrix]
    loss: Matrix
    reversals: dict[str, dict[str, Matrix]] = {}  # noqa: RUF012 - a default that nobody changes
    inert: tuple[str, ...] = ()
    lr: Matrix = np.zeros((0, 0))
    settings: Settings = Settings()
    logged: Mapping[str, Matrix] = {}
    conflicts: Mapping[str, Matrix] = {}
    activations: Mapping[str, Activations] = {}
    rivals: tuple[History, ...] = ()

    def until(self, step: int) -> History:
        """Return what was known after ``step``, for asking what would have been said then; rivals likewise."""
        rows = int(np.searchsorted(self.steps, step, side="right"))
        return self._replace(
            steps=self.steps[:rows],
            measures=Lazy(self.measures, lambda name: self.measures[name][:rows]),
            loss=self.loss[:rows],
            reversals={
                name: {field: values[:rows] for field, values in passed.items()}
                for name, passed in self.reversals.items()
            },
            lr=self.lr[:rows],
            logged={name: values[:rows] for name, values in self.logged.items()},
            conflicts={name: values[:rows] for name, values in self.conflicts.items()},
            activations=Lazy(
                self.activations,
                lambda name: self.activations[name]._replace(values=self.activations[name].values[:rows]),
            ),
            rivals=tuple(rival.until(step) for rival in self.rivals),
        )


class Lazy(Mapping[str, _T]):
    """Values that are made when they are first asked for."""

    def __init__(self, names: Mapping[str, Any] | tuple[str, ...], make: Callable[[str], _T]) -> None:
        self._names, self._make = names, make
        self._made: dict[str, _T] = {}

    def __getitem__(self, name: str) -> _T:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def course(history: History) -> str:
    """Return how the loss went, in words; empty where it is not known or, as in a game, says little."""
    known = history.loss[np.isfinite(history.loss)]
    if len(known) < 20 or history.settings.beside:
        return ""
    part = max(5, len(known) // 20)
    first, last = float(np.median(known[:part])), float(np.median(known[-part:]))
    return f"{history.player}: the loss went from {first:.4g} to {last:.4g} in {len(history.steps):,} steps"


def channel_of(player: str, name: str) -> str:
    """Return the name of the channel that holds one kind of numbers of a player: ``player/name``."""
    return f"{player}/{name}"


def players(store: SeriesStore) -> list[str]:
    """Return the players that a store has measures of."""
    end = channel_of("", "grad_norm")
    return [name.removesuffix(end) for name in store.names() if name.endswith(end)]


def read_history(store: SeriesStore, player: str) -> History:
    """Read a player's series; measures are read from the store when they are first asked for."""
    base = store.read(channel_of(player, "grad_norm"))
    steps, parameters = base.steps, base.columns
    others = {name.removeprefix(f"{player}/"): name for name in store.names() if name.startswith(f"{player}/")}

    def aligned(name: str) -> tuple[tuple[str, ...], Matrix]:
        series = store.read(others[name])
        found = np.full((len(steps), len(series.columns)), np.nan)
        rows = np.searchsorted(steps, series.steps)
        known = rows < len(steps)
        known[known] = steps[rows[known]] == series.steps[known]
        found[rows[known]] = series.values[known]
        return series.columns, found

    def measure(name: str) -> Matrix:
        if name == "update_ratio":
            return ratio(measures["update_norm"], measures["weight_norm"])
        name, _, field = name.partition(SEPARATOR)
        if name not in others:
            return np.full((len(steps), len(parameters)), np.nan)
        columns, found = aligned(name)
        return found[:, [i for i, c in enumerate(columns) if c.endswith(SEPARATOR + field)]] if field else found

    kinds = {measure.name for measure in MEASURES}
    measures = Lazy((*(name for name in others if name in kinds), "update_ratio"), measure)
    logged = [name for name in others if name not in kinds | RESERVED and not name.startswith((CONFLICTS, ACTIVATIONS))]
    notes = store.notes().get(channel_of(player, "settings"), {})
    return History(
        player,
        parameters,
        steps,
        measures,
        aligned(LOSS)[1][:, 0] if LOSS in others else np.full(len(steps), np.nan),
        *_reversals(aligned(REVERSALS) if REVERSALS in others else ((), np.zeros((len(steps), 0)))),
        lr=_rates(aligned(RATES)[1], notes["group_of"]) if RATES in others and notes else np.zeros((len(steps), 0)),
        settings=_settings(notes),
        logged={name: aligned(name)[1][:, 0] for name in logged},
        conflicts={name.removeprefix(CONFLICTS): aligned(name)[1] for name in others if name.startswith(CONFLICTS)},
        activations=Lazy(
            tuple(name.removeprefix(ACTIVATIONS) for name in others if name.startswith(ACTIVATIONS)),
            lambda name: Activations(*aligned(f"{ACTIVATIONS}{name}")),
        ),
    )


def ratio(update: Matrix, weight: Matrix) -> Matrix:
    """Return the update-to-weight ratio, 0 over 0 being 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((update == 0) & (weight == 0), 0.0, update / weight)


def _settings(notes: dict[str, Any]) -> Settings:
    def tuples(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(tuples(item) for item in value)
        return np.nan if value is None else value

    return Settings(**{name: tuples(value) for name, value in notes.items() if name != "group_of"})


def _rates(found: Matrix, group_of: list[int]) -> Matrix:
    """Rates are stored where they change."""
    known = np.isfinite(found).any(axis=1)
    last = np.maximum.accumulate(np.where(known, np.arange(len(found)), 0)) if len(found) else np.zeros(0, dtype=int)
    return found[last][:, group_of]


def _reversals(stored: tuple[tuple[str, ...], Matrix]) -> tuple[dict[str, dict[str, Matrix]], tuple[str, ...]]:
    found: dict[str, dict[str, Matrix]] = {}
    inert = []
    for column, values in zip(stored[0], stored[1].T, strict=True):
        name, field = column.rsplit(SEPARATOR, 1)
        if field == INERT:
            inert.append(name)
        else:
            found.setdefault(name, {})[field] = values
    return found, tuple(inert)
