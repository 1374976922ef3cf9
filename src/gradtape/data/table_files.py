"""Tables in files: .csv, .parquet, .npz and .npy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.data._cells import read_array, read_cells
from gradtape.data._columns import cells_to_column, place, to_column
from gradtape.data._files import about, readable
from gradtape.data._names import safe_name
from gradtape.data.images import name_of
from gradtape.data.point_files import holds_points
from gradtape.data.tables import Table, from_table, labels_of
from gradtape.errors import DataError, InputError

_TEXT = (".csv", ".data")  # the second is UCI's name for the first


def holds_table(source: str | os.PathLike[str]) -> bool:
    """Whether a path names a file with a table: .csv, .data, .parquet, .npy, or an .npz with an array ``X``.

    Examples:
        >>> holds_table("digits")
        False
    """
    path = Path(source)
    return holds_points(path) or (path.suffix.lower() in (*_TEXT, ".parquet") and path.is_file())


def read_table(source: str | os.PathLike[str], *, target: str | None = None) -> tuple[Table, NDArray[Any] | None]:
    """Read a table, and its labels.

    Args:
        source: A .csv (or UCI's .data) with a line of names, or of numbers alone without one; a .parquet; an .npz
            with ``X`` and perhaps ``y``; an .npy. Empty cells, ``?``, ``NA`` and ``nan`` are gaps.
        target: The column that holds the labels. None takes ``y`` of an .npz where it has one.

    Returns:
        The table without its labels, and the labels, shape (n,): int64, float64 or str; None where there are none.

    Raises:
        DataError: The file cannot be read, or has no column ``target``; the sentence names the line and the column.
        InputError: pyarrow is not there for a .parquet.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as base:
        ...     _ = (Path(base) / "pets.csv").write_text("age,kind,calm\\n3,cat,yes\\n?,dog,no\\n")
        ...     table, labels = read_table(Path(base) / "pets.csv", target="calm")
        >>> table.column("age").tolist(), table.column("kind").tolist(), labels.tolist()
        ([3.0, nan], ['cat', 'dog'], ['yes', 'no'])
    """
    path = Path(source)
    with readable(path):
        table, labels, lines = _read(path)
    if target is None:
        return table, labels
    with about(path):
        return labels_of(table, target, lambda row: f"line {lines[row]}" if lines else f"row {row}")


def _read(path: Path) -> tuple[Table, NDArray[Any] | None, list[int]]:
    name = safe_name(name_of(path))
    ending = path.suffix.lower()
    if ending in _TEXT:
        cells = read_cells(path)
        pairs = zip(cells.columns, zip(*cells.rows, strict=True), strict=True)
        columns = {
            column: cells_to_column(values, place(f"column {column!r}", cells.lines), str(path))
            for column, values in pairs
        }
        return Table(columns, name=name), None, cells.lines
    if ending == ".parquet":
        return Table(_read_parquet(path), name=name), None, []
    array, labels = read_array(path)
    if labels is not None and labels.shape != array.shape[:1]:
        what = f"{path} has y of shape {labels.shape} and {len(array)} rows"
        raise DataError(what, remedy="save it again with one label for each row")
    with about(path):
        return from_table(array, name=name), labels, []


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        what = f"reading {path} needs pyarrow, which cannot be imported"
        raise InputError(what, remedy="pip install 'gradtape[parquet]'") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is no .parquet ({str(error).splitlines()[0]})", remedy="give another copy") from None
    if not table.num_rows or not table.num_columns:
        what = f"{path} has {table.num_rows} rows and {table.num_columns} columns"
        raise DataError(what, remedy="give at least one of both")
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        category = pyarrow.types.is_dictionary(column.type)  # whose to_numpy() repeats values where there are gaps
        array = np.array(column.to_pylist(), dtype=object) if category else np.asarray(column.to_numpy())
        columns[name] = to_column(array, place(f"column {name!r}"), str(path))
    return columns
