"""How series are judged: pure functions from a history to findings, so that they run again over a stored run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix

Rule = Callable[[History], list[Finding]]

VANISHING_SHARE = 1e-4  # of the strongest layer's gradient-to-weight ratio
EXPLODING_GROWTH = 100.0  # times the gradient norm of the first steps
STALLED_RATIO = 2.0**-23  # the relative spacing of 32-bit floats: smaller updates do not reach the weights
WINDOW = 20  # steps for which something must hold


def vanishing(history: History) -> list[Finding]:
    """Find layers whose gradient, relative to their weights, is far below the strongest layer's for ``WINDOW`` steps.

    A ratio of ratios: it does not change when the loss is scaled, or summed rather than averaged.
    """
    ratio = _divide(history.measures["grad_norm"], history.measures["weight_norm"])
    weights = [i for i, name in enumerate(history.parameters) if not name.endswith("bias")]
    if len(weights) < 2 or len(ratio) < WINDOW:
        return []
    ratio = np.where(np.isfinite(ratio), ratio, 0.0)[:, weights]
    strongest = ratio.max(axis=1)
    share = _divide(ratio, strongest[:, None])
    low = (share < VANISHING_SHARE) & (strongest > 0)[:, None]
    since = {i: start for i in range(len(weights)) if (start := _sustained(low[:, i])) is not None}
    if not since:
        return []
    first = min(since.values())
    names = [history.parameters[weights[i]] for i in since]
    weakest = float(np.median(share[first : first + WINDOW, list(since)].min(axis=1)))
    return [
        Finding(
            "vanishing",
            history.player,
            _listed(names),
            int(history.steps[first]),
            f"gradient-to-weight ratio {weakest:.0e} of the strongest layer's over {WINDOW} steps",
            "use ReLU-like activations with He initialisation, or add normalisation or skip connections there",
        )
    ]


def exploding(history: History) -> list[Finding]:
    """Find a gradient norm that stays ``EXPLODING_GROWTH`` times above that of the first five steps."""
    norms = history.measures["grad_norm"]
    total = np.sqrt(np.nansum(np.square(norms), axis=1))
    known = total[np.isfinite(total) & (total > 0)]
    if len(total) < 10 or len(known) < 5:
        return []
    start = float(np.median(known[:5]))
    since = _sustained(total > EXPLODING_GROWTH * start, window=5)
    if since is None:
        return []
    peak = since + int(np.argmax(np.where(np.isfinite(total[since:]), total[since:], 0)))
    worst = history.parameters[int(np.nanargmax(np.where(np.isfinite(norms[peak]), norms[peak], -1)))]
    return [
        Finding(
            "exploding",
            history.player,
            worst,
            int(history.steps[since]),
            f"gradient norm {total[peak]:.2g} at step {history.steps[peak]}, {total[peak] / start:,.0f}x the start",
            f"clip the gradient norm at {start:.2g} or divide the learning rate by 10",
        )
    ]


def nonfinite(history: History) -> list[Finding]:
    """Find the first step with an infinite or NaN gradient, and the parameter nearest the output that had it."""
    counts = history.measures["nonfinite_count"]
    bad = np.flatnonzero((counts > 0).any(axis=1))
    if not len(bad):
        return []
    first = int(bad[0])
    hit = np.flatnonzero(counts[first] > 0)
    began = history.parameters[int(hit[-1])]  # gradients travel from the output, so the last one hit was hit first
    loss = history.loss[first]
    seen = f"the loss was {loss:.4g} at that step" if np.isfinite(loss) else "the loss was not finite or not logged"
    return [
        Finding(
            "non-finite",
            history.player,
            began,
            int(history.steps[first]),
            f"{int(counts[first].sum()):,} infinite or NaN gradient elements in {len(hit)} of "
            f"{len(history.parameters)} parameters; {seen}; {len(bad)} steps in all",
            "look at that step's batch for NaN, else divide the learning rate by 10 or clip the gradient norm at 1",
        )
    ]


def stalled(history: History) -> list[Finding]:
    """Find updates too small to reach 32-bit weights in every layer, while the loss has not fallen by half."""
    ratio = history.measures["update_ratio"]
    if len(ratio) < WINDOW:
        return []
    since = _sustained(np.nan_to_num(ratio, nan=0.0).max(axis=1) < STALLED_RATIO)
    if since is None:
        return []
    loss = history.loss
    known = loss[np.isfinite(loss)]
    if len(known) >= 2 * WINDOW and np.median(known[-WINDOW:]) < 0.5 * np.median(known[:5]):
        return []  # it has arrived rather than stalled
    largest = float(np.nanmax(ratio[since : since + WINDOW], initial=0.0))
    return [
        Finding(
            "stalled",
            history.player,
            "all parameters",
            int(history.steps[since]),
            f"the largest update is {largest:.0e} of its weights over {WINDOW} steps, less than 32-bit floats resolve",
            "raise the learning rate until updates are about 1e-3 of the weights; check that gradients are not zero",
        )
    ]


RULES: tuple[Rule, ...] = (nonfinite, exploding, vanishing, stalled)


def judge(histories: Sequence[History]) -> list[Finding]:
    """Apply every rule to every history; findings come in the order in which they began."""
    found = [finding for history in histories for rule in RULES for finding in rule(history)]
    return sorted(found, key=lambda finding: finding.since_step)


def _divide(a: Matrix, b: Matrix) -> Matrix:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _sustained(holds: npt.NDArray[np.bool_], window: int = WINDOW) -> int | None:
    """Return where the first stretch of ``window`` true values begins."""
    if len(holds) < window:
        return None
    runs = np.convolve(holds.astype(int), np.ones(window, dtype=int), mode="valid")
    starts = np.flatnonzero(runs == window)
    return int(starts[0]) if len(starts) else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
