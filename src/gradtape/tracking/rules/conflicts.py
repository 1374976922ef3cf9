"""Losses that want opposite things of the same weights."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import READINGS, WINDOW, lasting, layers, median, readings

SMALLEST_SHARE = 0.2  # of the larger loss: a smaller one, such as a penalty, is there to pull against it
OPPOSED_COSINE = -0.3  # between the gradients of two losses: those of unrelated ones scatter about 0 by less


def conflicting_losses(history: History) -> list[Finding]:
    """Find parameters at which two named losses pull against each other.

    The cosine of the two gradients at a parameter, as ``tracker.log_losses`` reads it, is below ``OPPOSED_COSINE`` in
    each of the last ``READINGS`` readings, over ``WINDOW`` steps. Where a reversal is in use the conflict is the
    method, and a loss of less than ``SMALLEST_SHARE`` of the other is a penalty, which is there to pull.

    Source: Yu et al. 2020 (2001.06782), where any cosine below 0 is a conflict; the margin is for noise.
    """
    if history.reversals:
        return []
    found = []
    heavy = set(layers(history))
    for pair, cosine in history.conflicts.items():
        rows = readings(cosine) if cosine.ndim == 2 else np.zeros(0, dtype=np.intp)
        if len(rows) < READINGS:
            continue
        first, _, second = pair.partition(" | ")
        if _is_penalty(history, first, second):
            continue
        some = cosine[rows]
        with np.errstate(invalid="ignore"):
            stretches = lasting(some < OPPOSED_COSINE, np.isfinite(some), READINGS)
        stretches = [s for s in stretches if s.column in heavy and rows[s.rows[-1]] - rows[s.first] >= WINDOW - 1]
        if not stretches:
            continue
        indexes = [s.column for s in stretches]
        size = median(some[-READINGS:, indexes])
        found.append(
            Finding(
                "conflicting losses",
                history.player,
                listed([history.parameters[i] for i in indexes]),
                int(history.steps[rows[min(s.first for s in stretches)]]),
                f"the gradients of {first!r} and {second!r} have a cosine of {size:.2f}: {_lost(size):.0%} of them "
                "cancel",
                "halve the weight of one of them, combine them with TorchJD's UPGrad, or give each its own layers "
                "there",
            )
        )
    return found


def _is_penalty(history: History, first: str, second: str) -> bool:
    usual = [
        abs(median(values[-10 * WINDOW :]))
        for name in (first, second)
        if (values := history.logged.get(f"loss/{name}")) is not None
    ]
    return len(usual) == 2 and min(usual) < SMALLEST_SHARE * max(usual)


def _lost(cosine: float) -> float:
    """Return what the sum of two gradients of the same length lacks of the length that unrelated ones have."""
    return 1 - float(np.sqrt(max(0.0, 1 + cosine)))
