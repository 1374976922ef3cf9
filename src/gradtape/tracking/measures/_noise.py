"""How much of a gradient is noise of the batch."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.measures._cosines import PairMeasure
from gradtape.tracking.measures._reduce import Numbers


class NoiseScale(PairMeasure):
    """Gradient noise scale tr(S) / |G|², in units of the batch.

    G is the expected gradient and S / B the covariance of a gradient from B samples (McCandlish et al. 2018, arXiv
    1812.06162). Gradients g and g' of two steps have independent noise and, where the weights hardly moved, the same G:

        E|g|² = E|g'|² = |G|² + tr(S) / B    and    E<g, g'> = |G|²,

    so that |g - g'|² / 2 estimates tr(S) / B without bias (and is never below 0, as |g|² - <g, g'> can be), and

        |g - g'|² / (2 <g, g'>)    estimates    tr(S) / (B |G|²).

    At 1, half of |g|² is noise, and a larger batch saves steps; far below 1 it saves none. NaN where <g, g'> is not
    above 0: the noise then hides the gradient, or the steps overshoot. One pair of steps gives a rough figure; take the
    median of many, or the total over parameters, which is ``finish`` of the sum of their parts.
    Clipping that changes its factor between the steps, and batches of changing size, falsify it.
    """

    name = "noise_scale"

    def finish(self, parts: Numbers) -> Numbers:
        """Form the estimate."""
        dot, square, before = parts.T
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = np.maximum((square + before) / 2 - dot, 0)  # rounding may leave it just below 0; NaN stays NaN
            return np.where(dot > 0, noise / dot, np.nan)
