"""Updates judged beside the weights they change: of every layer, and of one layer beside the others."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix
from gradtape.tracking.rules._series import (
    WINDOW,
    Flags,
    arrived,
    carried,
    jumped,
    lasting,
    layers,
    measure,
    pace,
    previous,
    readings,
    spacing,
    sustained,
)

STALLED_RATIO = 2.0**-23  # the relative spacing of 32-bit floats: smaller updates do not reach the weights
LARGE_RATIO = 0.05  # of its weights at every step: after 20 steps nothing is left of what they were
LARGE_STEPS = 50  # for which it must last: weights that begin at 0 in a warm-up have a ratio of 2 / step
LARGE_SHARE = 20.0  # times the other layers' update ratio; each layer of a sound training is within a factor of 10
SMALL_SHARE = 1e-3  # of the other layers' update ratio
HALVED = 0.5  # of the weights' norm WINDOW steps ago; weight decay in use takes 1e-3 a step at most
LOST_SHARE = (
    0.125  # of the spacing of half-precision weights: an update of less is rounded away for all but tiny weights
)


def _ratio(history: History) -> Matrix:
    """Return the update-to-weight ratio of the layers where it was read, shape (readings, layers)."""
    found = measure(history, "update_ratio")
    return found[:, layers(history)]


def stalled(history: History) -> list[Finding]:
    """Find a training in which no layer moves.

    The largest update-to-weight ratio of all layers is below the spacing of the floats they are stored in, for
    ``WINDOW`` steps and a twentieth of the training. A training that has arrived (its gradient fell below a hundredth
    of the start's, at its lowest loss) stands still for a good reason.
    """
    ratio = _ratio(history)
    known = ~np.isnan(ratio).all(axis=1)
    unread = ~known & np.isnan(measure(history, "weight_norm")).all(axis=1)
    if not ratio.size or not (known | ~unread).any() or unread.all():
        return []
    gone = unread & ~np.isfinite(measure(history, "grad_norm")).any(axis=1)  # NaN weights do not stand still
    rows = np.flatnonzero(~unread | gone)
    least = np.where(np.isnan(ratio[rows]), np.inf, ratio[rows])  # weights that are NaN do not stand still
    limit = np.minimum(spacing(history)[layers(history)], STALLED_RATIO)
    window = max(WINDOW, len(ratio) // 20)
    per_reading = max(1, round(len(ratio) / len(rows)))
    still: Flags = np.asarray((least < limit).all(axis=1))
    start = sustained(still, max(2, -(-window // per_reading)))
    if start is None or arrived(history, int(rows[start]), window):
        return []
    since = int(rows[start])
    norms = measure(history, "grad_norm")[since : since + window]
    if np.isnan(norms).all():  # there is no gradient at all, which is said elsewhere
        return []
    remedy = "raise the learning rate until updates are about 1e-3 of the weights"
    if not np.nanmax(norms) > 0:
        remedy = (
            "gradients are exactly 0, which no learning rate mends: look for units that are dead or saturated since"
        )
    largest = float(least[start : start + window].max())
    return [
        Finding(
            "stalled",
            history.player,
            "all parameters",
            int(history.steps[since]),
            f"the largest update is {largest:.0e} of its weights over {window} steps, less than 32-bit floats resolve",
            remedy,
        )
    ]


def update_too_large(history: History) -> list[Finding]:
    """Find layers that are overwritten: their update is a large part of their weights, and the others' is not.

    ``update_ratio > LARGE_RATIO`` and above ``LARGE_SHARE`` times the median layer's, in the last ``LARGE_STEPS``
    readings. A layer that begins at zero has a ratio of about 1 / step, or 2 / step in a warm-up, which is below the
    limit by then. All layers at once are the learning rate's affair. Or their weights fall by half, or more, in
    ``WINDOW`` steps, which is what weight decay does.
    """
    return [*_shrinking(history), *_beside_the_others(history, large=True)][:1]


def _shrinking(history: History) -> list[Finding]:
    size = carried(measure(history, "weight_norm"))[:, layers(history)]
    if len(size) <= WINDOW:
        return []
    halved = (size[WINDOW:] < HALVED * size[:-WINDOW]) & (size[:-WINDOW] > 0)
    halved &= ~jumped(size < HALVED * previous(size), WINDOW)  # at once: somebody else has done it
    decay = history.settings.weight_decay
    if not halved.any() or (decay and not any(share > 0 for share in decay)):
        return []
    which = np.flatnonzero(halved.any(axis=0))
    row = int(np.argmax(halved.any(axis=1))) + WINDOW
    share = float(np.min(size[row, which] / size[row - WINDOW, which]))
    return [
        Finding(
            "update too large",
            history.player,
            listed([history.parameters[layers(history)[i]] for i in which]),
            int(history.steps[row]),
            f"the weights have shrunk to {share:.2f} of what they were {WINDOW} steps ago",
            f"divide their weight decay by {max(10.0, 10.0 ** np.ceil(np.log10(-np.log(share) / WINDOW / 1e-4))):,.0f}",
        )
    ]


def update_too_small(history: History) -> list[Finding]:
    """Find layers whose updates are nothing beside the other layers', or less than their floats can store.

    ``0 < update_ratio < SMALL_SHARE`` of the median layer's, or, for weights in half precision, below ``LOST_SHARE`` of
    the spacing of such floats (bfloat16: 2**-7), in the last ``WINDOW`` readings. One that is exactly 0 is frozen, or
    rounded away in half precision.

    Source: Zamirai et al. 2020 (2010.06192) on bfloat16 weights that stagnate.
    """
    return [*_lost(history), *_beside_the_others(history, large=False)]


def _beside_the_others(history: History, *, large: bool) -> list[Finding]:
    columns = layers(history)
    ratio = _ratio(history)
    rows = readings(ratio)
    if len(columns) < 2 or len(rows) < WINDOW:
        return []
    ratio = ratio[rows]
    known = np.isfinite(ratio) & (ratio > 0)
    usual = pace(history)[rows]
    usual = np.where(np.isfinite(usual), usual, 0.0)[:, None]
    with np.errstate(invalid="ignore"):
        odd = (ratio > LARGE_RATIO) & (ratio > LARGE_SHARE * usual) if large else ratio < SMALL_SHARE * usual
    stretches = lasting(odd & known, known, LARGE_STEPS if large else WINDOW)
    if not stretches:
        return []
    size = float(np.median([np.median(ratio[s.rows[-WINDOW:], s.column]) for s in stretches]))
    other = float(np.median(usual[-WINDOW:]))
    first = int(history.steps[rows[min(s.first for s in stretches)]])
    where = listed([history.parameters[columns[s.column]] for s in stretches])
    evidence = f"update-to-weight ratio {size:.1e}, {size / other:.0e} times the median layer's {other:.1e}"
    decayed = [history.settings.weight_decay[columns[s.column]] for s in stretches if history.settings.weight_decay]
    if large:
        remedy = f"divide its learning rate by {size / max(other, 1e-3):,.0f}" + (
            f", or its weight decay of {max(decayed):g}" if decayed and max(decayed) > 0 else ""
        )
        return [Finding("update too large", history.player, where, first, evidence, remedy)]
    remedy = f"give it a parameter group with the learning rate times {other / size:,.0e}, or initialise it smaller"
    return [Finding("update too small", history.player, where, first, evidence, remedy)]


def _lost(history: History) -> list[Finding]:
    columns = [
        i for i in layers(history) if history.settings.dtypes and history.settings.dtypes[i] in ("float16", "bfloat16")
    ]
    ratio = measure(history, "update_ratio")[:, columns]
    rows = readings(ratio)
    if not columns or len(rows) < WINDOW:
        return []
    known = np.isfinite(ratio[rows])
    moving = (measure(history, "grad_norm")[rows][:, columns] > 0) & known
    low = (ratio[rows] < LOST_SHARE * spacing(history)[columns]) & moving
    stretches = lasting(low, known)
    if not stretches or arrived(history, int(rows[stretches[0].first]), WINDOW):
        return []
    kind = history.settings.dtypes[columns[stretches[0].column]]
    size = float(np.median([np.median(ratio[rows[s.rows[-WINDOW:]], s.column]) for s in stretches]))
    names = [history.parameters[columns[s.column]] for s in stretches]
    return [
        Finding(
            "update too small",
            history.player,
            "all parameters" if len(names) == len(layers(history)) > 1 else listed(names),
            int(history.steps[rows[min(s.first for s in stretches)]]),
            f"update-to-weight ratio {size:.0e} in {kind}, whose spacing is {spacing(history)[columns].max():.0e}: "
            "most of "
            "the update is rounded away",
            "keep the weights in float32 and use autocast, or round stochastically",
        )
    ]
