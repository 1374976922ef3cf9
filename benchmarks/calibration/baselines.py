"""Alarms in use today, on the same runs: each is a function from a series to the steps at which it alarms.

They read one number per step, the loss or the gradient norm of the whole model, and name no layer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradtape.tracking import History

Series = npt.NDArray[np.float64]
Alarms = npt.NDArray[np.bool_]


def loss_z(loss: Series, limit: float = 3.5, window: int = 100, least: int = 20) -> Alarms:
    """Alarm where the loss is more than ``limit`` standard deviations above the mean of the last ``window`` losses.

    Source: the rolling z-score of training monitors, such as trainscope 1.8.
    """
    padded = np.concatenate([np.full(window, np.nan), np.where(np.isfinite(loss), loss, np.nan)])[:-1]
    before = np.lib.stride_tricks.sliding_window_view(padded, window)
    known = np.isfinite(before)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, before, 0).sum(axis=1) / count
    spread = np.sqrt(np.where(known, (before - mean[:, None]) ** 2, 0).sum(axis=1) / count)
    there = (known.sum(axis=1) >= least) & (spread > 0)
    return ~np.isfinite(loss) | (there & (loss > mean + limit * spread))


def zclip(norm: Series, limit: float = 2.5, alpha: float = 0.97, warm_up: int = 25) -> Alarms:
    """Alarm where ZClip would clip: the gradient norm's z-score against moving mean and variance is above ``limit``.

    As there, the mean is fed with the clipped norm, and the first ``warm_up`` steps give its start.
    Source: Kumar et al., ZClip, arXiv 2504.02507, algorithm 1 with its defaults (z 2.5, α 0.97, reciprocal clipping).
    """
    alarms = ~np.isfinite(norm)
    start = norm[:warm_up][np.isfinite(norm[:warm_up])]
    if not len(start):
        return alarms
    mean, variance = float(start.mean()), float(start.var())
    for step in range(warm_up, len(norm)):
        value = float(norm[step])
        if not np.isfinite(value):
            continue
        deviation = variance**0.5
        z = (value - mean) / (deviation + 1e-6)
        if z > limit and deviation > 1e-6:
            alarms[step] = True
            value = mean + limit**2 / z * deviation
        mean = alpha * mean + (1 - alpha) * value
        variance = alpha * variance + (1 - alpha) * (value - mean) ** 2
    return alarms


def cusum(loss: Series, limit: float = 5.0, slack: float = 0.5, window: int = 50) -> Alarms:
    """Alarm where the cumulative sum of the loss's excess over its level passes ``limit`` deviations, then begin again.

    Level and deviation are those of the last ``window`` steps before the sum began.
    Source: Page, Continuous inspection schemes, Biometrika 1954; slack and limit as in Montgomery's textbook.
    """
    alarms = ~np.isfinite(loss)
    clean = np.where(np.isfinite(loss), loss, np.nan)
    total, mean, spread = 0.0, np.nan, 0.0
    for step in range(window, len(loss)):
        if total == 0:
            before = clean[step - window : step]
            known = before[np.isfinite(before)]
            mean, spread = (float(known.mean()), float(known.std())) if len(known) else (np.nan, 0.0)
        if alarms[step] or not spread > 0:
            continue
        total = max(0.0, total + (float(loss[step]) - mean) / spread - slack)
        if total > limit:
            alarms[step] = True
            total = 0.0
    return alarms


def turbulence(loss: Series, limit: float = 0.5, window: int = 10) -> Alarms:
    """Alarm where the standard deviation of the last ``window`` losses is above ``limit`` of their mean.

    Source: the coefficient of variation of a window, with the threshold 0.5.
    """
    alarms = ~np.isfinite(loss)
    last = np.lib.stride_tricks.sliding_window_view(np.where(alarms, np.nan, loss), window)
    alarms[window - 1 :] |= last.std(axis=1) > limit * np.abs(last.mean(axis=1))
    return alarms


def spike_detection(loss: Series, limit: float = 3.0, window: int = 10, warm_up: int = 1) -> Alarms:
    """Alarm where the loss is at least ``limit`` times the mean of the last ``window`` losses that were no alarm.

    Source: lightning 2.6, ``fabric.utilities.spike.SpikeDetection`` with its defaults (rtol 2 above the mean). There
    the training ends at the first alarm; here it goes on.
    """
    alarms = ~np.isfinite(loss)
    kept: deque[float] = deque(maxlen=window)
    for step, value in enumerate(loss.tolist()):
        if alarms[step]:
            continue
        mean = sum(kept) / max(len(kept), 1)
        alarms[step] = step >= warm_up and value > 0 and value - mean >= (limit - 1) * abs(mean)
        if not alarms[step]:
            kept.append(value)
    return alarms


class Baseline(NamedTuple):
    """A rule in use.

    Attributes:
        name: Its name.
        reads: ``loss`` or ``norm``.
        alarms: ``alarms(series, limit=...)``.
        limit: Its threshold.
    """

    name: str
    reads: str
    alarms: Callable[..., Alarms]
    limit: float


BASELINES = (
    Baseline("loss z > 3.5", "loss", loss_z, 3.5),
    Baseline("ZClip, z > 2.5", "norm", zclip, 2.5),
    Baseline("CUSUM on the loss", "loss", cusum, 5.0),
    Baseline("turbulence > 0.5", "loss", turbulence, 0.5),
    Baseline("SpikeDetection, 3 x mean", "loss", spike_detection, 3.0),
)
RAISED = tuple(1.1**k for k in range(128))  # factors by which a threshold is raised until it is as quiet as ours


def norms(history: History) -> Series:
    """Return the gradient norm of the whole model before clipping, shape (t,)."""
    each = history.measures["raw_grad_norm" if "raw_grad_norm" in history.measures else "grad_norm"]
    spoilt = (history.measures["nonfinite_count"] > 0).any(axis=1)
    return np.where(spoilt, np.nan, np.sqrt(np.nansum(np.square(each), axis=1)))


def starts(alarms: Alarms) -> list[int]:
    """Return where each uninterrupted stretch of alarms begins."""
    return [int(step) for step in np.flatnonzero(alarms & ~np.concatenate([[False], alarms[:-1]]))]
