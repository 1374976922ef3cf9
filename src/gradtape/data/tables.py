"""Tables: columns of numbers and of text, with cells that are missing."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.data._columns import as_text, columns_of, place, to_column
from gradtape.errors import DataError, InputError, listed


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns of one length, in the order of the source.

    Made by ``gradtape.data.from_table`` and ``gradtape.data.read_table``.

    Args:
        columns: Name to column of shape (n,): float64 with NaN where a number is missing, or an object array of str
            with None where a text is missing.
        form: What it was made of: ``"array"``, ``"pandas"`` or ``"polars"``.
        name: Short name of the data.

    Examples:
        >>> table = from_table([[63, "typical"], [67, None], [None, "none"]], name="pain")
        >>> table
        Table('pain': 3 rows of 2 columns, 1 of text)
        >>> table.numeric, table.text, table.take([0, 2]).column("x1").tolist()
        (('x0',), ('x1',), ['typical', 'none'])
    """

    columns: dict[str, NDArray[Any]]
    form: str = "array"
    name: str = "data"

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __repr__(self) -> str:
        return f"Table({self.name!r}: {self.note})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(self.columns)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The names of the columns of numbers."""
        return tuple(name for name, column in self.columns.items() if column.dtype != object)

    @property
    def text(self) -> tuple[str, ...]:
        """The names of the columns of text."""
        return tuple(name for name, column in self.columns.items() if column.dtype == object)

    @property
    def note(self) -> str:
        """One line on what is there."""
        text = f", {len(self.text)} of text" if self.text else ""
        return f"{len(self):,} rows of {len(self.names)} column{'s' * (len(self.names) != 1)}{text}"

    def column(self, name: str) -> NDArray[Any]:
        """Return one column.

        Raises:
            InputError: There is none of this name; the sentence has the nearest one.
        """
        if name not in self.columns:
            close = difflib.get_close_matches(str(name), self.names, n=1)
            what = f"{self.name} has no column {name!r}" + (f", did you mean {close[0]!r}?" if close else "")
            raise InputError(what, remedy=f"give one of {listed(self.names)}")
        return self.columns[name]

    def take(self, rows: ArrayLike) -> Table:
        """Return the rows of these indices, or those where a mask is true, shape (m,)."""
        picked = np.asarray(rows)
        return replace(self, columns={name: column[picked] for name, column in self.columns.items()})

    def without(self, *names: str) -> Table:
        """Return the table without these columns.

        Raises:
            InputError: There is no column of one of these names.
        """
        for name in names:
            self.column(name)
        return replace(self, columns={name: column for name, column in self.columns.items() if name not in names})


def from_table(X: Any, *, name: str = "data") -> Table:
    """Make a Table of whatever holds rows and columns.

    Args:
        X: A numpy array, nested lists or a CPU tensor of shape (n, d), or a data frame of pandas or polars. NaN, None
            and the missing values of pandas are gaps. A column is numeric if all that is there are numbers or bools;
            categories, and columns in which numbers and text are mixed, are text.
        name: Short name of the data.

    Raises:
        InputError: ``X`` has another shape.
        DataError: A cell is infinite, a date or no plain value; the sentence names its row and column.

    Examples:
        >>> from_table([[1, "a"], [None, "b"]]).column("x0").tolist()
        [1.0, nan]
    """
    given = columns_of(X, text=True)
    columns = {}
    for index, (label, array) in enumerate(zip(given.names, given.arrays, strict=True)):
        column = to_column(array, place(given.where(index)), "X")
        columns[label] = as_text(column) if label in given.categories else column
    return Table(columns, given.form, name)


def alike(*tables: Table) -> list[Table]:
    """Give tables of several domains the columns of the first, in its order, each of one kind in all of them.

    A column that is text in one of them is text in all.

    Raises:
        DataError: A table has not the columns of the first.

    Examples:
        >>> first, second = alike(from_table([[1], [2]]), from_table([["2"], ["many"]]))
        >>> first.column("x0").tolist(), second.column("x0").tolist()
        (['1', '2'], ['2', 'many'])
    """
    first = tables[0]
    for table in tables[1:]:
        for one, other in ((first, table), (table, first)):
            alone = [name for name in one.names if name not in other.columns]
            if alone:
                what = f"{one.name} has a column {alone[0]!r} that {other.name} has not"
                raise DataError(what, remedy="give all domains the same columns")
    text = {name for table in tables for name in table.text}
    columns = [
        {name: as_text(table.columns[name]) if name in text else table.columns[name] for name in first.names}
        for table in tables
    ]
    return [replace(table, columns=each) for table, each in zip(tables, columns, strict=True)]


def labels_of(table: Table, target: str, where: Callable[[int], str] = "row {}".format) -> tuple[Table, Any]:
    """Take the column of labels out of a table: (the rest, labels of shape (n,) or None where all are missing).

    Labels are int64 if all are whole numbers, float64 if not all are, and str otherwise.

    Raises:
        InputError: There is no such column, or no other.
        DataError: Some labels are missing; ``where`` says of a row where it stands.

    Examples:
        >>> rest, labels = labels_of(from_table([[0.5, 1], [0.25, 0]]), "x1")
        >>> rest.names, labels.tolist()
        (('x0',), [1, 0])
    """
    column = table.column(target)
    rest = table.without(target)
    if not rest.names:
        raise InputError(f"{table.name} has no column but {target!r}", remedy="give columns to predict it from")
    gaps = missing(column)
    if gaps.all():
        return rest, None
    if gaps.any():
        what = f"{table.name} has no label {target!r} in {where(int(gaps.argmax()))}"
        raise DataError(what, remedy="fill it in or leave this row out")
    if column.dtype == object:
        return rest, column.astype(np.str_)
    return rest, column.astype(np.int64) if (column == np.rint(column)).all() else column


def missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a column of a table has no value, shape (n,).

    Examples:
        >>> missing(from_table([["a"], [None]]).column("x0")).tolist()
        [False, True]
    """
    if column.dtype == object:
        return np.array([cell is None for cell in column], dtype=np.bool_)
    return np.isnan(column.astype(np.float64, copy=False))
