"""Are the shares of the classes others in the target than in the source, which, and predictions corrected for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.seeding import derive

FloatArray = NDArray[np.float64]
_REPEATS = 200
_DRAWS = 2_000
_VALUES_AT_ONCE = 4_000_000
_TINY = 1e-12


class LabelShift(NamedTuple):
    """Shares of the classes in both domains; see ``label_shift``.

    Attributes:
        source: (k,) shares in the source.
        target: (k,) shares in the target, estimated.
        low: (k,) lower ends of the intervals of ``target``.
        high: (k,) upper ends.
        weights: (k,) target / source, 0 for a class without a source row.
        p_value: Of the predicted counts, if the shares were the same.
        shifted: Whether there is a shift that can be told from chance.
    """

    source: FloatArray
    target: FloatArray
    low: FloatArray
    high: FloatArray
    weights: FloatArray
    p_value: float
    shifted: bool

    @property
    def sentence(self) -> str:
        """What may be said, in words; of many classes, of the three that move most."""
        return self.told([str(c) for c in range(len(self.source))])

    def told(self, names: Sequence[str]) -> str:
        """Return ``sentence`` with the names of the classes."""
        if not self.shifted:
            return (
                "No shift in the shares of the classes can be told from chance, if each class looks the same in both "
                f"domains: p = {self.p_value:.2g} for the counts of predictions, and the shares estimated from them "
                "lie near enough to the source's."
            )
        most = np.sort(np.argsort(-np.abs(self.target - self.source), kind="stable")[:3])
        figures = ", ".join(
            f"class {names[c]} {self.source[c]:.2f} -> {self.target[c]:.2f} [{self.low[c]:.2f}, {self.high[c]:.2f}]"
            for c in most
        )
        return (
            f"The shares of the classes shift (p = {self.p_value:.2g}): {figures}, if each class looks the same in "
            "both domains; if it does not, the shares may be the same and the inputs shift."
        )


def label_shift(
    source_probabilities: ArrayLike,
    source_labels: ArrayLike,
    target_probabilities: ArrayLike,
    *,
    seed: int = 0,
    level: float = 0.05,
) -> LabelShift:
    """Estimate the shares of the classes in a target without labels, and say whether they differ from the source's.

    It assumes that each class looks the same in both domains, ``p(x | y)`` equal, and only ``p(y)`` differs. A shift of
    the inputs themselves (another hospital's device, another camera) changes predictions too, and is taken for a shift
    of the classes here: no test without labels can tell the two apart for certain.

    The probabilities are calibrated on the source rows, ``softmax(a log p + b)`` with one slope and a bias per class.
    Then ``q_y = mean_j r_jy`` and ``r_jy ∝ p(y | x_j) q_y / s_y``, in turns from ``q = s`` (the source's shares), climb
    to the shares under which the target is most likely. Intervals resample both parts 200 times; the calibration
    follows by two Newton steps. ``shifted`` needs two things: predicted classes counted in both parts that differ by
    more than chance (the chi-squared statistic against 2,000 draws with the same totals), and shares further from the
    source's than those of ``1 - level`` of the samples of that size drawn from the source itself.

    Args:
        source_probabilities: (n, k) of rows that the model was not trained on; rows sum to 1.
        source_labels: (n,) their classes, 0 to k - 1. A class without a row here cannot be estimated: its share is 0.
        target_probabilities: (m, k) of the target's rows.
        seed: Seed of the draws.
        level: Of the test; the intervals have confidence ``1 - level``.

    Returns:
        Shares, intervals, weights, and the answer; ``print(shift.sentence)`` says it in words.

    Raises:
        InputError: Probabilities that are none, labels out of range, fewer than two classes in the source.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> labels, hidden = rng.random(400) < 0.5, rng.random(400) < 0.8
        >>> def probabilities(y):  # a model that knows p(y | x) for x ~ N(2y - 1, 1) and equal shares
        ...     p = 1 / (1 + np.exp(-2 * (2 * y - 1 + rng.normal(size=len(y)))))
        ...     return np.stack([1 - p, p], axis=1)
        >>> shift = label_shift(probabilities(labels), labels.astype(int), probabilities(hidden))
        >>> shift.shifted, bool(shift.low[1] <= 0.8 <= shift.high[1])
        (True, True)

    Source: Saerens, Latinne & Decaestecker, Adjusting the Outputs of a Classifier to New a Priori Probabilities, Neural
    Computation 14(1), 2002; calibrated as in Alexandari, Kundaje & Shrikumar, Maximum Likelihood with Bias-Corrected
    Calibration is Hard-To-Beat at Label Shift Adaptation, ICML 2020; the test after Lipton, Wang & Smola, Detecting and
    Correcting for Label Shift with Black Box Predictors, ICML 2018.
    """
    source, target = _checked(source_probabilities, "source"), _checked(target_probabilities, "target")
    k = source.shape[1]
    labels = np.asarray(source_labels)
    if target.shape[1] != k:
        raise InputError(
            f"the source has {k} classes and the target {target.shape[1]}", remedy="give columns of the same classes"
        )
    if labels.shape != (len(source),) or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < k)).all():
        raise InputError(
            f"source_labels has shape {labels.shape}, expected {len(source)} whole numbers from 0 to {k - 1}",
            remedy="give the column of each row's class",
        )
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}, expected a number between 0 and 1", remedy="give .05 for 5%")
    seen, labels = np.unique(labels, return_inverse=True)
    if len(seen) < 2:
        raise InputError("the source rows are all of one class", remedy="give held-out rows of at least two classes")
    rng = np.random.default_rng(derive(seed, "adaptation", "label_shift"))
    p_value = _test(source.argmax(axis=1), target.argmax(axis=1), k, rng)
    logs, target_logs = (np.log(np.maximum(part[:, seen], _TINY)) for part in (source, target))
    truth = np.eye(len(seen))[labels]
    theta = _calibration(logs, truth)
    shares = truth.mean(axis=0)
    estimate = _shares(_calibrated(target_logs, theta[None]), shares[None], shares[None])[0]
    thetas, drawn_shares = _recalibrated(logs, truth, theta, rng)
    drawn = _resampled(target_logs, len(target), estimate, thetas, drawn_shares, rng)
    null = _resampled(logs, len(target), shares, thetas, drawn_shares, rng)
    low, high = np.quantile(drawn, [level / 2, 1 - level / 2], axis=0)
    usual = float(np.quantile(np.abs(null - drawn_shares).sum(axis=1), 1 - level))

    def spread(values: FloatArray) -> FloatArray:
        found = np.zeros(k)
        found[seen] = values
        return found

    return LabelShift(
        spread(shares),
        spread(estimate),
        spread(np.minimum(low, estimate)),
        spread(np.maximum(high, estimate)),
        spread(estimate / shares),
        p_value,
        bool(p_value < level and np.abs(estimate - shares).sum() > usual),
    )


def corrected(probabilities: ArrayLike, shift: LabelShift) -> FloatArray:
    """Return what the model would say if it knew the target's shares: ``p'(y | x) ∝ p(y | x) weights_y``.

    The weights belong to calibrated probabilities; those of an overconfident model move too little.

    Args:
        probabilities: (m, k) of the target's rows.
        shift: What ``label_shift`` found, whether ``shifted`` or not.

    Returns:
        (m, k) rows that sum to 1; a row with weight 0 on all that it thinks possible gets ``shift.target``.

    Raises:
        InputError: Probabilities that are none, or of another number of classes.

    Examples:
        >>> half = np.array([0.5, 0.5])
        >>> shift = LabelShift(half, np.array([0.2, 0.8]), half, half, np.array([0.4, 1.6]), 0.01, True)
        >>> corrected([[0.5, 0.5], [0.8, 0.2]], shift)
        array([[0.2, 0.8],
               [0.5, 0.5]])

    Source: Saerens, Latinne & Decaestecker 2002, as for ``label_shift``.
    """
    p = _checked(probabilities, "target")
    if p.shape[1] != len(shift.weights):
        raise InputError(
            f"the probabilities have {p.shape[1]} classes and the shift {len(shift.weights)}",
            remedy="give columns of the same classes",
        )
    weighed = p * shift.weights
    total = weighed.sum(axis=1, keepdims=True)
    return np.where(total > 0, weighed / np.where(total > 0, total, 1.0), shift.target)


def _checked(probabilities: ArrayLike, name: str) -> FloatArray:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) == 0 or p.shape[1] < 2:
        raise InputError(
            f"{name} probabilities have shape {p.shape}, expected (rows, classes)", remedy="give one column per class"
        )
    total = p.sum(axis=1, keepdims=True)
    if not (np.isfinite(p).all() and (p >= 0).all() and (np.abs(total - 1) < 1e-3).all()):
        raise InputError(
            f"{name} probabilities hold rows that are no distribution", remedy="give softmax outputs that sum to 1"
        )
    found: FloatArray = p / total
    return found


def _test(source: NDArray[np.int64], target: NDArray[np.int64], k: int, rng: np.random.Generator) -> float:
    """Return the p-value of the target's predicted counts, given the totals of both parts."""
    totals = np.bincount(np.concatenate([source, target]), minlength=k)
    expected = totals[totals > 0] * len(target) / totals.sum()

    def distance(counts: NDArray[np.int64]) -> FloatArray:
        return np.asarray(((counts[..., totals > 0] - expected) ** 2 / expected).sum(axis=-1))

    drawn = distance(rng.multivariate_hypergeometric(totals, len(target), size=_DRAWS))
    found = distance(np.bincount(target, minlength=k))
    return float((1 + (drawn >= found * (1 - 1e-9)).sum()) / (1 + _DRAWS))


def _calibrated(logs: FloatArray, theta: FloatArray) -> FloatArray:
    """Return softmax(a log p + b) for each (a, b) of ``theta`` (r, 1 + k), of shape (r, rows, k)."""
    z = theta[:, :1, None] * logs + theta[:, None, 1:]
    p: FloatArray = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


def _slopes(logs: FloatArray, truth: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return each row's gradient (n, 1 + k) of its negative log-likelihood and the mean Hessian (1 + k, 1 + k).

    Both with a weak pull towards a = 1, b = 0 (a normal prior of deviation 3), so that few rows cannot run off.
    """
    p = _calibrated(logs, theta[None])[0]
    pull = (theta - np.eye(len(theta))[0]) / 9 / len(logs)
    gradients = np.hstack([((p - truth) * logs).sum(axis=1, keepdims=True), p - truth]) + pull
    mean = (p * logs).sum(axis=1, keepdims=True)
    cross = p * (logs - mean)
    hessian = np.empty((len(theta), len(theta)))
    hessian[0, 0] = (cross * logs).sum()
    hessian[0, 1:] = hessian[1:, 0] = cross.sum(axis=0)
    hessian[1:, 1:] = np.diag(p.sum(axis=0)) - p.T @ p
    return gradients, hessian / len(logs) + np.eye(len(theta)) / 9 / len(logs)


def _calibration(logs: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the slope and the biases (1 + k,) of the likeliest calibration."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    start = np.eye(1 + logs.shape[1])[0]

    def loss(theta: FloatArray) -> float:
        z = theta[0] * logs + theta[1:]
        pull = np.square(theta - start).sum() / 18 / len(logs)
        return float(np.mean(logsumexp(z, axis=1) - (z * truth).sum(axis=1)) + pull)

    found: FloatArray = minimize(
        loss, start, jac=lambda theta: _slopes(logs, truth, theta)[0].mean(axis=0), method="L-BFGS-B"
    ).x
    return found


def _shares(p: FloatArray, source: FloatArray, start: FloatArray) -> FloatArray:
    """Return the likeliest shares (r, k) of rows with calibrated probabilities ``p`` (r, m, k)."""
    q, turned = start, p.transpose(0, 2, 1)
    for _ in range(500):
        ratio = q / source
        before, q = q, ratio * (turned @ (1 / np.maximum(p @ ratio[:, :, None], _TINY)))[:, :, 0] / p.shape[1]
        if np.abs(q - before).max() < 1e-5:
            break
    found: FloatArray = q / q.sum(axis=1, keepdims=True)
    return found


def _recalibrated(
    logs: FloatArray, truth: FloatArray, theta: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return calibrations (repeats, 1 + k) and shares (repeats, k) of source rows drawn anew."""
    n = len(truth)
    thetas, shares = [], []
    for rows in rng.integers(0, n, (_REPEATS, n)):
        found = theta
        for _ in range(2):  # one Newton step runs too far with few rows, and more can overshoot
            gradients, hessian = _slopes(logs[rows], truth[rows], found)
            found = found - np.linalg.solve(hessian, gradients.mean(axis=0))
        thetas.append(found)
        shares.append(np.maximum(truth[rows].mean(axis=0), 0.5 / n))
    return np.stack(thetas), np.stack(shares) / np.sum(shares, axis=1, keepdims=True)


def _resampled(
    pool: FloatArray, m: int, start: FloatArray, thetas: FloatArray, shares: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return the estimated shares (repeats, k) of ``m`` rows drawn from ``pool``, under each calibration."""
    at_once = max(1, _VALUES_AT_ONCE // (m * pool.shape[1]))
    found = []
    for first in range(0, _REPEATS, at_once):
        part = slice(first, first + at_once)
        rows = rng.integers(0, len(pool), (len(thetas[part]), m))
        p = np.stack([_calibrated(pool[row], one[None])[0] for row, one in zip(rows, thetas[part], strict=True)])
        found.append(_shares(p, shares[part], np.broadcast_to(start, shares[part].shape)))
    return np.concatenate(found)
