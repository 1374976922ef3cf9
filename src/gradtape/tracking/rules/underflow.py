"""Gradients too small: for the floats they are computed in, or for the optimizer's eps."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import SEPARATOR, History
from gradtape.tracking.rules._series import READINGS, WINDOW, arrived, lasting, layers, measure, median, readings, sizes

EPS_SHARE = 0.1  # of the optimizer's eps: updates are then less than a tenth of what they are without it
WITH_EPS = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop")
LOST_SHARE = 0.5  # of the elements that are exactly 0
CLIFF_SHARE = (
    0.5  # of the others in the two lowest bins: towards 0, each bin of sound gradients holds a quarter of the last
)
LEAST_ELEMENTS = 100  # that are not 0, over all readings: of few, most lie in the two lowest bins by chance
HISTOGRAM = "grad_histogram"
BINS = ("<-40", *(str(low) for low in range(-40, 16, 2)), ">=16")  # of log2|g|, as the measure names them


def underflow(history: History) -> list[Finding]:
    """Find gradients that fall through the floor.

    * Below eps: the root mean square of a parameter's gradient is below ``EPS_SHARE`` of the eps of Adam or RMSprop in
      each of the last ``WINDOW`` steps, and not because training has arrived. ``m / (sqrt(v) + eps)`` is then no longer
      of the size of the learning rate, but shrinks with the gradient.
    * Below what floats resolve: more than ``LOST_SHARE`` of the elements are exactly 0, and those that are not break
      off sharply: the two lowest occupied bins of ``grad_histogram`` hold more than ``CLIFF_SHARE`` of them, over
      ``READINGS`` readings or more. Sound gradients thin out towards 0, a quarter per bin, however small they are, and
      those of silenced units do too; those that float16 has cut off at 2^-24 do not, also after a gradient scaler has
      divided them.

    Source: Micikevicius et al. 2018 (1710.03740) on loss scaling; Wortsman et al. 2023 (2309.14322) on eps.
    """
    return [*below_floats(history), *_below_eps(history)]


def _below_eps(history: History) -> list[Finding]:
    elements, eps = sizes(history), history.settings.eps
    name = history.settings.optimizer
    if elements is None or len(eps) != len(elements) or name not in WITH_EPS:
        return []
    columns = layers(history)  # a bias before a norm has a gradient of rounding errors
    root = np.sqrt(np.maximum(elements[columns], 1.0))
    limit = EPS_SHARE * np.array([eps[i] if np.isfinite(eps[i]) else 0.0 for i in columns])
    norms = measure(history, "grad_norm")
    if not (norms[-WINDOW:, columns] < limit * root).any():
        return []
    size = norms[:, columns] / root
    known = np.isfinite(size) & (size > 0)
    stretches = [s for s in lasting((size < limit) & known, known) if limit[s.column] > 0]
    if not stretches:
        return []
    first = min(stretch.first for stretch in stretches)
    if arrived(history, first, WINDOW):
        return []
    worst = min(stretches, key=lambda s: float(size[s.rows[-1], s.column]))
    value, bound = float(np.median(size[worst.rows[-WINDOW:], worst.column])), limit[worst.column] / EPS_SHARE
    everything = len(stretches) == int(known.any(axis=0).sum())
    factor = min(1e12, 10.0 ** np.ceil(np.log10(bound / value) + 1))
    return [
        Finding(
            "underflow",
            history.player,
            "all parameters" if everything else listed([history.parameters[columns[s.column]] for s in stretches]),
            int(history.steps[first]),
            f"gradients of size {value:.0e} are below eps = {bound:.0e} of {name}, which then decides how far a "
            "step goes",
            f"set eps to {value / 1000:.0e}, or multiply the loss by {factor:,.0f}",
        )
    ]


def below_floats(history: History) -> list[Finding]:
    """Find gradients that half precision has cut off."""
    elements, zeros = sizes(history), measure(history, f"{HISTOGRAM}{SEPARATOR}zero")
    rows = readings(zeros)
    if elements is None or len(rows) < READINGS:
        return []
    zero = zeros[rows]
    known = np.isfinite(zero)
    with np.errstate(invalid="ignore"):
        stretches = lasting(zero > LOST_SHARE, known, READINGS)
    if not stretches:
        return []
    bins = [measure(history, f"{HISTOGRAM}{SEPARATOR}{name}") for name in BINS]
    counts = np.zeros(len(bins))
    for stretch in stretches:
        shares = np.array([values[rows[stretch.rows], stretch.column] for values in bins])
        counts += elements[stretch.column] * np.where(np.isfinite(shares), shares, 0.0).sum(axis=1)
    lowest = int(np.argmax(counts > 0))
    if counts.sum() < LEAST_ELEMENTS or lowest == 0 or counts[lowest : lowest + 2].sum() < CLIFF_SHARE * counts.sum():
        return []
    found = [s.column for s in stretches]
    first = min(s.first for s in stretches)
    share = median(zero[-READINGS:, found])
    return [
        Finding(
            "underflow",
            history.player,
            "all parameters"
            if len(found) == int(known.any(axis=0).sum())
            else listed([history.parameters[i] for i in found]),
            int(history.steps[rows[first]]),
            f"{share:.0%} of the gradient's elements are exactly 0, and the others break off where half precision ends",
            "use torch.amp.GradScaler, or multiply the loss by 1,024; bfloat16 does not underflow there",
        )
    ]
