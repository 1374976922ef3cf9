"""The cells of a .csv, and the arrays of an .npy or .npz, before anything is made of them."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradtape.errors import DataError

KEYS = ("X", "points")  # what an .npz calls its rows
_MISSING = ("", "?", "na", "nan")


class Cells(NamedTuple):
    """The text of a .csv: names of columns, rows as lists of stripped cells, and the line that each row ends in."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]


def read_cells(path: Path) -> Cells:
    """Read a .csv; where the first line holds nothing but numbers there are no names, and columns become x0, x1, ..."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            numbered = [([cell.strip() for cell in row], reader.line_num) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no .csv ({error})", remedy="save it as UTF-8 with commas") from None
    if not numbered:
        raise DataError(f"{path} is empty", remedy="give a .csv with a line of names and one line for each row")
    first = numbered[0][0]
    named = not all(is_number(cell) or is_missing(cell) for cell in first)
    columns = tuple(first) if named else tuple(f"x{index}" for index in range(len(first)))
    if "" in columns:
        what = f"{path} has no name for column {columns.index('') + 1} in line 1"
        raise DataError(what, remedy="name it or leave it out (pandas: to_csv(path, index=False))")
    once(columns, str(path))
    body = numbered[1:] if named else numbered
    if not body:
        raise DataError(f"{path} has a line of names and no rows", remedy="give at least one row")
    for row, line in body:
        if len(row) != len(columns):
            what = f"{path} has {len(row)} cells in line {line} and {len(columns)} in line 1"
            raise DataError(what, remedy="give every row the same columns")
    return Cells(columns, [row for row, _ in body], [line for _, line in body])


def read_array(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The rows of an .npy, or the rows and labels ``y`` of an .npz; nothing in them is ever run."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded as archive:
            key = next((key for key in KEYS if key in archive.files), None)
            if key is None:
                what = f"{path} has no array named {' or '.join(KEYS)}"
                raise DataError(what, remedy="save it again with np.savez(path, X=...)")
            return archive[key], archive["y"] if "y" in archive.files else None
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is damaged ({reason})", remedy="save it again with np.savez(path, X=...)") from None


def once(columns: tuple[str, ...], where: str) -> None:
    """Refuse a name that stands twice."""
    twice = next((name for index, name in enumerate(columns) if name in columns[:index]), None)
    if twice is not None:
        raise DataError(f"{where} has two columns named {twice!r}", remedy="give each column a name of its own")


def is_missing(cell: str) -> bool:
    """Whether a cell stands for no value."""
    return cell.lower() in _MISSING


def is_number(cell: str) -> bool:
    """Whether a cell is a number, infinity and NaN among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
