"""A discriminator that knows its training samples by heart."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import READINGS, lasting, median, spread

MEMORISED_SHARE = 0.2  # of the gap between training samples and generated ones: in sound games 0.1
MEMORISED_ERRORS = 4.0  # of the difference of the means: fixed rows differ by chance, in sound games by 3
LOGITS = ("training", "held_out", "generated")


def memorisation(history: History) -> list[Finding]:
    """Find a discriminator that judges real samples by whether it was trained on them.

    Of the mean logits of training samples, of held-out real ones and of generated ones, logged as ``training``,
    ``held_out`` and ``generated`` now and then,

    ``r = (training - held_out) / (training - generated)``

    is above ``MEMORISED_SHARE`` in each of the last ``READINGS`` readings or more, and the difference above
    ``MEMORISED_ERRORS`` of its standard error (``logit_error``, or the scatter of the differences). At 1 held-out real
    samples are as wrong to it as generated ones, so it teaches the generator to copy.

    Source: Karras et al. 2020 (2006.06676), r_v; Brock et al. 2019 (1809.11096), section 4.2.
    """
    logged = [history.logged.get(name) for name in LOGITS]
    known = [values for values in logged if values is not None and len(values) == len(history.steps)]
    if len(known) < len(LOGITS):
        return []
    rows = np.flatnonzero(np.isfinite(known[0] + known[1] + known[2]))
    training, held_out, generated = (values[rows] for values in known)
    if len(rows) < READINGS:
        return []
    drift, gap = training - held_out, training - generated
    error = history.logged.get("logit_error")
    errors = np.full(len(rows), spread(drift)) if error is None else error[rows]
    holds = (drift > MEMORISED_SHARE * gap) & (drift > MEMORISED_ERRORS * errors) & (drift > 0)
    stretch = lasting(holds[:, None], np.ones((len(rows), 1), dtype=bool), READINGS)
    if not stretch:
        return []
    at = stretch[0].rows
    now = at[-READINGS:]
    means = [median(values[now]) for values in (training, held_out, generated)]
    return [
        Finding(
            "memorisation",
            history.player,
            "all parameters",
            int(history.steps[rows[at[0]]]),
            f"its mean logit is {means[0]:.3g} for training samples, {means[1]:.3g} for held-out real ones and "
            f"{means[2]:.3g} for generated ones",
            "show it augmented samples, views=[gt.ADA()] or, for images, gt.DiffAugment(); or multiply the weight of "
            "gt.R1 by 4, or stop before that step",
        )
    ]
