"""Data known by name: the digits that come with scikit-learn, and MNIST in the user's data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gradtape.data import _idx
from gradtape.data._assemble import assemble
from gradtape.data.images import ImageSet
from gradtape.errors import DataError

DataDir = str | os.PathLike[str] | None
VARIABLE = "GRADTAPE_DATA"
_REMEDY = f"give --data-dir (data_dir=) or set {VARIABLE} to a folder that holds mnist/ with its four idx files"


def _read_digits(data_dir: DataDir) -> ImageSet:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return assemble(bunch.images, bunch.target, name="digits", kind="builtin")


def _read_mnist(data_dir: DataDir) -> ImageSet:
    named = os.environ.get(VARIABLE) if data_dir is None else os.fspath(data_dir)
    if not named:
        raise DataError(
            "mnist does not come with gradtape, and no data folder is named",
            remedy=_REMEDY,
        )
    folder = Path(named).expanduser() / "mnist"
    if not folder.is_dir():
        how = VARIABLE if data_dir is None else "--data-dir (data_dir=)"
        raise DataError(
            f"{folder} is no folder ({Path(named)} comes from {how})",
            remedy=_REMEDY,
        )
    return replace(_idx.read_folder(folder), name="mnist")


BUILTINS: dict[str, Callable[[DataDir], ImageSet]] = {"digits": _read_digits, "mnist": _read_mnist}
