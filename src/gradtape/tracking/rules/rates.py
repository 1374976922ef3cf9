"""The learning rate as a whole: too high, or too low."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix
from gradtape.tracking.rules._series import (
    READINGS,
    START,
    WINDOW,
    layers,
    levels,
    losses,
    measure,
    median,
    middle,
    pace,
    paces,
    readings,
    rolling,
    spread,
    sustained,
)

VIOLENT_RATIO = 0.15  # of its weights per step, in the median layer: sound trainings stay below 0.06, or gain by it
UNMISTAKABLE_RATIO = 0.5  # likewise, where no loss is known
SOUND_RATIO = 1e-3  # per step, of a training that goes well: what a remedy aims at
LOST_GROUND = 0.5  # of what the loss had gained: an odd batch costs less, and is over after WINDOW steps
STANDARD_ERRORS = 5.0  # of a median of WINDOW losses
OSCILLATION = -0.8  # cosine of successive gradients: at the edge of stability sound trainings reach -0.6
IDLE_RATIO = 1e-5  # of its weights per step: 1,000 steps then move them by 1 % at most
IDLE_STEPS = 100  # before which nothing is said: warm-up
IDLE_GAIN = 0.05  # of the loss: one that falls by more than that is under way

RECOVERED = 0.5  # of the loss before: it went well all the same
WORTH = 0.05  # of the loss at the start: a smaller gain is none to lose


def learning_rate_too_high(history: History) -> list[Finding]:
    """Find steps so large that the loss does not fall, or rises again.

    Any of these, with r the median layer's update-to-weight ratio:

    * r is above ``VIOLENT_RATIO`` (its median over ``START`` steps) and the loss of the ``WINDOW`` steps after is no
      lower than before; without a loss, r is above ``UNMISTAKABLE_RATIO``;
    * the loss (its median over ``WINDOW`` steps) has given back ``LOST_GROUND`` of what it had gained, by more than
      ``STANDARD_ERRORS`` of the noise, for ``WINDOW`` steps, and the weights still move;
    * the cosine of successive gradients is below ``OSCILLATION`` in ``READINGS`` readings in a row, and the loss is no
      lower than before them: each step overshoots.

    It dates the step from which on it held. A player of a game has no loss that means anything.

    Source: Cohen et al. 2021 (2103.00065) on the edge of stability; Smith 2017 (1506.01186) on losses that rise again.
    """
    ratio = pace(history)
    found = [
        f for f in (_violent(history, ratio), _lost_ground(history, ratio), _oscillating(history)) if f is not None
    ]
    if not found:
        return []
    since, evidence, factor = min(found)
    step = int(history.steps[since])
    remedy = f"divide the learning rate by {factor:,.0f}"
    return [Finding("learning rate too high", history.player, "all parameters", step, evidence, remedy)]


Reason = tuple[int, str, float]


def _violent(history: History, ratio: Matrix) -> Reason | None:
    recent = rolling(np.where(np.isfinite(ratio), ratio, 0.0), START)
    rows, loss = losses(history)
    violent = recent > VIOLENT_RATIO
    for start in np.flatnonzero(violent & ~np.concatenate([[False], violent])[: len(violent)]):
        begin = int(start) + int(np.argmax(ratio[start : start + START] > VIOLENT_RATIO))
        size = float(recent[start : start + START].max())
        factor = 10.0 ** np.ceil(np.log10(size / VIOLENT_RATIO * 10))
        evidence = f"the median layer's update is {size:.2g} of its weights at each step"
        if not len(rows):
            if size > UNMISTAKABLE_RATIO:
                return begin, evidence, factor
            continue
        before, after = loss[rows < begin][-WINDOW:], loss[rows >= begin + START][:WINDOW]
        usual = float(np.median(before)) if len(before) >= WINDOW else float(loss[:3].min())
        over = len(history.steps) >= begin + START + WINDOW  # a loss that has left the floats counts up to there
        recovered = len(loss) >= WINDOW and np.median(loss[-WINDOW:]) < RECOVERED * usual
        if over and len(after) >= START and np.median(after) >= usual and not recovered:
            return begin, f"{evidence}, and the loss goes from {usual:.3g} to {np.median(after):.3g}", factor
    return None


def _lost_ground(history: History, ratio: Matrix) -> Reason | None:
    rows, loss = losses(history)
    level = levels(history)
    if len(level) < WINDOW:
        return None
    start = float(np.median(loss[:START]))
    best = np.minimum.accumulate(level)
    noise = STANDARD_ERRORS * spread(loss[: 10 * WINDOW]) / np.sqrt(WINDOW)
    gained = start - best
    back = (
        (gained > np.maximum(noise, WORTH * abs(start)))
        & (level - best > LOST_GROUND * gained)
        & (level - best > noise)
    )
    since = sustained(back)
    if since is None:
        return None
    row = int(rows[since + WINDOW - 1])
    moving = median(ratio[row : row + WINDOW])
    if moving < SOUND_RATIO / 10:  # it stands still: something else
        return None
    evidence = (
        f"the loss is {level[since + WINDOW - 1]:.3g} again after {best[since]:.3g}, from {start:.3g} at the start"
    )
    return row, evidence, 10.0


def _oscillating(history: History) -> Reason | None:
    cosine = measure(history, "previous_cosine")[:, layers(history)]
    at = readings(cosine)
    rows, loss = losses(history)
    if len(at) < READINGS or len(rows) < 2 * WINDOW:
        return None
    since = sustained(middle(cosine[at]) < OSCILLATION, READINGS)
    if since is None:
        return None
    row = int(at[since])
    before, after = loss[rows < row][-WINDOW:], loss[rows >= row][-WINDOW:]
    norms = measure(history, "grad_norm")
    if len(before) < WINDOW or len(after) < WINDOW or np.median(after) < np.median(before):
        return None
    if not median(norms[-WINDOW:]) > 0:
        return None
    size = median(middle(cosine[at[since : since + READINGS]]))
    return row, f"successive gradients point against each other (cosine {size:.2f}), and the loss does not fall", 2.0


def learning_rate_too_low(history: History) -> list[Finding]:
    """Find a training that goes somewhere, but would take for ever.

    The median layer's update-to-weight ratio (its median over ``WINDOW`` steps) was never above ``IDLE_RATIO`` in
    ``IDLE_STEPS`` steps or more, and has stopped rising; the loss, where it is known, fell by less than ``IDLE_GAIN``
    of itself. Smaller than floats can hold is "stalled".

    Source: the ratio of 1e-3 that goes well is Karpathy's (CS231n, Neural networks part 3).
    """
    if len(history.steps) < IDLE_STEPS:
        return []
    level = paces(history)
    if len(level) < IDLE_STEPS // 2 or not 0 < level[-1] <= level.max() <= IDLE_RATIO:
        return []
    if level[-1] > 1.05 * level[-WINDOW] or level[-1] < 2.0**-23:  # it still warms up; or it is stalled
        return []
    rows, loss = losses(history)
    if len(rows) >= 2 * WINDOW:
        start, now = float(np.median(loss[:WINDOW])), float(np.median(loss[-WINDOW:]))
        if start - now > IDLE_GAIN * abs(start):
            return []
    factor = 10.0 ** np.floor(np.log10(SOUND_RATIO / level[-1]))
    return [
        Finding(
            "learning rate too low",
            history.player,
            "all parameters",
            int(history.steps[0]),
            f"the median layer's update is {level[-1]:.0e} of its weights at each step, and never was more than "
            f"{level.max():.0e}",
            f"multiply the learning rate by {factor:,.0f}, or let it rise until updates are about 1e-3 of the weights",
        )
    ]
