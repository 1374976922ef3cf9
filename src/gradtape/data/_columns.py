"""Any table in memory as named columns, and each column as numbers or as text."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradtape.data._cells import is_missing, is_number, once
from gradtape.errors import DataError, InputError

_FRAMES = ("pandas", "polars")
_NUMBERS = (numbers.Real, Decimal, np.bool_)
_GAPS = ("NoneType", "NAType", "NaTType")  # None, and what pandas has in its place


class Columns(NamedTuple):
    """Names and arrays of shape (n,), the ``form`` they came in, and the names of categories among them."""

    names: tuple[str, ...]
    arrays: tuple[NDArray[Any], ...]
    form: str
    categories: tuple[str, ...] = ()

    def where(self, index: int) -> str:
        """What errors call a column."""
        return f"column {index if self.form == 'array' else repr(self.names[index])}"


def columns_of(X: Any, *, text: bool) -> Columns:
    """Split ``X``; with ``text``, nested lists keep the type of each cell."""
    module = type(X).__module__.split(".")[0]
    if module in _FRAMES and type(X).__name__ == "DataFrame":
        names = tuple(str(column) for column in X.columns)
        once(names, "X")
        if not names or not len(X):
            raise DataError(f"X has {len(X)} rows and {len(names)} columns", remedy="give at least one of both")
        series = [X[column] for column in X.columns]
        categories = tuple(
            name for name, one in zip(names, series, strict=True) if str(getattr(one, "dtype", "")) == "category"
        )
        return Columns(names, tuple(np.asarray(one.to_numpy()) for one in series), module, categories)
    try:
        array = np.array(X, dtype=object) if text and isinstance(X, list | tuple) else np.asarray(X)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(X).__name__])[0].strip().rstrip(".")
        what = f"X of type {type(X).__name__} cannot be read as an array ({reason})"
        raise InputError(what, remedy="give an array, nested lists or a data frame with one row each") from None
    if array.ndim != 2 or not array.size:
        raise InputError(f"X has shape {array.shape}", remedy="give points as (n, columns), one row each")
    return Columns(tuple(f"x{index}" for index in range(array.shape[1])), tuple(array.T), "array")


def place(column: str, lines: Sequence[int] = ()) -> Callable[[int], str]:
    """What errors call a cell of a column, by its row or by its line in the file."""
    return lambda row: f"line {lines[row]} of {column}" if lines else f"row {row} of {column}"


def to_column(array: NDArray[Any], where: Callable[[int], str], source: str) -> NDArray[Any]:
    """One column in the way of a Table; errors call it ``source`` and say ``where(row)``."""
    if array.dtype.kind in "UT":
        return cells_to_column(array.astype(np.str_).tolist(), where, source)
    if array.dtype.kind in "mM":
        raise _no_date(f"{source} has dates or times in {where(0)}")
    if array.dtype.kind not in "buif":
        array = _plain(array.tolist(), where, source)
        if array.dtype == object:
            return array
    column = array.astype(np.float64)
    _no_infinity(column, where, source)
    return column


def cells_to_column(cells: Sequence[str], where: Callable[[int], str], source: str) -> NDArray[Any]:
    """One column of stripped cells of text; numeric if all that is there are numbers."""
    values = [None if is_missing(cell) else cell for cell in cells]
    if not all(value is None or is_number(value) for value in values):
        return _objects(values)
    column = np.array([np.nan if value is None else float(value) for value in values])
    _no_infinity(column, where, source)
    return column


def as_text(column: NDArray[Any]) -> NDArray[Any]:
    """A column of a Table as text, whole numbers without a point."""
    if column.dtype == object:
        return column
    return _objects([None if cell != cell else _word(cell) for cell in column.tolist()])


def _word(cell: Any) -> str | None:
    return f"{cell:.0f}" if isinstance(cell, float) and cell.is_integer() else None if cell is None else str(cell)


def _plain(values: list[Any], where: Callable[[int], str], source: str) -> NDArray[Any]:
    """Cells of any type as floats if all are numbers, else as text."""
    cells = [
        None if type(cell).__name__ in _GAPS or (isinstance(cell, _NUMBERS) and cell != cell) else cell
        for cell in values
    ]
    for row, cell in enumerate(cells):
        if hasattr(cell, "isoformat"):
            raise _no_date(f"{source} has a date or time in {where(row)} ({cell})")
        if cell is not None and not isinstance(cell, (str, *_NUMBERS)):
            what = f"{source} has a {type(cell).__name__} in {where(row)}"
            raise DataError(what, remedy="give numbers and text only")
    if any(isinstance(cell, str) for cell in cells):
        return _objects([_word(cell) for cell in cells])
    return np.array([np.nan if cell is None else float(cell) for cell in cells])


def _objects(values: list[str | None]) -> NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _no_date(what: str) -> DataError:
    return DataError(what, remedy="give numbers, such as days since the first, or leave the column out")


def _no_infinity(column: NDArray[np.float64], where: Callable[[int], str], source: str) -> None:
    bad = np.flatnonzero(np.isinf(column))
    if bad.size:
        raise DataError(f"{source} has {column[bad[0]]} in {where(int(bad[0]))}", remedy="leave it empty or out")
