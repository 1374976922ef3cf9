"""Points in files: a .csv of numbers, an .npz with points, an .npy."""

from __future__ import annotations

import csv
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.data._files import readable
from gradtape.data._names import safe_name
from gradtape.data.images import name_of
from gradtape.data.points import PointSet, from_points
from gradtape.errors import DataError, GradtapeError

_KEYS = ("X", "points")
_SAVE = "save it again with np.savez(path, X=...)"


def holds_points(source: str | os.PathLike[str]) -> bool:
    """Whether a path names a file of points: a .csv, an .npy, or an .npz with an array ``X`` or ``points``.

    Examples:
        >>> holds_points("digits")
        False
    """
    path = Path(source)
    ending = path.suffix.lower()
    if ending != ".npz" or not path.is_file():
        return ending in (".csv", ".npy") and path.is_file()
    with readable(path):
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    return "images.npy" not in names and any(f"{key}.npy" in names for key in _KEYS)


def read_points(source: str | os.PathLike[str]) -> tuple[PointSet, NDArray[Any] | None]:
    """Read points, and their labels ``y`` where an .npz has them.

    Args:
        source: A .csv of numbers, with or without a line of names; an .npy of shape (n, d); or an .npz with such an
            array named ``X`` or ``points``.

    Raises:
        DataError: The file cannot be read, or holds something else than finite numbers.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as base:
        ...     _ = (Path(base) / "ab.csv").write_text("a,b\\n1,2\\n3,4.5\\n")
        ...     points, labels = read_points(Path(base) / "ab.csv")
        >>> points.columns, points.values.tolist(), labels
        (('a', 'b'), [[1.0, 2.0], [3.0, 4.5]], None)
    """
    path = Path(source)
    name = safe_name(name_of(path))
    with readable(path):
        if path.suffix.lower() == ".csv":
            return replace(_read_csv(path), name=name), None
        try:
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                array, labels = loaded, None
            else:
                with loaded as archive:
                    array = archive[next(key for key in _KEYS if key in archive.files)]
                    labels = archive["y"] if "y" in archive.files else None
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise DataError(f"{path} is damaged ({str(error) or type(error).__name__})", remedy=_SAVE) from None
    try:
        return from_points(array, name=name), labels
    except GradtapeError as error:
        raise DataError(f"{path}: {error.what}", remedy=error.remedy) from None


def _read_csv(path: Path) -> PointSet:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no .csv of numbers ({error})", remedy="save it as UTF-8 with commas") from None
    if not rows:
        raise DataError(f"{path} is empty", remedy="give a .csv with one row of numbers per point")
    named = not all(_is_number(cell) for cell in rows[0])
    columns = tuple(rows[0]) if named else tuple(f"x{index}" for index in range(len(rows[0])))
    twice = next((name for index, name in enumerate(columns) if name in columns[:index]), None)
    if twice is not None:
        raise DataError(f"{path} has two columns named {twice!r}", remedy="give each column a name of its own")
    body = rows[1:] if named else rows
    if not body:
        raise DataError(f"{path} has a line of names and no rows", remedy="give one row of numbers per point")
    for number, row in enumerate(body, 2 if named else 1):
        if len(row) != len(columns):
            what = f"{path} has {len(row)} cells in line {number} and {len(columns)} in line 1"
            raise DataError(what, remedy="give every row the same columns")
        for column, cell in zip(columns, row, strict=True):
            if not _is_number(cell) or not np.isfinite(float(cell)):
                said = f"{cell.strip()!r} in line {number} of column {column!r}"
                remedy = (
                    "give columns of numbers only; tables with text come in a later release"
                    if cell.strip()
                    else "fill it in or leave this row out"
                )
                raise DataError(f"{path} has {said}, which is no finite number", remedy=remedy)
    whole = [all(cell.strip().lstrip("+-").isdigit() for cell in column) for column in zip(*body, strict=True)]
    values = np.array([[float(cell) for cell in row] for row in body])
    return PointSet(values, columns, tuple("int64" if one else "float64" for one in whole))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
