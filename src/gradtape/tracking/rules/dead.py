"""Units through which no gradient passes."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import (
    READINGS,
    WINDOW,
    Flags,
    Lasting,
    lasting,
    layer_of,
    layers,
    measure,
    readings,
    sizes,
)
from gradtape.tracking.rules.underflow import below_floats

DEAD_SHARE = 0.75  # of a layer's units: two thirds are silent for a small batch in sound trainings, though not the same
DEAD_STEPS = 50  # for which some must be: units are silent for a while at the start of sound trainings
SATURATED_SHARE = 0.9  # of a layer's outputs at the ends of their range


def dead_layer(history: History) -> list[Finding]:
    """Find layers of which more than three quarters of the units get no gradient at all, while other layers learn.

    A unit that a ReLU silences for the whole batch has a gradient of exactly 0 in its bias, or in the scale of the norm
    before it. So per layer ``zero_units`` of a one-dimensional parameter is above ``DEAD_SHARE`` in each of the last
    ``READINGS`` readings, over ``DEAD_STEPS`` steps; or ``grad_norm`` of all its parameters is exactly 0 in each of the
    last ``WINDOW`` steps. Rows of a matrix alone tell nothing: an embedding's are 0 for every word that the batch has
    not. Layers before a dead one get no gradient either, so the one nearest the output is named first.

    Source: Lu et al. 2019 (1903.06733) on dying ReLUs; Amazon SageMaker Debugger, which alarms at half.
    """
    norms = measure(history, "grad_norm")
    others = np.asarray((np.where(np.isfinite(norms), norms, 0.0) > 0).any(axis=1))
    found = {**_partly(history, others), **_wholly(history, others)}
    if not found or below_floats(history):  # zeros of another kind
        return []
    order = sorted(found, reverse=True)
    first = min(found[index][0] for index in order)
    elements = sizes(history)
    share = found[order[0]][1]
    units = "" if elements is None else f" ({round(share * elements[order[0]])} of {elements[order[0]]:,.0f})"
    names = list(dict.fromkeys(_weight_beside(history, index) for index in order))
    return [
        Finding(
            "dead layer",
            history.player,
            listed(names),
            int(history.steps[first]),
            f"{share:.0%} of the units{units if share < 1 else ''} get a gradient of exactly 0",
            "initialise it again with He's initialisation and biases of 0, divide the learning rate by 10, or use "
            "nn.LeakyReLU(0.01)",
        )
    ]


def _partly(history: History, others: Flags) -> dict[int, tuple[int, float]]:
    shapes = history.settings.shapes
    zeros = measure(history, "zero_units")
    rows = readings(zeros)
    columns = [
        i
        for i, name in enumerate(history.parameters)
        if (
            len(shapes[i]) == 1 and shapes[i][0] > 1
            if len(shapes) == len(history.parameters)
            else name.endswith("bias")
        )
    ]
    if not columns or len(rows) < READINGS:
        return {}
    some = zeros[rows][:, columns]
    known = np.isfinite(some) & others[rows][:, None]
    with np.errstate(invalid="ignore"):
        stretches = lasting(some > DEAD_SHARE, known, READINGS)
    return {
        columns[s.column]: (int(rows[s.first]), float(np.median(some[s.rows[-READINGS:], s.column])))
        for s in stretches
        if rows[s.rows[-1]] - rows[s.first] >= DEAD_STEPS - 1
    }


def _wholly(history: History, others: Flags) -> dict[int, tuple[int, float]]:
    norms = measure(history, "grad_norm")
    known = np.isfinite(norms) & others[:, None]
    stretches = {s.column: s for s in lasting(norms == 0, known)}
    half = {i for i, dtype in enumerate(history.settings.dtypes) if dtype == "float16"}
    members: dict[str, list[int]] = {}
    for index, name in enumerate(history.parameters):
        members.setdefault(layer_of(name), []).append(index)
    found = {}
    for group in members.values():
        dead = [index for index in group if index in stretches and index not in half]
        if dead and all(index in stretches or not known[:, index].any() for index in group):
            found[dead[-1]] = (max(stretches[index].first for index in dead), 1.0)
    return found


def _weight_beside(history: History, index: int) -> str:
    """Return the weight of the same layer, or of the one before if it is a norm's."""
    path = layer_of(history.parameters[index])
    for other in layers(history):
        if layer_of(history.parameters[other]) == path:
            return history.parameters[other]
    return history.parameters[index]


def saturated(history: History) -> list[Finding]:
    """Find layers of sigmoids or tanhs whose outputs are all at the ends of their range, where the slope is next to 0.

    ``saturation`` is above ``SATURATED_SHARE`` in each of the last ``READINGS`` readings, over ``WINDOW`` steps. The
    last module is left alone: an output that is sure of itself is what training is for.

    Source: Glorot and Bengio 2010.
    """
    read = history.activations.get("saturation")
    if read is None or not read.values.size:
        return []
    rows = readings(read.values)
    modules = [name for name in read.modules if name != "(output)"]
    last = history.settings.last_module or _last_module(history)
    columns = [i for i, name in enumerate(read.modules) if name in modules and name != last]
    if not columns or len(rows) < READINGS:
        return []
    some = read.values[rows][:, columns]
    known = np.isfinite(some)
    with np.errstate(invalid="ignore"):
        stretches: list[Lasting] = lasting(some > SATURATED_SHARE, known, READINGS)
    stretches = [s for s in stretches if rows[s.rows[-1]] - rows[s.first] >= WINDOW - 1]
    if not stretches:
        return []
    share = float(np.median(some[stretches[0].rows[-READINGS:], stretches[0].column]))
    return [
        Finding(
            "saturated",
            history.player,
            listed([read.modules[columns[s.column]] for s in stretches]),
            int(history.steps[rows[min(s.first for s in stretches)]]),
            f"{share:.0%} of the outputs are within 1% of the ends of their range, where hardly any gradient passes",
            "normalise what goes in, divide the weights before it by 10, or use ReLU-like activations",
        )
    ]


def _last_module(history: History) -> str:
    """Return the last module of which anything was read, the output apart."""
    names = [name for read in history.activations.values() for name in read.modules if name != "(output)"]
    return max(
        names, key=lambda name: max(_place(read.modules, name) for read in history.activations.values()), default=""
    )


def _place(modules: tuple[str, ...], name: str) -> float:
    return (modules.index(name) + 1) / len(modules) if name in modules else 0.0
