"""A figure with its interval: Student's t, Wilson's score, the percentile bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.evidence._checks import FloatArray, level_of, numbers, vector, whole
from gradtape.evidence._plain import fields_of
from gradtape.seeding import derive

_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A figure, the interval around it, and what both rest on.

    Args:
        mean: The figure itself.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of independent values (the smallest sample where there are several).
        level: Confidence level in (0, 1).
        method: How the interval was made, in words.

    ``str`` writes it with a sign and one decimal, for gains; ``format`` takes any format for one number.

    Examples:
        >>> gain = Interval(1.2, 0.3, 2.1, n=5, level=0.95, method="Student t")
        >>> print(gain, gain.covers(0.0))
        +1.2 [+0.3, +2.1] False
        >>> f"{gain:.2f}"
        '1.20 [0.30, 2.10]'
    """

    mean: float
    low: float
    high: float
    n: int
    level: float
    method: str

    def covers(self, value: float = 0.0) -> bool:
        """Return whether ``value`` lies in the interval, ends included."""
        return self.low <= value <= self.high

    @property
    def degenerate(self) -> bool:
        """Whether both ends are one number: the values never varied, so they say nothing about certainty."""
        return self.low == self.high

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)

    def __format__(self, spec: str) -> str:
        spec = spec or "+.1f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self, "+.1f")


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the mean of independent values, by Student's t.

    ``mean ± t(level, n - 1) * s / sqrt(n)``, with ``s`` the standard deviation (``n - 1`` below).

    When all values are identical the interval shrinks to the mean. That is a false certainty (identical values mean
    that nothing varied, not that nothing could): look at ``Interval.degenerate`` before you claim anything.

    Args:
        values: (n,) independent values, n >= 2; one per seed, not one per sample of one seed.
        level: Confidence level in (0, 1).

    Returns:
        The interval; ``n`` is the number of values.

    Raises:
        InputError: fewer than two values, or values that are not finite.

    Examples:
        >>> f"{mean_interval([1.0, 2.0, 3.0]):.2f}"
        '2.00 [-0.48, 4.48]'

    Source: Student (1908), The Probable Error of a Mean, Biometrika 6(1).
    """
    data = vector(values, "values", at_least=2)
    return student(data, level_of(level), size=float(np.abs(data).max()))


def paired_gain(treated: ArrayLike, control: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the mean gain of ``treated`` over ``control``, paired by position, by Student's t.

    ``mean_interval`` of ``treated - control``. What both of a pair share (seed, split) cancels.

    Args:
        treated: (n,) one score per seed, n >= 2.
        control: (n,) the scores of the same seeds without the treatment.
        level: Confidence level in (0, 1).

    Returns:
        The interval of the mean difference, in the units of the scores.

    Raises:
        InputError: lengths that differ, fewer than two pairs, or values that are not finite.

    Examples:
        >>> f"{paired_gain([0.92, 0.93, 0.91], [0.90, 0.92, 0.90]):+.3f}"
        '+0.013 [-0.001, +0.028]'

    Source: Student (1908), The Probable Error of a Mean, Biometrika 6(1).
    """
    left, right = vector(treated, "treated", at_least=2), vector(control, "control", at_least=2)
    if left.size != right.size:
        raise InputError(
            f"treated holds {left.size} scores and control {right.size}", remedy="give one pair of scores per seed"
        )
    return student(left - right, level_of(level), size=float(max(np.abs(left).max(), np.abs(right).max())))


def student(values: FloatArray, level: float, size: float) -> Interval:
    """Student's interval; values within rounding of one another at magnitude ``size`` count as identical."""
    from scipy.special import stdtrit

    n = values.size
    mean = float(values.mean())
    half = 0.0
    if float(np.ptp(values)) > 8.0 * np.finfo(np.float64).eps * size:
        half = float(stdtrit(n - 1, 0.5 + level / 2.0)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, level, "Student t")


