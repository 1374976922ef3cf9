"""A player's stored series, as the rules read them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradtape.runs import SeriesStore

Matrix = npt.NDArray[np.float64]
SEPARATOR = " / "
INERT = "inert"


class History(NamedTuple):
    """What is known of a player's training.

    Attributes:
        player: Its name.
        parameters: Names of its parameters, from the input to the output, length p.
        steps: The steps, shape (t,).
        measures: Measure's name -> numbers, shape (t, p).
        loss: The logged loss at the same steps, shape (t,); NaN where none was logged.
        reversals: Reversal's name -> what passed through it at the same steps (``calls``, ``attached``, ``arriving``,
            ``strength``), shape (t,) each.
        inert: Modules that define ``backward``, which nobody calls.
    """

    player: str
    parameters: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    measures: dict[str, Matrix]
    loss: Matrix
    reversals: dict[str, dict[str, Matrix]] = {}  # noqa: RUF012 - a default that nobody changes
    inert: tuple[str, ...] = ()


def gradient_channel(player: str) -> str:
    """Return the name of the channel that holds a player's measures."""
    return f"{player}/gradients"


def reversal_channel(player: str) -> str:
    """Return the name of the channel that holds what passed through a player's reversals."""
    return f"{player}/reversals"


def value_channel(player: str, name: str) -> str:
    """Return the name of the channel that holds a number logged for a player."""
    return f"{player}/{name}"


def players(store: SeriesStore) -> list[str]:
    """Return the players that a store has measures of."""
    end = gradient_channel("")
    return [name.removesuffix(end) for name in store.names() if name.endswith(end)]


def read_history(store: SeriesStore, player: str) -> History:
    """Read a player's series."""
    series = store.read(gradient_channel(player))
    pairs = [column.rsplit(SEPARATOR, 1) for column in series.columns]
    parameters = tuple(dict.fromkeys(parameter for parameter, _ in pairs))
    names = list(dict.fromkeys(measure for _, measure in pairs))
    cube = series.values.astype(np.float64).reshape(len(series.steps), len(parameters), len(names))
    loss = np.full(len(series.steps), np.nan)
    if value_channel(player, "loss") in store.names():
        logged = store.read(value_channel(player, "loss"))
        known = dict(zip(logged.steps.tolist(), logged.values[:, 0].tolist(), strict=True))
        loss = np.array([known.get(step, np.nan) for step in series.steps.tolist()])
    measures = {name: cube[:, :, i] for i, name in enumerate(names)}
    return History(player, parameters, series.steps, measures, loss, *_reversals(store, player))


def _reversals(store: SeriesStore, player: str) -> tuple[dict[str, dict[str, Matrix]], tuple[str, ...]]:
    if reversal_channel(player) not in store.names():
        return {}, ()
    series = store.read(reversal_channel(player))
    found: dict[str, dict[str, Matrix]] = {}
    inert = []
    for index, column in enumerate(series.columns):
        name, field = column.rsplit(SEPARATOR, 1)
        if field == INERT:
            inert.append(name)
        else:
            found.setdefault(name, {})[field] = series.values[:, index].astype(np.float64)
    return found, tuple(inert)
