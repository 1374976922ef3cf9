"""Points in files: a .csv of numbers, an .npz with points, an .npy."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.data._cells import KEYS, is_number, read_array, read_cells
from gradtape.data._files import about, readable
from gradtape.data._names import safe_name
from gradtape.data.images import name_of
from gradtape.data.points import PointSet, from_points
from gradtape.errors import DataError


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
    return "images.npy" not in names and any(f"{key}.npy" in names for key in KEYS)


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
        array, labels = read_array(path)
    with about(path):
        return from_points(array, name=name), labels


def _read_csv(path: Path) -> PointSet:
    columns, rows, lines = read_cells(path)
    for line, row in zip(lines, rows, strict=True):
        for column, cell in zip(columns, row, strict=True):
            if not is_number(cell) or not np.isfinite(float(cell)):
                said = f"{cell!r} in line {line} of column {column!r}"
                remedy = (
                    "give columns of numbers only; tables with text come in a later release"
                    if cell
                    else "fill it in or leave this row out"
                )
                raise DataError(f"{path} has {said}, which is no finite number", remedy=remedy)
    whole = [all(cell.lstrip("+-").isdigit() for cell in column) for column in zip(*rows, strict=True)]
    values = np.array([[float(cell) for cell in row] for row in rows])
    return PointSet(values, columns, tuple("int64" if one else "float64" for one in whole))
