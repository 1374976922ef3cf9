"""How series are judged: pure functions from a history to findings, so that they run again over a stored run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix

Rule = Callable[[History], list[Finding]]

VANISHING_SHARE = 1e-4  # of the strongest layer's gradient-to-weight ratio
EXPLODING_GROWTH = 100.0  # times the gradient norm of the first steps
EXPLODING_PEAK = 1e4  # likewise, where a single step is enough
STALLED_RATIO = 2.0**-23  # the relative spacing of 32-bit floats: smaller updates do not reach the weights
ARRIVED_SHARE = 1e-2  # of the gradient norm of the first steps
NO_GRADIENT_SHARE = 1e-9  # of the player's gradient norm: less arrives at a reversal from a critic that is constant
WINDOW = 20  # steps for which something must hold


def vanishing(history: History) -> list[Finding]:
    """Find layers whose gradient, relative to their weights, is far below the strongest layer's and stays so.

    A ratio of ratios: it does not change when the loss is scaled, or summed rather than averaged. It must hold for the
    last ``WINDOW`` steps: branches that begin at zero have small gradients too, and leave them behind.
    """
    size = history.measures["weight_norm"]
    ratio = _divide(history.measures["grad_norm"], size)
    weights = [i for i, name in enumerate(history.parameters) if not name.endswith("bias")]
    if len(weights) < 2 or len(ratio) < WINDOW:
        return []
    known = (np.isfinite(ratio) & (size > 0))[:, weights]  # a frozen layer has no gradient: that is not a small one
    ratio = np.where(known, ratio[:, weights], 0.0)
    strongest = ratio.max(axis=1)
    share = _divide(ratio, strongest[:, None])
    low = (share < VANISHING_SHARE) & known & (strongest > 0)[:, None]
    stretches = {i: rows for i in range(len(weights)) if len(rows := _last_stretch(low[:, i], known[:, i])) >= WINDOW}
    if not stretches:
        return []
    first = min(rows[0] for rows in stretches.values())
    names = [history.parameters[weights[i]] for i in stretches]
    weakest = min(float(np.median(share[rows[-WINDOW:], i])) for i, rows in stretches.items())
    return [
        Finding(
            "vanishing",
            history.player,
            listed(names),
            int(history.steps[first]),
            f"gradient-to-weight ratio {weakest:.0e} of the strongest layer's over {WINDOW} steps",
            "use ReLU-like activations with He initialisation, or add normalisation or skip connections there",
        )
    ]


def exploding(history: History) -> list[Finding]:
    """Find a gradient norm far above that of the first five steps: ``EXPLODING_GROWTH`` times for five steps, or
    ``EXPLODING_PEAK`` times at one.
    """
    norms = history.measures["grad_norm"]
    total = _total(norms)
    known = total[np.isfinite(total) & (total > 0)]
    if len(total) < 10 or len(known) < 5:
        return []
    start = float(np.median(known[:5]))
    starts = (
        _sustained(total > EXPLODING_GROWTH * start, window=5),
        _sustained(total > EXPLODING_PEAK * start, window=1),
    )
    if starts == (None, None):
        return []
    since = min(found for found in starts if found is not None)
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
    """Find updates too small to reach 32-bit weights in every layer, though the training has not arrived.

    They must last for a twentieth of the training at least: a schedule's last steps towards zero are fewer.
    """
    names = history.parameters  # biases begin at zero, so any update is large beside them
    weights = [i for i, name in enumerate(names) if not name.endswith("bias")] or list(range(len(names)))
    ratio = history.measures["update_ratio"][:, weights]
    window = max(WINDOW, len(ratio) // 20)
    largest = np.where(np.isnan(ratio), np.inf, ratio).max(axis=1)  # weights that are NaN do not stand still
    since = _sustained(largest < STALLED_RATIO, window)
    if since is None or _arrived(history, since, window):
        return []
    return [
        Finding(
            "stalled",
            history.player,
            "all parameters",
            int(history.steps[since]),
            f"the largest update is {largest[since : since + window].max():.0e} of its weights over {window} steps, "
            "less than 32-bit floats resolve",
            "raise the learning rate until updates are about 1e-3 of the weights; check that gradients are not zero",
        )
    ]


def no_op_adversary(history: History) -> list[Finding]:
    """Find reversals that change nothing, and layers that only look like one.

    For the last ``WINDOW`` steps a reversal was not called, or was given something without a gradient, or no gradient
    came back to it from the critic, or its strength was 0 from the start to the end; or a module defines ``backward``.
    """
    found = [
        Finding(
            "no-op adversary",
            history.player,
            name,
            int(history.steps[0]),
            "it is a Module that defines backward, which autograd never calls: gradients pass it unchanged",
            "put gt.Reverse(strength) in its place",
        )
        for name in history.inert[: len(history.steps)]
    ]
    if len(history.steps) < WINDOW:
        return found
    total = _total(history.measures["grad_norm"])
    for name, passed in history.reversals.items():
        calls, attached, arriving = passed["calls"], passed["attached"], passed["arriving"]
        reasons = (
            (
                np.full(len(calls), bool((calls == 0).all())),  # in phases, a training may well do without it
                "it was not called in training",
                "apply it to the features on their way to the critic, and train on that; a model that was compiled and "
                "run before gt.track is not seen, so track it first",
            ),
            (
                (calls > 0) & (attached == 0),
                "what it was given has no gradient to reverse",
                "look for detach(), .data, no_grad() or .item() between the features and it",
            ),
            (
                (attached > 0) & (arriving <= NO_GRADIENT_SHARE * total),
                f"no gradient comes back from the critic (norm {arriving[-1]:.1g})",
                "see that the critic's loss is part of what backward is called on, and look at its output: a softmax "
                "over one unit is constant; return logits",
            ),
            (
                np.full(len(calls), bool((passed["strength"] == 0).all())),
                "its strength was 0 at every step",
                "give a strength above 0; a schedule moves with step(), or follow(optimizer)",
            ),
        )
        for holds, evidence, remedy in reasons:
            rows = _last_stretch(holds, np.ones_like(holds))
            if len(rows) >= WINDOW:
                since = int(history.steps[rows[0]])
                evidence = f"{evidence} for {len(rows)} steps"
                found.append(Finding("no-op adversary", history.player, name, since, evidence, remedy))
                break
    return found


RULES: tuple[Rule, ...] = (nonfinite, exploding, vanishing, stalled, no_op_adversary)


def judge(histories: Sequence[History]) -> list[Finding]:
    """Apply every rule to every history; findings come in the order in which they began."""
    found = [finding for history in histories for rule in RULES for finding in rule(history)]
    return sorted(found, key=lambda finding: finding.since_step)


def _arrived(history: History, since: int, window: int) -> bool:
    """Whether updates ceased because gradients did, where the loss, if logged, was about the lowest so far."""
    total = _total(history.measures["grad_norm"])
    if not np.median(total[since : since + window]) < ARRIVED_SHARE * np.median(total[:5]):
        return False
    before, after = history.loss[:since], history.loss[since:]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    return not len(before) or not len(after) or bool(np.median(after) <= np.quantile(before, 0.1))


def _total(norms: Matrix) -> Matrix:
    """Return the norm over all parameters that have a gradient, shape (t,)."""
    total: Matrix = np.sqrt(np.nansum(np.square(norms), axis=1))
    return total


def _divide(a: Matrix, b: Matrix) -> Matrix:
    with np.errstate(invalid="ignore"):  # infinity over infinity
        return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _sustained(holds: npt.NDArray[np.bool_], window: int = WINDOW) -> int | None:
    """Return where the first stretch of ``window`` true values begins."""
    if len(holds) < window:
        return None
    runs = np.convolve(holds.astype(int), np.ones(window, dtype=int), mode="valid")
    starts = np.flatnonzero(runs == window)
    return int(starts[0]) if len(starts) else None


def _last_stretch(holds: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return the known rows after the last known one where it does not hold."""
    rows = np.flatnonzero(known)
    failed = np.flatnonzero(~holds[rows])
    return rows[failed[-1] + 1 :] if len(failed) else rows
