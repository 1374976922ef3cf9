"""Images and labels in an .npz file of numpy."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.data._assemble import assemble
from gradtape.data._files import PathReader, about, readable
from gradtape.data.images import ImageSet, name_of
from gradtape.errors import DataError

_SAVE = "save it again with np.savez(path, images=..., labels=...)"


def read_npz(path: Path) -> ImageSet:
    """Read the arrays ``images`` and ``labels``; nothing in the file is ever run (no pickle)."""
    return _read(path, ("images", "labels"))


def read_any_npz(path: Path) -> ImageSet:
    """Read ``images``, and ``labels`` where there are any."""
    return _read(path, ("images",))


def _read(path: Path, needed: tuple[str, ...]) -> ImageSet:
    with readable(path), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path} is named .npz but is damaged or of another kind", remedy=_SAVE)
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                missing = [key for key in needed if key not in archive.files]
                if missing:
                    found = ", ".join(archive.files) or "none"
                    raise DataError(f"{path} has no {' and no '.join(missing)} (arrays found: {found})", remedy=_SAVE)
                images = _load(archive, "images", path)
                labels = _load(archive, "labels", path) if "labels" in archive.files else None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} is damaged ({str(error) or type(error).__name__})", remedy=_SAVE) from None
    with about(path):
        return assemble(images, labels, name=name_of(path), kind="npz")


def _load(archive: Any, key: str, path: Path) -> NDArray[Any]:
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: {key} is an array of Python objects, which could run code when read",
            remedy="save it as plain numbers or strings",
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {key} is no numpy array", remedy=_SAVE)
    return array


NPZ = PathReader(
    describes="an .npz file with images and labels",
    accepts=lambda path: path.is_file() and path.suffix.lower() == ".npz",
    read=read_npz,
    read_any=read_any_npz,
)
