"""Write images as a folder or as an .npz, points as a .csv, whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.atomic import folder_atomically, write_atomically
from gradtape.data._names import safe_names
from gradtape.errors import InputError

__all__ = ["write_csv", "write_image_folder", "write_npz"]

_THEN = "write it again"
_TOLERANCE = 1e-4  # a float's way out of [0, 1] that is rounding and no mistake


def write_image_folder(
    root: str | os.PathLike[str],
    images: ArrayLike,
    labels: ArrayLike | None,
    classes: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    bits: int = 8,
) -> list[str]:
    """Write images as ``root/<class>/<name>.png``, a folder that ``gradtape.data.read`` reads again.

    Images without labels become ``root/<name>.png``.

    The folder appears complete at the end; a failure or Ctrl-C leaves nothing. The same images give the same bytes.

    Args:
        root: The folder to make; nothing of this name may exist.
        images: Numbers in [0, 1], shape (n, c, h, w), c in {1, 3}; rounded to ``bits``.
        labels: Integers in 0..k-1, shape (n,); None for images without labels.
        classes: The k class names; made safe for file systems and unique.
        names: Name of each file without its folder and ending, made safe, and unique within its
            class; ``00001`` and on if None.
        bits: 8, or 16 for images of one channel.

    Returns:
        The n paths relative to ``root``, with ``/``, in the order of ``images``.

    Raises:
        InputError: The arguments do not fit together.
        RunError: ``root`` exists or cannot be written.

    Examples:
        >>> import tempfile
        >>> base = tempfile.TemporaryDirectory()
        >>> write_image_folder(Path(base.name) / "out", np.ones((2, 1, 8, 8)), [0, 1], ["cat", "dog"])
        ['cat/00001.png', 'dog/00002.png']
        >>> base.cleanup()
    """
    pixels = _to_pixels(images, bits)
    if labels is None:
        stems = [f"{i:05d}" for i in range(1, len(pixels) + 1)] if names is None else safe_names(names)
        relative = [f"{stem.removesuffix('.png')}.png" for stem in stems]
        with folder_atomically(root, then=_THEN) as folder:
            _save(folder, relative, pixels)
        return relative
    numbers = np.asarray(labels)
    if numbers.shape != (len(pixels),) or numbers.dtype.kind not in "ui":
        raise InputError(
            f"{len(pixels)} images with labels of shape {numbers.shape} and type {numbers.dtype.name}",
            remedy="give one integer per image",
        )
    if numbers.min() < 0 or numbers.max() >= len(classes):
        raise InputError(
            f"labels from {numbers.min()} to {numbers.max()} for {len(classes)} classes",
            remedy=f"give integers in 0..{len(classes) - 1}",
        )
    relative = _paths(numbers.tolist(), classes, names)
    with folder_atomically(root, then=_THEN) as folder:
        for place in sorted({path.split("/")[0] for path in relative}):
            (folder / place).mkdir()
        _save(folder, relative, pixels)
    return relative


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, ArrayLike]) -> None:
    """Write columns as a ``.csv`` with a line of names, whole or not at all.

    Args:
        path: The file to write or to replace; its name ends in ``.csv``.
        columns: Name -> values, all of one length.

    Raises:
        InputError: The name does not end in ``.csv``, or the columns differ in length.
        RunError: The file cannot be written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as base:
        ...     write_csv(Path(base) / "ab.csv", {"a": [1, 2], "b": [0.5, 1.5]})
        ...     (Path(base) / "ab.csv").read_text().split()
        ['a,b', '1,0.5', '2,1.5']
    """
    if Path(path).suffix.lower() != ".csv":
        raise InputError(f"{os.fspath(path)} does not end in .csv", remedy="give a name that does")
    values = [np.asarray(column).tolist() for column in columns.values()]
    if len({len(column) for column in values}) > 1:
        raise InputError("the columns differ in length", remedy="give columns of one length")
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*values, strict=True))
    write_atomically(path, text.getvalue(), then=_THEN)


def _save(folder: Path, relative: Sequence[str], pixels: NDArray[Any]) -> None:
    from PIL import Image

    for path, picture in zip(relative, pixels, strict=True):
        shown = picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
        Image.fromarray(shown).save(folder / path, format="PNG")


def write_npz(path: str | os.PathLike[str], /, **arrays: ArrayLike) -> None:
    """Write arrays to a compressed ``.npz``, whole or not at all; the same arrays give the same bytes.

    Args:
        path: The file to write or to replace; its name ends in ``.npz``.
        arrays: The arrays by name, of numbers, bools or strings.

    Raises:
        InputError: The name does not end in ``.npz``, or an array holds Python objects.
        RunError: The file cannot be written.

    Examples:
        >>> import tempfile
        >>> base = tempfile.TemporaryDirectory()
        >>> write_npz(Path(base.name) / "out.npz", images=np.zeros((2, 8, 8)), labels=np.array([0, 1]))
        >>> with np.load(Path(base.name) / "out.npz") as archive:
        ...     archive["labels"].tolist()
        [0, 1]
        >>> base.cleanup()
    """
    if Path(path).suffix.lower() != ".npz":
        raise InputError(f"{os.fspath(path)} does not end in .npz", remedy="give a name that does")
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise InputError(f"{name} is an array of Python objects", remedy="convert it to numbers or strings")

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in plain.items():
                member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                member.compress_type = zipfile.ZIP_DEFLATED
                member.create_system = 3  # the same bytes on every system
                with archive.open(member, "w", force_zip64=True) as inner:
                    np.lib.format.write_array(inner, array, allow_pickle=False)

    write_atomically(path, write, then=_THEN)


def _to_pixels(images: ArrayLike, bits: int) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(images)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not array.size or array.dtype.kind != "f":
        raise InputError(
            f"images of shape {array.shape} and type {array.dtype.name}",
            remedy="give floats of shape (n, 1 or 3, h, w) with at least one image",
        )
    if bits not in (8, 16) or (bits == 16 and array.shape[1] != 1):
        raise InputError(f"bits is {bits} for {array.shape[1]} channels", remedy="give 8, or 16 for grey images")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise InputError(f"images with values from {low:g} to {high:g}", remedy="give finite values in [0, 1]")
    kind = np.uint8 if bits == 8 else np.uint16
    pixels: NDArray[Any] = np.rint(np.clip(array.astype(np.float64), 0, 1) * np.iinfo(kind).max).astype(kind)
    return pixels


def _paths(labels: list[int], classes: Sequence[str], names: Sequence[str] | None) -> list[str]:
    folders = safe_names(classes)
    if names is None:
        stems = [f"{i:05d}" for i in range(1, len(labels) + 1)]
    elif len(names) != len(labels):
        raise InputError(f"{len(labels)} images and {len(names)} names", remedy="give one name per image")
    else:
        stems = [name.removesuffix(".png") for name in names]
        for label in set(labels):
            rows = [row for row, other in enumerate(labels) if other == label]
            for row, stem in zip(rows, safe_names(stems[row] for row in rows), strict=True):
                stems[row] = stem
    return [f"{folders[label]}/{stem}.png" for label, stem in zip(labels, stems, strict=True)]
