"""Arguments as arrays of float64, or one clear sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError

FloatArray = NDArray[np.float64]


def numbers(value: ArrayLike, name: str) -> FloatArray:
    """Return ``value`` as finite float64 numbers of any shape."""
    try:
        array: FloatArray = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} does not hold numbers", remedy="give a numeric array without gaps") from None
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise InputError(f"{name} holds {bad} values that are NaN or infinite", remedy="remove or fill them first")
    return array


def vector(value: ArrayLike, name: str, at_least: int) -> FloatArray:
    """Return ``value`` as a vector (n,) with ``n >= at_least``."""
    array = numbers(value, name)
    if array.ndim != 1:
        raise InputError(f"{name} has shape {array.shape}, expected (n,)", remedy="give one number per experiment")
    if array.size < at_least:
        raise InputError(f"{name} holds {array.size} values, at least {at_least} are needed", remedy="repeat it more")
    return array


def matrix(value: ArrayLike, name: str, at_least: int) -> FloatArray:
    """Return ``value`` as a feature matrix (n, d) with ``n >= at_least`` and ``d >= 1``."""
    array = numbers(value, name)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} has shape {array.shape}, expected (samples, features)", remedy="flatten each sample to one row"
        )
    if array.shape[0] < at_least:
        raise InputError(
            f"{name} holds {array.shape[0]} samples, at least {at_least} are needed", remedy="give more samples"
        )
    return array


def same_features(**matrices: FloatArray) -> None:
    """Raise unless all matrices have the same number of features."""
    if len({array.shape[1] for array in matrices.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape[1]}" for name, array in matrices.items())
        raise InputError(f"the numbers of features differ ({shapes})", remedy="encode all of them the same way")


def level_of(level: float) -> float:
    """Return ``level`` if it lies strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}, expected a number between 0 and 1", remedy="give .95 for 95%")
    return float(level)


def whole(value: Any, name: str, at_least: int) -> int:
    """Return ``value`` as an integer of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise InputError(f"{name} is {value!r}, expected a whole number >= {at_least}", remedy="give such a number")
    return int(value)
