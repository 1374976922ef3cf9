"""The Fréchet distance between two samples, each taken for a Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gradtape.evidence._checks import FloatArray, matrix, same_features


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Squared Fréchet distance between the Gaussians with the two samples' means and covariances.

    ``|μ1 - μ2|² + tr Σ1 + tr Σ2 - 2 tr (Σ1^½ Σ2 Σ1^½)^½``, by eigenvalues of symmetric matrices only.

    Biased upwards at small n (two samples of one distribution do not score 0), and more so with more features:
    compare it only with a figure at the same n and the same features; ``fidelity`` gives that floor.

    Args:
        first: (n, d) features, n >= 2.
        second: (m, d) features, m >= 2.

    Returns:
        The distance, >= 0, in squared units of the features.

    Raises:
        InputError: not two matrices of the same width, too few rows, or values that are not finite.

    Examples:
        >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
        9.0

    Source: Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule, NeurIPS; Dowson and Landau (1982).
    """
    a, b = matrix(first, "first", at_least=2), matrix(second, "second", at_least=2)
    same_features(first=a, second=b)
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * _roots(values)) @ vectors.T
    middle = root @ cov_b @ root
    crossed = _roots(np.linalg.eigvalsh((middle + middle.T) / 2.0)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2.0 * crossed
    return max(0.0, float(distance))


def _moments(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    mean: FloatArray = data.mean(axis=0)
    centred = data - mean
    return mean, centred.T @ centred / (len(data) - 1)


def _roots(values: FloatArray) -> FloatArray:
    """Square roots of the eigenvalues, those within rounding of zero taken for zero."""
    rounding = values.size * np.finfo(np.float64).eps * float(np.abs(values).max())
    return np.sqrt(np.where(values > rounding, values, 0.0))
