"""Gradients of which clipping leaves nothing."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import WINDOW, gradient_norm, lasting

CLIPPED_SHARE = 0.01  # of the gradient norm that backward left: clipping is for outliers, a tenth is common in warm-up


def clipped(history: History) -> list[Finding]:
    """Find clipping that always cuts, and by far.

    ``|grad_norm| / |raw_grad_norm| < CLIPPED_SHARE`` over all parameters in each of the last ``WINDOW`` steps: the
    threshold, not the gradient, then decides how far a step goes, and the learning rate is in truth that much smaller.

    Source: Pascanu et al. 2013 (1211.5063): a threshold of half to ten times the usual norm.
    """
    whole, left = gradient_norm(history, raw=True), gradient_norm(history)
    known = np.isfinite(whole) & np.isfinite(left) & (whole > 0)
    cut = (left < CLIPPED_SHARE * whole) & (left > 0)
    stretch = lasting(cut[:, None], known[:, None])
    if not stretch:
        return []
    rows = stretch[0].rows[-WINDOW:]
    usual, rest = float(np.median(whole[rows])), float(np.median(left[rows] / whole[rows]))
    return [
        Finding(
            "clipped",
            history.player,
            "all parameters",
            int(history.steps[stretch[0].first]),
            f"clipping leaves {rest:.0e} of a gradient norm of {usual:.2g}, at every step for "
            f"{len(stretch[0].rows)} steps",
            f"clip at {usual:.2g} instead, so that only outliers are cut",
        )
    ]
