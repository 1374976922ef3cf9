"""Layers that get next to no gradient."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import WINDOW, carried, divide, lasting, layers, measure

LEARNING_SHARE = 1e-3  # of the strongest layer's: a layer with more still learns
NOTHING_SHARE = 1e-7  # likewise: 32-bit floats hold no more beside the strongest's
VANISHING_SHARE = 1e-4  # of the strongest layer's gradient-to-weight ratio


def vanishing(history: History) -> list[Finding]:
    """Find layers whose gradient, relative to their weights, is far below the strongest layer's and stays so.

    ``(|g| / |w|) / max over layers < VANISHING_SHARE``, a ratio of ratios: it does not change when the loss is scaled,
    or summed rather than averaged. It must hold for the last ``WINDOW`` steps: branches that begin at zero have small
    gradients too, and leave them behind. Nor has a layer vanished behind which, towards the input, others learn, unless
    its share is below ``NOTHING_SHARE``: queries and keys of an attention that looks everywhere alike have small
    gradients by nature.

    Source: Glorot and Bengio 2010; Pascanu et al. 2013 (1211.5063).
    """
    columns = layers(history)
    if len(columns) < 2 or len(history.steps) < WINDOW:
        return []
    size = carried(measure(history, "weight_norm"))[:, columns]
    ratio = divide(measure(history, "grad_norm")[:, columns], size)
    known = np.isfinite(ratio) & (size > 0) & (ratio > 0)  # no gradient, and one of exactly 0, are not small ones
    ratio = np.where(known, ratio, 0.0)
    strongest = ratio.max(axis=1)
    share = np.where(known, divide(ratio, np.where(strongest > 0, strongest, 1.0)[:, None]), np.inf)
    before = np.maximum.accumulate(np.where(known, share, 0.0), axis=1)  # of the layers nearer the input
    low = (share < VANISHING_SHARE) & ((before < LEARNING_SHARE) | (share < NOTHING_SHARE)) & known
    stretches = lasting(low, known)
    if not stretches:
        return []
    weakest = min(float(np.median(ratio[s.rows[-WINDOW:], s.column] / strongest[s.rows[-WINDOW:]])) for s in stretches)
    return [
        Finding(
            "vanishing",
            history.player,
            listed([history.parameters[columns[stretch.column]] for stretch in stretches]),
            int(history.steps[min(stretch.first for stretch in stretches)]),
            f"gradient-to-weight ratio {weakest:.0e} of the strongest layer's over {WINDOW} steps",
            "use ReLU-like activations with He initialisation, or add normalisation or skip connections there",
        )
    ]
