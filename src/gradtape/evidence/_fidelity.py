"""How near synthetic samples come to real ones, beside what fresh real samples score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.evidence._checks import FloatArray, matrix, same_features, whole
from gradtape.evidence._distances import spread, squared_blocks, squared_radii
from gradtape.evidence._frechet import frechet_distance
from gradtape.evidence._intervals import Interval, bootstrap, proportion
from gradtape.evidence._plain import fields_of
from gradtape.seeding import derive

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Figure:
    """One figure of fidelity, beside what real data and the best conceivable sample score.

    Args:
        name: Name of the figure.
        synthetic: The synthetic samples' figure.
        floor: The same figure of fresh real samples at the same n: what a perfect generator would score.
        ceiling: The best value the figure can take, ``None`` where it has no bound.
        better: Whether ``"higher"`` or ``"lower"`` is better.
        n: Number of samples in the synthetic's and in the floor's role.
        synthetic_interval: Interval of ``synthetic``, where the figure is a mean over samples.
        floor_interval: Interval of ``floor``, likewise.
    """

    name: str
    synthetic: float
    floor: float
    ceiling: float | None
    better: Literal["higher", "lower"]
    n: int
    synthetic_interval: Interval | None = None
    floor_interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)


@dataclass(frozen=True)
class Fidelity:
    """Precision, recall, density, coverage and Fréchet distance; see ``fidelity``.

    ``k`` is the number of neighbours used, ``n`` the number of samples in the synthetic's and the floor's role,
    ``n_real`` that of the reference.
    """

    precision: Figure
    recall: Figure
    density: Figure
    coverage: Figure
    frechet: Figure
    k: int
    n: int
    n_real: int

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The five figures, in the order of the fields."""
        return (self.precision, self.recall, self.density, self.coverage, self.frechet)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)


def fidelity(
    synthetic: ArrayLike, real: ArrayLike, floor: ArrayLike, k: int = 5, seed: int = 0, level: float = 0.95
) -> Fidelity:
    """Fidelity and variety of synthetic samples, beside the same figures of fresh real samples.

    With balls around each sample that reach to its k-th nearest other sample of the same set, edge included:

    * precision: share of synthetic samples inside a real sample's ball (are they real enough?)
    * recall: share of real samples inside a synthetic sample's ball (is everything there?)
    * density: mean number of real balls around a synthetic sample, over k; about 1 for real data, unbounded
    * coverage: share of real balls that hold a synthetic sample; robust against outliers, unlike recall
    * Fréchet distance: see ``frechet_distance``; biased at small n, so read it beside its floor only

    The larger of ``synthetic`` and ``floor`` is thinned to the other's n, so both have the same bias. Intervals are
    Wilson's for shares (they hold at 0 and 1, where a bootstrap shrinks to a point) and a bootstrap for density. They
    are over the samples averaged, with the other set held fixed, and take these for independent.
    Distances see the features as they are: standardise columns of unlike units first.

    Args:
        synthetic: (n, d) features of synthetic samples.
        real: (m, d) features of the real reference.
        floor: (n_f, d) features of other real samples, none of them in ``real``, playing the synthetic's role.
        k: Number of neighbours, >= 1; at most a quarter of the smallest set is used (but at least 1).
        seed: Seed of the thinning and of the bootstrap.
        level: Confidence level in (0, 1).

    Returns:
        The five figures, each with its floor, ceiling and n.

    Raises:
        InputError: a set with fewer than k + 1 samples, widths that differ, values that are not finite, or a floor
            that is the reference itself.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> found = fidelity(rng.normal(5, 1, (50, 2)), rng.normal(0, 1, (50, 2)), rng.normal(0, 1, (50, 2)))
        >>> found.precision.synthetic, found.precision.floor > 0.8
        (0.0, True)

    Source: Kynkäänniemi et al. (2019), Improved Precision and Recall Metric, NeurIPS; Naeem et al. (2020), Reliable
    Fidelity and Diversity Metrics, ICML; Heusel et al. (2017), NeurIPS.
    """
    k = whole(k, "k", at_least=1)
    reference = matrix(real, "real", at_least=k + 1)
    made, fresh = matrix(synthetic, "synthetic", at_least=k + 1), matrix(floor, "floor", at_least=k + 1)
    same_features(synthetic=made, real=reference, floor=fresh)
    if np.array_equal(reference, fresh):
        raise InputError("floor is the same sample as real", remedy="give real samples that real does not hold")
    n = min(len(made), len(fresh))
    made, fresh = _thin(made, n, seed), _thin(fresh, n, seed)
    k = max(1, min(k, n // 4, len(reference) // 4))

    mean, scale = reference.mean(axis=0), spread(reference)
    scaled = (reference - mean) / scale
    reach = squared_radii(scaled, k)
    of_made = _memberships((made - mean) / scale, scaled, reach, k)
    of_fresh = _memberships((fresh - mean) / scale, scaled, reach, k)

    def share(name: str, i: int) -> Figure:
        one, other = (proportion(int(of[i].sum()), len(of[i]), level) for of in (of_made, of_fresh))
        return Figure(name, one.mean, other.mean, 1.0, "higher", n, one, other)

    dense, real_dense = (_mean(of[2], seed, level) for of in (of_made, of_fresh))
    distances = frechet_distance(reference, made), frechet_distance(reference, fresh)
    return Fidelity(
        precision=share("precision", 0),
        recall=share("recall", 1),
        density=Figure("density", dense.mean, real_dense.mean, None, "higher", n, dense, real_dense),
        coverage=share("coverage", 3),
        frechet=Figure("Fréchet distance", *distances, 0.0, "lower", n),
        k=k,
        n=n,
        n_real=len(reference),
    )


def _thin(data: FloatArray, n: int, seed: int) -> FloatArray:
    """Return ``n`` of the rows, drawn without replacement."""
    if len(data) == n:
        return data
    rng = np.random.default_rng(derive(seed, "evidence", "fidelity", "thin"))
    return data[np.sort(rng.permutation(len(data))[:n])]


def _mean(values: FloatArray, seed: int, level: float) -> Interval:
    """Bootstrap interval of the mean; sorted first, so that the order of the samples does not matter."""
    return bootstrap([np.sort(values)], lambda drawn: drawn.mean(axis=1), seed, level=level, vectorised=True)


def _memberships(
    made: FloatArray, real: FloatArray, reach: FloatArray, k: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], FloatArray, NDArray[np.bool_]]:
    """Return per-sample (precision (n,), recall (m,), density (n,), coverage (m,))."""
    own_reach = squared_radii(made, k)
    around = np.zeros(len(made))
    recalled, covered = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    edges = reach + _ROUNDING * (1.0 + reach)
    own_edges = own_reach + _ROUNDING * (1.0 + own_reach)
    for rows, squared in squared_blocks(made, real):
        inside = squared <= edges
        around[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (squared <= own_edges[rows, None]).any(axis=0)
    return around > 0, recalled, around / k, covered
