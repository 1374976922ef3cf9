"""Divide images into a pool to draw from, a validation set and a test set, before anything is synthesised."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.data.images import ImageSet, check_indices
from gradtape.errors import DataError, InputError
from gradtape.seeding import derive

__all__ = ["Split", "draw", "split"]

_TEST, _VALIDATION = 40, 25  # percent of each class


@dataclass(frozen=True, eq=False)
class Split:
    """Sorted row numbers of three disjoint parts that cover the data.

    Args:
        pool: Rows that training images are drawn from, int64.
        validation: Rows to choose on, int64.
        test: Rows to report on, int64.
    """

    pool: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split(data: ImageSet, per_class: int, seed: int) -> Split:
    """Divide each class into pool, validation and test, the same way for the same seed.

    Of each class 40% go to test, 25% to validation and the rest to the pool. Where the pool would get fewer than
    ``per_class`` it gets exactly these, and test and validation share what is left 8:5, each with at least one. If the
    publisher set rows aside for testing then these are the test set, and of each class's other rows 25% go to
    validation. The parts of one class do not depend on the other classes.

    Args:
        data: The images.
        per_class: Images of each class that training will draw; at least 2.
        seed: Any integer.

    Returns:
        The three parts: disjoint, sorted, covering all rows.

    Raises:
        InputError: ``per_class`` is below 2 or is no integer.
        DataError: A class has too few images.

    Examples:
        >>> from gradtape.data import read
        >>> parts = split(read("digits"), per_class=10, seed=0)
        >>> len(parts.pool), len(parts.validation), len(parts.test)
        (627, 451, 719)
    """
    count = _check_per_class(per_class, 2, ", since new samples are interpolated between two images of a class")
    official = np.zeros(len(data), dtype=bool)
    if data.official_test is not None:
        official[check_indices(data.official_test, len(data))] = True
    free = ~official
    reserved = 1 if official.any() else 2  # images that each class needs beside those to train on
    _check_counts(data, np.bincount(data.labels[free], minlength=len(data.classes)), count, reserved)
    pool, validation, test = [], [], [np.flatnonzero(official)]
    for number, name in enumerate(data.classes):
        rows = np.flatnonzero(free & (data.labels == number))
        rows = np.random.default_rng(derive(seed, "data", "split", name)).permutation(rows)
        first, second = _sizes(len(rows), count, reserved)
        test.append(rows[:first])
        validation.append(rows[first : first + second])
        pool.append(rows[first + second :])
    return Split(*(np.sort(np.concatenate(part)).astype(np.int64) for part in (pool, validation, test)))


def draw(data: ImageSet, pool: ArrayLike, per_class: int, seed: int) -> NDArray[np.int64]:
    """Draw ``per_class`` rows of each class from a pool, without replacement.

    With the same seed a smaller draw is part of a larger one.

    Args:
        data: The images.
        pool: Row numbers to draw from, such as ``Split.pool``.
        per_class: Rows of each class; at least 1.
        seed: Any integer.

    Returns:
        Sorted row numbers of ``data``, int64 of shape (k * per_class,).

    Raises:
        InputError: ``per_class`` is below 1, or ``pool`` names a row that is not there or names one twice.
        DataError: A class has fewer rows in the pool.

    Examples:
        >>> from gradtape.data import read
        >>> digits = read("digits")
        >>> rows = draw(digits, split(digits, 10, seed=0).pool, 10, seed=1)
        >>> digits.take(rows).counts()["7"]
        10
    """
    count = _check_per_class(per_class, 1, "")
    rows = np.sort(check_indices(pool, len(data)))
    if (rows[1:] == rows[:-1]).any():
        raise InputError(f"pool names row {rows[1:][rows[1:] == rows[:-1]][0]} twice", remedy="name each row once")
    labels = data.labels[rows]
    drawn = []
    for number, name in enumerate(data.classes):
        mine = rows[labels == number]
        if len(mine) < count:
            raise DataError(
                f"class {name!r} has {len(mine)} images in the pool and --per-class is {count}",
                remedy="draw fewer of each class or split again with this --per-class",
            )
        drawn.append(np.random.default_rng(derive(seed, "data", "draw", name)).permutation(mine)[:count])
    return np.sort(np.concatenate(drawn))


def _sizes(n: int, per_class: int, reserved: int) -> tuple[int, int]:
    """How many of ``n`` rows of one class go to test and to validation."""
    validation = max(1, (n * _VALIDATION + 50) // 100)
    if reserved == 1:
        return 0, min(validation, n - per_class)
    test = max(1, (n * _TEST + 50) // 100)
    if n - test - validation >= per_class:
        return test, validation
    left = n - per_class
    test = min(max(1, (left * 8 * 2 + 13) // 26), left - 1)
    return test, left - test


def _check_per_class(per_class: SupportsIndex, least: int, why: str) -> int:
    try:
        count = index(per_class)
    except TypeError:
        raise InputError(f"--per-class {per_class!r}", remedy="give an integer") from None
    if count < least:
        raise InputError(f"--per-class {count}", remedy=f"at least {least} of each class are needed{why}")
    return count


def _check_counts(data: ImageSet, counts: NDArray[np.int64], per_class: int, reserved: int) -> None:
    fewest = int(counts.min())
    if fewest >= per_class + reserved:
        return
    name = data.classes[int(counts.argmin())]
    many = f"class {name!r} has {fewest} image{'' if fewest == 1 else 's'}" + (" to train on" if reserved == 1 else "")
    if fewest < 2 + reserved:
        needs = "2 to train on, 1 to choose on" + (", 1 to test on" if reserved == 2 else "")
        raise DataError(
            f"{many}, and at least {2 + reserved} are needed ({needs})",
            remedy="add images to this class or leave it out",
        )
    most = fewest - reserved
    raise DataError(
        f"{many}, and --per-class {per_class} needs {per_class + reserved}",
        remedy=f"give at most --per-class {most}, which works for all classes, or add images to this class",
    )
