"""A model that learns its training data by heart."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix
from gradtape.tracking.rules._series import WINDOW, losses, rolling, spread

OVERFIT_READINGS = 5  # of the validation loss since its best, and before it can be said at all
RISE = 0.1  # of what the validation loss had gained
STANDARD_ERRORS = 4.0  # of the validation loss's noise
SMOOTH = 3  # readings whose median is a level; a twentieth of all, where they are many


def overfit(history: History) -> list[Finding]:
    """Find a validation loss that rises while the training loss still falls.

    Of ``val_loss`` (medians of ``SMOOTH`` readings): the last third of what follows the best lies above it by ``RISE``
    of what it had gained, and by ``STANDARD_ERRORS`` of its noise, for at least ``OVERFIT_READINGS`` readings; and the
    training loss is below what it was at the best. Without ``val_loss``, ``val_accuracy`` does, the other way round.
    Dated at the best.

    Source: Prechelt 1998, Early stopping, but when?
    """
    for name, sign in (("val_loss", 1.0), ("val_accuracy", -1.0)):
        values = history.logged.get(name)
        if values is None or len(values) != len(history.steps):
            continue
        rows = np.flatnonzero(np.isfinite(values))
        if found := _rising(history, name, rows, sign * values[rows], sign):
            return [found]
    return []


def _rising(history: History, name: str, rows: np.ndarray, values: Matrix, sign: float) -> Finding | None:
    window = max(SMOOTH, len(values) // 20)
    level = rolling(values, window)
    if len(level) < OVERFIT_READINGS + 1:
        return None
    best = int(np.argmin(level))
    after = level[best + 1 :]
    if len(after) < OVERFIT_READINGS:
        return None
    now = float(np.median(after[-max(SMOOTH, len(after) // 3) :]))
    rise, gained = now - level[best], float(values[:window].max()) - level[best]
    noise = STANDARD_ERRORS * spread(values) / np.sqrt(window)
    if not (rise > RISE * max(gained, 0.0) and rise > noise and rise > 0 and after[-1] > level[best] + rise / 2):
        return None
    when = int(rows[best + window // 2])
    at, loss = losses(history)
    if len(loss):
        then, last = loss[at <= when][-WINDOW:], loss[-WINDOW:]
        if not len(then) or np.median(last) >= np.median(then):
            return None
    step = int(history.steps[when])
    return Finding(
        "overfit",
        history.player,
        "all parameters",
        step,
        f"{name} went from {sign * level[best]:.3g} at about step {step} to {sign * now:.3g}, while the training "
        "loss fell",
        f"stop at step {step:,}; or multiply the weight decay by 10, or add dropout of 0.2 or more data",
    )
