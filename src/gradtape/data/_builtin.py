"""Data known by name: the digits that come with scikit-learn, MNIST and USPS in the user's data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from gradtape.data import _idx
from gradtape.data._assemble import assemble
from gradtape.data._files import readable
from gradtape.data.images import ImageSet
from gradtape.errors import DataError

DataDir = str | os.PathLike[str] | None
VARIABLE = "GRADTAPE_DATA"
_REMEDY = (
    f"give --data-dir (data_dir=) or set {VARIABLE} to a folder that holds mnist/ with its four idx files, or usps/ "
    "with zip_1000.train and zip.test"
)
_USPS = ("zip_1000.train", "zip.test")


def _read_digits(data_dir: DataDir) -> ImageSet:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return assemble(bunch.images, bunch.target, name="digits", kind="builtin")


def _read_mnist(data_dir: DataDir) -> ImageSet:
    return replace(_idx.read_folder(_folder("mnist", data_dir)), name="mnist")


def _read_usps(data_dir: DataDir) -> ImageSet:
    """Rows of a label and 256 values in [-1, 1]; the published test file has one value too many in its last row."""
    folder = _folder("usps", data_dir)
    parts = []
    for name in _USPS:
        with readable(folder / name):
            try:
                parts.append(np.loadtxt(folder / name, usecols=range(257)))
            except (ValueError, IndexError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(f"{folder / name} is no file of USPS ({reason})", remedy=_REMEDY) from None
    rows = np.concatenate(parts)
    test = np.arange(len(parts[0]), len(rows))
    images, labels = rows[:, 1:].reshape(-1, 16, 16), rows[:, 0].astype(np.int64)
    return assemble(images, labels, name="usps", kind="builtin", official_test=test)


def _folder(name: str, data_dir: DataDir) -> Path:
    """Where data known by name lie in the user's data folder."""
    named = os.environ.get(VARIABLE) if data_dir is None else os.fspath(data_dir)
    if not named:
        raise DataError(f"{name} does not come with gradtape, and no data folder is named", remedy=_REMEDY)
    folder = Path(named).expanduser() / name
    if not folder.is_dir():
        how = VARIABLE if data_dir is None else "--data-dir (data_dir=)"
        raise DataError(f"{folder} is no folder ({Path(named)} comes from {how})", remedy=_REMEDY)
    return folder


BUILTINS: dict[str, Callable[[DataDir], ImageSet]] = {"digits": _read_digits, "mnist": _read_mnist, "usps": _read_usps}
