"""Gradients that grow beyond all bounds."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix
from gradtape.tracking.rules._series import (
    START,
    WINDOW,
    Flags,
    carried,
    gradient_norm,
    jumped,
    layers,
    losses,
    measure,
    previous,
    sizes,
    sustained,
)

EXPLODING_GROWTH = 100.0  # times the gradient norm of the first steps
EXPLODING_PEAK = 1e4  # likewise, where a single step is enough: a corrupted batch reaches 1e3, an overflow follows 1e4
EXPLODING_STEPS = 5  # for which it must last: fewer are an odd batch
GAME_GROWTH = 10.0  # times as much in a game: a generator's gradient begins near 0 and grows 50 times in a healthy one
SENSITIVITY = (
    2.0  # |g| |w| / (loss sqrt(elements)) at the start: at most 0.3 in sound layers, 4 in an RNN that explodes
)
DEEP = 3  # layers, or weights of a cell and its head
HEAVIER = 30.0  # times the weights of the first steps: in 600 steps of sound trainings 10
DOUBLED = 2.0  # times those of BEHIND steps ago: they still grow
MATTERS = 0.1  # of the largest norm
BEHIND = 50  # steps whose median is what the gradient norm usually is


def exploding(history: History) -> list[Finding]:
    """Find a gradient far above what it was, or far beyond what the loss could ever give back.

    The gradient norm before clipping, over all parameters, is above ``EXPLODING_GROWTH`` times that of the first
    ``START`` steps, or of the ``BEHIND`` steps before and 10 times the first, for ``EXPLODING_STEPS`` steps; or
    ``EXPLODING_PEAK`` times the first at one. Or it is so from the start: doubling a layer's weights changes the loss,
    to first order, by at most |g| |w|; divided by the loss and by the root of the number of elements, which bounds it
    in a sound layer of any width, that is above ``SENSITIVITY``. Or a layer's weights are ``HEAVIER`` than at first and
    still grow, ``DOUBLED`` in ``BEHIND`` steps.

    Source: Pascanu et al. 2013 (1211.5063); the bound from <g, w> being the same in all layers of a homogeneous
    network.
    """
    norms = measure(history, "raw_grad_norm")
    if np.isnan(norms).all():
        norms = measure(history, "grad_norm")
    whole = gradient_norm(history, raw=True)
    known = whole[np.isfinite(whole) & (whole > 0)]
    if len(whole) < 2 * START or len(known) < START:
        return []
    start = float(np.median(known[:START]))
    limit = EXPLODING_GROWTH * (GAME_GROWTH if history.rivals else 1.0)
    starts = (
        sustained(whole > limit * start, EXPLODING_STEPS),
        sustained(_jump(whole, limit) & (whole > 10 * start), EXPLODING_STEPS),
        sustained(whole > EXPLODING_PEAK * start, 1),
    )
    begun = [found for found in starts if found is not None]
    if not begun:
        return _weights(history) or _from_the_start(history, norms, start)
    since = min(begun)
    until = whole[since : since + WINDOW]
    peak = since + int(np.argmax(np.where(np.isfinite(until), until, 0)))
    return [
        Finding(
            "exploding",
            history.player,
            history.parameters[_grown_most(norms, since)],
            int(history.steps[since]),
            f"gradient norm {whole[peak]:.2g} at step {history.steps[peak]}, {whole[peak] / start:,.0f}x the start",
            f"clip the gradient norm at {start:.2g} or divide the learning rate by 10; if it grows steadily, see that "
            "optimizer.zero_grad() is called at each step",
        )
    ]


def _grown_most(norms: Matrix, row: int) -> int:
    """Return the parameter whose norm has grown most, of those that matter: the strongest may only pass it on."""
    now = np.where(np.isfinite(norms[row]), norms[row], 0.0)
    before = norms[max(0, row - BEHIND) : max(1, row - START)]
    known = np.isfinite(before).any(axis=0)
    usual = np.zeros(len(now))
    usual[known] = np.nanmedian(np.where(np.isfinite(before), before, np.nan)[:, known], axis=0)
    growth = np.where(usual > 0, now / np.where(usual > 0, usual, 1), np.inf)
    return int(np.argmax(np.where(now > MATTERS * now.max(), growth, 0)))


def _jump(whole: Matrix, limit: float) -> Flags:
    """Return where the norm is above ``limit`` times the median of the ``BEHIND`` steps before the last few."""
    found = np.zeros(len(whole), dtype=bool)
    candidates = np.flatnonzero(whole > limit / 2 * _least_before(whole))
    for row in candidates[:200]:
        before = whole[max(0, row - BEHIND - EXPLODING_STEPS) : max(0, row - EXPLODING_STEPS)]
        found[row] = len(before) >= WINDOW and whole[row] > limit * np.median(before) > 0
    return found


def _least_before(whole: Matrix) -> Matrix:
    """Return a lower bound of that median: the least norm so far."""
    positive = np.where(np.isfinite(whole) & (whole > 0), whole, np.inf)
    least = np.minimum.accumulate(positive) if len(positive) else positive
    return np.concatenate([[np.inf], least[:-1]])


def _weights(history: History) -> list[Finding]:
    columns = layers(history)
    size = carried(measure(history, "weight_norm"))[:, columns]
    if len(size) <= BEHIND:
        return []
    first = np.median(size[:START], axis=0)
    heavy = (
        (size[BEHIND:] > HEAVIER * first)
        & (size[BEHIND:] > DOUBLED * size[:-BEHIND])
        & (size[0] > 0.1 * first)
        & (first > 0)
    )
    heavy &= ~jumped(size > 10 * DOUBLED * previous(size), BEHIND)  # at once: somebody else has done it
    if not heavy.any():
        return []
    row = BEHIND + int(np.argmax(heavy.any(axis=1)))
    worst = int(np.argmax(np.where(heavy[row - BEHIND], size[row] / np.where(first > 0, first, 1), 0)))
    return [
        Finding(
            "exploding",
            history.player,
            history.parameters[columns[worst]],
            int(history.steps[row]),
            f"the weights have grown to {size[row, worst] / first[worst]:,.0f} times what they were, and doubled in "
            f"{BEHIND} steps",
            "divide the learning rate by 10; see that optimizer.zero_grad() is called at each step; add weight "
            "decay of 0.01",
        )
    ]


def _from_the_start(history: History, norms: Matrix, start: float) -> list[Finding]:
    elements, (rows, loss) = sizes(history), losses(history)
    if elements is None or not len(rows) or rows[0] >= START or not loss[0] > 0:
        return []
    columns = layers(history)
    if len(columns) < DEEP:  # without depth nothing multiplies, and a loss that is small by chance looks sensitive
        return []
    both = norms[: 2 * START, columns] * measure(history, "weight_norm")[: 2 * START, columns]
    if not np.isfinite(both).any():
        return []
    both = np.where(np.isfinite(both), both, 0.0)
    sensitivity = np.median(both, axis=0) / (loss[0] * np.sqrt(np.maximum(elements[columns], 1.0)))
    worst = int(np.argmax(sensitivity))
    if not sensitivity[worst] > SENSITIVITY:
        return []
    return [
        Finding(
            "exploding",
            history.player,
            history.parameters[columns[worst]],
            int(history.steps[0]),
            f"the loss is {sensitivity[worst]:.1f} as sensitive to these weights, where at most 0.3 is sound",
            f"initialise them {max(2.0, sensitivity[worst]):,.0f} times smaller (orthogonal for recurrent weights), "
            "or clip "
            f"the gradient norm at {start / sensitivity[worst]:.2g}",
        )
    ]
