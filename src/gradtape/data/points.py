"""Points, rows of numbers, from arrays or data frames, and the way back to the kind they came in."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.data._columns import columns_of
from gradtape.errors import DataError, InputError

_LATER = "give columns of numbers only; tables with text come in a later release"


@dataclass(frozen=True, eq=False, repr=False)
class PointSet:
    """Points in memory, with all that is needed to give the same kind back.

    Made by ``gradtape.data.from_points`` and ``gradtape.data.read_points``.

    Args:
        values: float64 of shape (n, d), finite.
        columns: The d names of the columns.
        dtypes: The numpy type of each column in the source.
        form: ``"array"``, ``"pandas"`` or ``"polars"``.
        name: Short and safe as the name of a file.

    Examples:
        >>> from_points(np.array([[0, 10], [1, 20]]))
        PointSet('data': 2 points of 2 columns)
    """

    values: NDArray[np.float64]
    columns: tuple[str, ...]
    dtypes: tuple[str, ...]
    form: str = "array"
    name: str = "data"

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"PointSet({self.name!r}: {self.note})"

    @property
    def note(self) -> str:
        """One line on what was read."""
        n, d = self.values.shape
        return f"{n:,} points of {d} column{'s' if d > 1 else ''}"

    def as_given(self, values: ArrayLike) -> Any:
        """Return points in the form and types in which the user gave theirs; integers are rounded.

        Args:
            values: Finite numbers, shape (m, d).

        Returns:
            A numpy array, or a data frame with the columns of the source.

        Raises:
            InputError: The shape differs from this set's.

        Examples:
            >>> from_points(np.array([[0, 10], [1, 20]])).as_given([[0.2, 12.7]])
            array([[ 0, 13]])
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.columns):
            raise InputError(f"points of shape {array.shape}", remedy=f"give (m, {len(self.columns)})")
        typed = [_typed(column, dtype) for column, dtype in zip(array.T, self.dtypes, strict=True)]
        if self.form != "array":
            return importlib.import_module(self.form).DataFrame(dict(zip(self.columns, typed, strict=True)))
        return np.stack(typed, axis=1)


def from_points(X: Any, *, name: str = "data") -> PointSet:
    """Make a PointSet of rows of numbers; it remembers their form and types, so that the same kind comes back.

    Args:
        X: Numbers of shape (n, d): a numpy array, a CPU tensor, nested lists, or a data frame of pandas or polars
            whose columns are all numeric.
        name: Short name of the data.

    Raises:
        InputError: ``X`` has another shape.
        DataError: A value is missing, not finite or text; the sentence names its row and column.

    Examples:
        >>> from_points([[0.5, 1.0], [0.25, 2.0], [0.0, 4.0]]).values.mean(axis=0)
        array([0.25      , 2.33333333])
    """
    given = columns_of(X, text=False)
    values = np.stack([_numbers(column, given.where(index)) for index, column in enumerate(given.arrays)], axis=1)
    return PointSet(values, given.names, tuple(_kind(column) for column in given.arrays), given.form, name)


def _numbers(column: NDArray[Any], where: str) -> NDArray[np.float64]:
    """A column as float64, all finite; ``where`` is what errors call it."""
    if column.dtype.kind in "mM":
        raise DataError(f"X has dates or times in {where}", remedy="give numbers, such as days since the first")
    if column.dtype.kind not in "buif":
        for row, value in enumerate(column.tolist()):
            if value is None:
                raise DataError(f"X has no value in row {row} of {where}", remedy="fill it in or leave this row out")
            if isinstance(value, str | bytes) or not isinstance(value, int | float):
                what = "text" if isinstance(value, str | bytes) else f"a {type(value).__name__}"
                raise DataError(f"X has {what} in row {row} of {where} ({value!r})", remedy=_LATER)
    numbers = column.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise DataError(
            f"X has {numbers[bad[0]]} in row {bad[0]} of {where}"
            + (f", and {bad.size - 1:,} more there" if bad.size > 1 else ""),
            remedy="fill it in or leave this row out",
        )
    return numbers


def _kind(column: NDArray[Any]) -> str:
    return column.dtype.name if column.dtype.kind in "buif" else "float64"


def _typed(column: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return column.astype(kind)
    rounded = np.rint(column)
    if kind.kind == "b":
        return (rounded >= 1).astype(kind)
    limits = np.iinfo(kind)
    top = float(limits.max)  # of 64-bit integers the largest has no double of its own: take the one below
    return np.clip(rounded, float(limits.min), top if top <= limits.max else np.nextafter(top, 0.0)).astype(kind)
