"""Do synthetic samples lie closer to the training data than fresh real ones do?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradtape.errors import InputError
from gradtape.evidence._checks import FloatArray, level_of, matrix, same_features, whole
from gradtape.evidence._distances import nearest, spread
from gradtape.evidence._intervals import Interval, bootstrap, proportion
from gradtape.evidence._plain import fields_of

_COPY = 1e-6
_NEAR = 0.05


@dataclass(frozen=True)
class Nearness:
    """Distances to the nearest training sample, compared; see ``nearest_distances``.

    Args:
        closer_than_real: P(a synthetic sample lies closer than a fresh real one), ties half; 1: memorised.
        copies: Share of synthetic samples that copy a training sample.
        control_copies: The same share of fresh real samples: in coarse data, copies happen by chance.
        near: Share of synthetic samples closer than ``near_distance``.
        near_distance: A low quantile (5%, or the minimum of a small control) of the fresh real samples' distances.
        near_expected: The share to expect where synthetic samples are no closer than fresh real ones.
        near_p: Probability of ``near`` or more by chance; it counts the control's small n, unlike ``near``'s interval.
        medians: Median distance of ``"synthetic"``, ``"control"`` and ``"train"`` (each to the others).
        edges: (bins + 1,) edges of the histograms, common to the three.
        counts: (bins,) counts of each of the three; the last bin also holds everything beyond it.
        n_synthetic: Number of synthetic samples.
        n_control: Number of fresh real samples.
        n_train: Number of training samples.
    """

    closer_than_real: Interval
    copies: Interval
    control_copies: Interval
    near: Interval
    near_distance: float
    near_expected: float
    near_p: float
    medians: dict[str, float]
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    n_synthetic: int
    n_control: int
    n_train: int

    @property
    def too_close(self) -> bool:
        """Whether one of three signs (copies, closer than real, a near tail) says that training data shows through."""
        near_alarm = self.near_p < (1.0 - self.near.level) / 2.0
        return self.copies.mean > self.control_copies.mean or self.closer_than_real.low > 0.5 or near_alarm

    def sentence(self, kind: str = "samples") -> str:
        """Return the finding in one sentence; ``kind`` is the plural of what a sample is, such as ``"images"``."""
        auc = self.closer_than_real
        figure = f"AUC {_short(auc.mean)} [{_short(auc.low)}, {_short(auc.high)}], .5 would be no closer"
        if self.copies.mean > self.control_copies.mean:
            made, real = (round(share.mean * share.n) for share in (self.copies, self.control_copies))
            return (
                f"{made} of {self.n_synthetic} synthetic {kind} copy training {kind}, {real} of {self.n_control} fresh"
                f" real ones do ({figure}): do not treat them as anonymous."
            )
        if auc.low > 0.5:
            return (
                f"Synthetic {kind} lie closer to the training {kind} than fresh real {kind} do ({figure}):"
                " do not treat them as anonymous."
            )
        if self.too_close:
            return (
                f"Most synthetic {kind} lie no closer to the training {kind} than fresh real {kind} do ({figure}), but"
                f" {self.near.mean:.1%} lie in the nearest {self.near_expected:.1%} of distances:"
                " do not treat them as anonymous."
            )
        where = "farther from" if auc.high < 0.5 else "no closer to"
        return (
            f"Synthetic {kind} lie {where} the training {kind} than fresh real {kind} do ({figure}):"
            " no sign of copying by distance, which is no proof that they are anonymous."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)


def nearest_distances(
    train: ArrayLike, synthetic: ArrayLike, control: ArrayLike, seed: int = 0, bins: int = 30, level: float = 0.95
) -> Nearness:
    """Compare the distances to the nearest training sample of synthetic samples and of fresh real ones.

    ``closer_than_real = P(d_synthetic < d_control) + P(d_synthetic = d_control) / 2``, with a bootstrap interval over
    both sets of samples. A copy lies within 1e-6 of the training data's root mean square distance to its mean.

    What it does not measure: whether a given person was in the training data (membership inference), what an attacker
    learns about an attribute, single rare records behind a good average, copies in another form (shifted, re-encoded,
    re-scaled columns), or any guarantee such as differential privacy. Closeness here is a reason not to publish;
    distance is never a reason to publish. The intervals take the samples for independent: thin samples made from the
    same parent.

    Args:
        train: (m, d) features of the real samples that the generator was trained on or made samples from, m >= 2.
        synthetic: (n, d) features of synthetic samples, n >= 2.
        control: (c, d) features of real samples of the same origin, held out from the generator, c >= 2.
        seed: Seed of the bootstrap.
        bins: Number of bins of the histograms, >= 1.
        level: Confidence level in (0, 1).

    Returns:
        The comparison; its ``sentence()`` says it in words.

    Raises:
        InputError: too few samples, widths that differ, values that are not finite, or a control that is the training
            data itself.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> train, control = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
        >>> found = nearest_distances(train, train[:50], control)
        >>> found.closer_than_real.mean, found.copies.mean, found.control_copies.mean
        (1.0, 1.0, 0.0)

    Source: the held-out control follows Platzer and Reutterer (2021), Holdout-Based Empirical Assessment of
    Mixed-Type Synthetic Data, Frontiers in Big Data 4; the statistic is Mann and Whitney's (1947).
    """
    level, bins = level_of(level), whole(bins, "bins", at_least=1)
    known, made = matrix(train, "train", at_least=2), matrix(synthetic, "synthetic", at_least=2)
    fresh = matrix(control, "control", at_least=2)
    same_features(train=known, synthetic=made, control=fresh)
    if np.array_equal(known, fresh):
        raise InputError("control is the same sample as train", remedy="give real samples held out from training")

    of = {
        "synthetic": np.sort(nearest(made, known)),
        "control": np.sort(nearest(fresh, known)),
        "train": np.sort(nearest(known, known, exclude_self=True)),
    }
    n, c = len(made), len(fresh)
    copy_distance = _COPY * spread(known)
    rank = max(1, int(_NEAR * (c + 1) + 1e-9))
    near_distance = float(of["control"][rank - 1])
    near = int((of["synthetic"] < near_distance).sum())
    edges, counts = _histograms(of, bins)
    return Nearness(
        closer_than_real=_closer(of["synthetic"], of["control"], seed, level),
        copies=proportion(int((of["synthetic"] <= copy_distance).sum()), n, level),
        control_copies=proportion(int((of["control"] <= copy_distance).sum()), c, level),
        near=proportion(near, n, level),
        near_distance=near_distance,
        near_expected=rank / (c + 1),
        near_p=_at_least_below(near, n, rank, c),
        medians={name: float(np.median(distances)) for name, distances in of.items()},
        edges=edges,
        counts=counts,
        n_synthetic=n,
        n_control=c,
        n_train=len(known),
    )


def _closer(synthetic: FloatArray, control: FloatArray, seed: int, level: float) -> Interval:
    """Bootstrap interval of P(synthetic < control), ties half, over both samples."""
    codes = np.unique(np.concatenate([synthetic, control]), return_inverse=True)[1]
    made, fresh = codes[: len(synthetic)], codes[len(synthetic) :]
    size = int(codes.max()) + 1

    def auc(one: FloatArray, other: FloatArray) -> float:
        of_one = np.bincount(one.astype(np.intp), minlength=size)
        of_other = np.bincount(other.astype(np.intp), minlength=size)
        above = len(other) - np.cumsum(of_other)
        return float(of_one @ (above + of_other / 2.0)) / (len(one) * len(other))

    return bootstrap([made, fresh], auc, seed, level=level)


def _at_least_below(count: int, n: int, rank: int, c: int) -> float:
    """P(at least ``count`` of ``n`` values lie below the ``rank``-th smallest of ``c`` others) by chance.

    Where all are of one distribution, whichever, that number is beta-binomial with ``rank`` and ``c + 1 - rank``.
    """
    from scipy.special import betaln, gammaln

    j = np.arange(count, n + 1)
    choose = gammaln(n + 1) - gammaln(j + 1) - gammaln(n - j + 1)
    a, b = rank, c + 1 - rank
    return min(1.0, float(np.exp(choose + betaln(j + a, n - j + b) - betaln(a, b)).sum()))


def _histograms(of: dict[str, FloatArray], bins: int) -> tuple[tuple[float, ...], dict[str, tuple[int, ...]]]:
    """Return common edges from 0 to the 99.5% quantile of all distances, and the counts."""
    top = float(np.quantile(np.concatenate(list(of.values())), 0.995)) or 1.0
    edges = np.linspace(0.0, top, bins + 1)
    counts = {name: np.histogram(np.minimum(distances, top), edges)[0] for name, distances in of.items()}
    return tuple(edges.tolist()), {name: tuple(found.tolist()) for name, found in counts.items()}


def _short(share: float) -> str:
    """Write a share with two decimals and no leading zero."""
    return f"{share:.2f}".removeprefix("0")
