"""What comes before a loss spike: a gradient that Adam's second moment does not know yet, steps that keep growing."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix
from gradtape.tracking.rules._series import (
    WINDOW,
    gradient_norm,
    levels,
    losses,
    measure,
    paces,
    spread,
)

MEMORY = 0.99  # of the mean of squared gradients, as of a second moment with beta2 = 0.99: 100 steps
WARM_UP = 50  # steps before which that mean knows too little
SURPRISE = 60.0  # |g|^2 over that mean: at most 25 in 600 steps of sound trainings, 50 to 1e6 at a corrupted batch
GAME_SURPRISE = 600.0  # likewise in a game, whose sound ones reach 35
GROWTH_STEPS = 60  # for which the learning rate must have grown: a straight warm-up grows by less and less
GROWTH = 2.0  # over them; 1 % a step is 1.8, and 3 % is 5.9
EVEN = 1.02  # the most over the least growth of the four quarters, as logarithms: 1 if exponential, 1.1 in a one-cycle
LARGER = 2.0  # times the update-to-weight ratio of BEFORE steps ago
BEFORE = 50
STANDARD_ERRORS = 4.0  # by which the loss is above its best


def loss_spike_ahead(history: History) -> list[Finding]:
    """Warn before the loss rises.

    * Adam divides by the root of a mean of squared gradients, which lags behind: when gradients grow, steps are too
      large until it has caught up, and the loss spikes 1 to 8 steps later. From the norms alone, with V the
      bias-corrected mean of |g|^2 with beta2 = ``MEMORY``, ``|g_t|^2 / V_{t-1} > SURPRISE``. The same number finds one
      corrupted batch with any optimizer.
    * The learning rate has grown by the same factor at each step, to ``GROWTH`` in ``GROWTH_STEPS``, and does not slow
      down as warm-ups do.
    * The median layer's update-to-weight ratio is ``LARGER`` times that of ``BEFORE`` steps ago, and the loss (its
      median over ``WINDOW`` steps) is above its best by ``STANDARD_ERRORS`` of its noise.

    The date is that of the first step at which it could be said.

    Source: Wortsman et al. 2023 (2304.13013), RMS_t of StableAdamW, there above 2.3 before spikes; 2506.04805.
    """
    found = [f for f in (_surprise(history), _rate(history), _updates(history)) if f is not None]
    if not found:
        return []
    since, evidence, remedy = min(found)
    return [Finding("loss spike ahead", history.player, "all parameters", int(history.steps[since]), evidence, remedy)]


Reason = tuple[int, str, str]


def surprise(squares: Matrix) -> Matrix:
    """Return |g_t|^2 over the bias-corrected mean of the squares before it, NaN at the first and where nothing is "
    "known."""
    found = np.full(len(squares), np.nan)
    mean, weight = 0.0, 0.0
    for step, square in enumerate(squares.tolist()):
        if not np.isfinite(square):
            continue
        if mean > 0:
            found[step] = square * weight / mean
        mean, weight = MEMORY * mean + (1 - MEMORY) * square, MEMORY * weight + (1 - MEMORY)
    return found


def _surprise(history: History) -> Reason | None:
    whole = gradient_norm(history, raw=True)
    ratio = surprise(np.square(whole))
    ratio[:WARM_UP] = np.nan
    rows = np.flatnonzero(ratio > (GAME_SURPRISE if history.rivals else SURPRISE))
    if not len(rows):
        return None
    first = int(rows[0])
    seen = measure(history, "adam_surprise")[first]
    also = f"; Adam's own mean, element by element, by {np.nanmax(seen):.1f}" if np.isfinite(seen).any() else ""
    usual = whole[first] / np.sqrt(ratio[first])
    return (
        first,
        f"the gradient norm of {whole[first]:.2g} exceeds the root mean square of those before by "
        f"{np.sqrt(ratio[first]):.1f}"
        f"{also}; {len(rows)} such steps",
        f"look at that step's batch; clip the gradient norm at {2 * usual:.2g}; with Adam lower beta2 to 0.95",
    )


def _rate(history: History) -> Reason | None:
    if history.lr.ndim != 2 or history.lr.shape[0] <= GROWTH_STEPS or not history.lr.shape[1]:
        return None
    rate = history.lr.mean(axis=1)  # groups grow together
    quarter = GROWTH_STEPS // 4
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log(rate)
        steps = level[quarter:] - level[:-quarter]
        quarters = np.stack([steps[i * quarter : len(steps) - (3 - i) * quarter] for i in range(4)])
        grows = (quarters.min(axis=0) > 0) & (quarters.max(axis=0) < EVEN * quarters.min(axis=0))
        grows &= np.isfinite(quarters).all(axis=0) & (quarters.sum(axis=0) > np.log(GROWTH))
    rows = np.flatnonzero(grows)
    if not len(rows):
        return None
    row = int(rows[0]) + GROWTH_STEPS
    factor = rate[row] / rate[row - GROWTH_STEPS]
    return (
        row,
        f"the learning rate has grown {factor:.1f} times in {GROWTH_STEPS} steps, to {rate[row]:.2g}, and does not "
        "slow down",
        f"stop its growth; the {rate[row - GROWTH_STEPS]:.2g} of {GROWTH_STEPS} steps ago was safe",
    )


def _updates(history: History) -> Reason | None:
    rows, loss = losses(history)
    if len(rows) < len(history.steps) or len(rows) < WINDOW + BEFORE:  # a loss at every step
        return None
    size, level = paces(history), levels(history)
    best = np.minimum.accumulate(level)
    start = float(np.median(loss[:WINDOW]))
    noise = STANDARD_ERRORS * spread(loss[: BEFORE + WINDOW]) / np.sqrt(WINDOW)
    risen = (level - best > noise) & (start - best > noise)
    risen[:BEFORE] = False
    grown = np.zeros(len(size), dtype=bool)
    grown[BEFORE:] = size[BEFORE:] > LARGER * size[:-BEFORE]
    first = np.flatnonzero(risen & grown & (np.concatenate([np.zeros(BEFORE), size[:-BEFORE]]) > 0))
    if not len(first):
        return None
    at = int(first[0])
    row = at + WINDOW - 1
    factor = size[at] / size[at - BEFORE]
    return (
        row,
        f"updates are {factor:.1f} times those of {BEFORE} steps ago, {size[at]:.1e} of the weights, and the loss "
        "has risen from "
        f"{best[at]:.3g} to {level[at]:.3g}",
        f"divide the learning rate by {max(2.0, factor):,.0f}",
    )
