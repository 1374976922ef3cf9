"""Where infinities and NaN began."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import measure


def nonfinite(history: History) -> list[Finding]:
    """Find the first step with an infinite or NaN gradient, and the parameter nearest the output that had it.

    ``nonfinite_count > 0`` at any step. Gradients travel from the output, so of those hit at that step the last one was
    hit first. One such step is enough: most optimizers carry it into every weight.
    """
    counts = measure(history, "nonfinite_count")
    bad = np.flatnonzero((counts > 0).any(axis=1))
    if not len(bad):
        return []
    first = int(bad[0])
    hit = np.flatnonzero(counts[first] > 0)
    loss = history.loss[first] if len(history.loss) == len(history.steps) else np.nan
    seen = f"the loss was {loss:.4g} at that step" if np.isfinite(loss) else "the loss was not finite or not logged"
    return [
        Finding(
            "non-finite",
            history.player,
            history.parameters[int(hit[-1])],
            int(history.steps[first]),
            f"{int(counts[first][hit].sum()):,} infinite or NaN gradient elements in {len(hit)} of "
            f"{len(history.parameters)} parameters; {seen}; {len(bad)} steps in all",
            "look at that step's batch for NaN, else divide the learning rate by 10 or clip the gradient norm at 1",
        )
    ]
