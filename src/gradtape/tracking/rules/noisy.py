"""Gradients that are all noise."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import (
    WINDOW,
    layers,
    losses,
    measure,
    median,
    middle,
    pace,
    readings,
    rolling,
    spread,
)

NOISY_COSINE = (
    0.05  # of successive gradients: their common part is then 5 % of their square, a noise scale of 20 batches
)
NOISY_READINGS = 10  # of which the mean counts
NOISY_STEPS = 200  # before which nothing is said
MOVING_RATIO = 1e-4  # of its weights per step: less moves too little to tell
STANDARD_ERRORS = 2.0  # of the difference of two medians: a gain of less is none
LARGEST_FACTOR = 256.0


def noisy_gradient(history: History) -> list[Finding]:
    """Find a training that wanders: successive gradients have nothing in common, and the loss has got nowhere.

    Over the second half, and at least ``NOISY_READINGS`` readings, the mean cosine of successive gradients, weighted by
    nothing, lies within ``NOISY_COSINE`` of 0; the median loss of that half is below the start's by less than
    ``STANDARD_ERRORS`` of that difference; and weights move. A training that has arrived has noisy gradients too, but
    has gained. With c the cosine, the noise scale is (1 - c) / c batches: beyond it a larger batch saves no more steps.

    Source: McCandlish et al. 2018 (1812.06162).
    """
    rows, loss = losses(history)
    if len(rows) < NOISY_STEPS:
        return []
    columns = layers(history)
    cosine = measure(history, "previous_cosine")[:, columns]
    at = readings(cosine)
    at = at[at >= len(history.steps) // 2]
    if len(at) < NOISY_READINGS:
        return []
    common = float(np.mean(middle(cosine[at])))
    moves = median(pace(history)[-NOISY_STEPS:])
    first, last = loss[: 2 * WINDOW], loss[len(loss) // 2 :]
    noise = spread(last)
    if abs(common) > NOISY_COSINE or not moves > MOVING_RATIO or noise == 0:
        return []
    error = 1.25 * noise * np.sqrt(1 / len(first) + 1 / len(last))  # a median's is 1.25 times a mean's
    lowest = min(
        float(np.median(last)), float(rolling(loss, 2 * WINDOW).min()) + 2 * error
    )  # of many, one is lower by chance
    if np.median(first) - lowest > STANDARD_ERRORS * error:
        return []
    scale = min(LARGEST_FACTOR, (1 - common) / max(common, 1e-9))
    factor = 2.0 ** np.ceil(np.log2(max(2.0, scale)))
    return [
        Finding(
            "noisy gradient",
            history.player,
            "all parameters",
            int(history.steps[rows[0]]),
            f"successive gradients have a cosine of {common:.2f}, and the loss has gone from {np.median(first):.3g} to "
            f"{np.median(last):.3g}, which is within its noise of {noise:.2g} a step",
            f"use batches {factor:,.0f} times as large, or accumulate as many; else check that labels belong to "
            "their inputs",
        )
    ]