def proportion(successes: int, n: int, level: float = 0.95) -> Interval:
    """Interval of a share, by Wilson's score: never empty, never outside [0, 1], sound at 0 and at n.

    ``(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`` with ``p = successes / n``.

    Args:
        successes: Number of successes, 0 to n.
        n: Number of independent trials, n >= 1.
        level: Confidence level in (0, 1).

    Returns:
        The interval of the share; ``mean`` is ``successes / n``.

    Raises:
        InputError: no trials, or successes outside 0 to n.

    Examples:
        >>> f"{proportion(0, 20):.3f}"
        '0.000 [0.000, 0.161]'

    Source: Wilson (1927), JASA 22(158); compared in Newcombe (1998), Statistics in Medicine 17(8).
    """
    n, successes = whole(n, "n", at_least=1), whole(successes, "successes", at_least=0)
    if successes > n:
        raise InputError(f"{successes} successes of {n} trials", remedy="give at most n successes")
    return wilson(successes / n, n, level_of(level))


def wilson(share: float, n: int, level: float) -> Interval:
    """Wilson's interval of a ``share`` in [0, 1] that rests on ``n`` samples."""
    from scipy.special import ndtri

    z2 = float(ndtri(0.5 + level / 2.0)) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(
        share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), n, level, "Wilson score"
    )


def bootstrap(
    values_list: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    seed: int,
    repeats: int = 1000,
    level: float = 0.95,
    *,
    vectorised: bool = False,
) -> Interval:
    """Percentile bootstrap interval of a statistic of one or several independent samples.

    Each sample is drawn anew with replacement along its first axis, ``repeats`` times; the ends are the
    ``(1 - level)/2`` and ``(1 + level)/2`` quantiles of the statistic. It is too narrow for very small samples and
    shrinks to a point when the statistic sits at its bound: take ``proportion`` for shares.

    Args:
        values_list: The samples, each (n_i, ...), n_i >= 2; they need not be of equal length.
        statistic: Takes one array per sample, returns a number.
        seed: Seed of the draws.
        repeats: Number of draws, >= 2.
        level: Confidence level in (0, 1).
        vectorised: ``statistic`` takes arrays (r, n_i, ...), and returns (r,) numbers: many draws at once.

    Returns:
        The interval; ``mean`` is the statistic of the samples as given, ``n`` the size of the smallest one.

    Raises:
        InputError: no samples, a sample with fewer than two values, or a statistic that is not finite.

    Examples:
        >>> interval = bootstrap([[1.0, 2.0, 3.0, 6.0]], np.median, seed=0)
        >>> interval.mean, interval.low, interval.high
        (2.5, 1.0, 6.0)

    Source: Efron (1979), Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7(1).
    """
    level, repeats = level_of(level), whole(repeats, "repeats", at_least=2)
    samples = [numbers(values, f"values_list[{i}]") for i, values in enumerate(values_list)]
    if not samples or min(sample.shape[0] if sample.ndim else 0 for sample in samples) < 2:
        raise InputError("values_list lacks a sample of two or more values", remedy="give at least two values each")
    rng = np.random.default_rng(derive(seed, "evidence", "bootstrap"))
    at_once = max(1, min(repeats, _VALUES_AT_ONCE // sum(sample.size for sample in samples)))
    batches = []
    for start in range(0, repeats, at_once):
        r = min(at_once, repeats - start)
        indices = [rng.integers(0, len(sample), (r, len(sample))) for sample in samples]
        batches.append(_statistics(samples, indices, statistic, vectorised))
    drawn = np.concatenate(batches)
    whole_sample = [np.arange(len(sample))[None] for sample in samples]
    mean = float(_statistics(samples, whole_sample, statistic, vectorised)[0])
    if not (math.isfinite(mean) and np.isfinite(drawn).all()):
        raise InputError("the statistic is not finite on some draws", remedy="give one that is finite on any draw")
    low, high = np.quantile(drawn, [0.5 - level / 2.0, 0.5 + level / 2.0])
    n = min(len(sample) for sample in samples)
    return Interval(mean, float(low), float(high), n, level, "percentile bootstrap")


def _statistics(
    samples: list[FloatArray], indices: list[NDArray[np.int64]], statistic: Callable[..., Any], vectorised: bool
) -> FloatArray:
    """Return the statistic of each row of draws, (r,)."""
    if vectorised:
        drawn = (sample[index] for sample, index in zip(samples, indices, strict=True))
        return np.asarray(statistic(*drawn), dtype=np.float64).reshape(len(indices[0]))
    rows = zip(*indices, strict=True)
    found = [float(statistic(*(sample[index] for sample, index in zip(samples, row, strict=True)))) for row in rows]
    return np.asarray(found, dtype=np.float64)
