"""Images and labels in idx files, the format of MNIST: magic number, sizes, then one byte per value.

Source: http://yann.lecun.com/exdb/mnist/ (The MNIST database, "FILE FORMATS").
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gradtape.data._assemble import assemble, check_size
from gradtape.data._files import PathReader, about, readable
from gradtape.data.images import ImageSet
from gradtape.errors import DataError

_NAME = re.compile(r"^(?P<prefix>.*?)-?(?P<what>images|labels)(?P<dash>[-.])idx[13](?P<end>[-.]ubyte(?:\.gz)?)$", re.I)
_CHUNK = 1 << 20
_AGAIN = "download or copy the file again"


def read_folder(folder: Path) -> ImageSet:
    """Read a folder with one pair of idx files, or with a train and a t10k pair: then t10k is the official test."""
    with readable(folder):
        found = _prefixes(folder)
    if len(found) == 1:
        return _read_pairs({"": next(iter(found.values()))}, folder.resolve().name)
    if set(found) == {"train", "t10k"}:
        return _read_pairs({"train ": found["train"], "test ": found["t10k"]}, folder.resolve().name)
    if not found:
        raise DataError(f"{folder} holds no idx files of images", remedy="put the files as they were published into it")
    names = ", ".join(path.name for path in found.values())
    raise DataError(
        f"{folder} holds several idx files of images ({names})", remedy="give the path of one of these files"
    )


def read_file(path: Path) -> ImageSet:
    """Read the idx file of images at ``path`` and the file of labels beside it."""
    match = _NAME.match(path.name)
    if match and match["what"].lower() == "labels":
        raise DataError(f"{path} holds labels", remedy="give the idx file of images beside it")
    return _read_pairs({"": path}, (match["prefix"] if match else "") or path.name.split(".")[0])


def _prefixes(folder: Path) -> dict[str, Path]:
    """The idx files of images in ``folder`` by prefix; of a plain and a compressed copy the plain one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):  # "x" sorts before "x.gz"
        match = _NAME.match(path.name)
        if match and match["what"].lower() == "images" and not path.name.startswith("."):
            found.setdefault(match["prefix"], path)
    return found


def _read_pairs(pairs: dict[str, Path], name: str) -> ImageSet:
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.uint8]] = []
    origins: list[str] = []
    for part, path in pairs.items():
        beside = _labels_beside(path)
        pixels, numbers = _read_array(path, 3), _read_array(beside, 1)
        if len(pixels) != len(numbers):
            raise DataError(
                f"{path} has {len(pixels)}, {beside.name} has {len(numbers)}",
                remedy="give exactly one label per image",
            )
        if images and pixels.shape[1:] != images[0].shape[1:]:
            sizes = " and ".join(f"{array.shape[2]}x{array.shape[1]}" for array in (images[0], pixels))
            raise DataError(f"the idx files beside {path} hold images of {sizes}", remedy="resize all to one size")
        images.append(pixels)
        labels.append(numbers)
        origins += [f"{part}row {i}" for i in range(len(pixels))]
    official = np.arange(len(images[0]), len(origins), dtype=np.int64) if len(images) == 2 else None
    with about(pairs[next(iter(pairs))]):
        return assemble(
            np.concatenate(images),
            np.concatenate(labels),
            name=name,
            kind="idx",
            origins=origins,
            official_test=official,
            remarks=[] if official is None else [f"{len(official):,} of them set aside by the publisher for testing"],
        )


def _labels_beside(path: Path) -> Path:
    match = _NAME.match(path.name)
    if match is None:
        raise DataError(
            f"{path} is not named like an idx file of images, so its labels cannot be found",
            remedy="name the two files NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte",
        )
    wanted = re.sub(r"\.gz$", "", path.name[: match.start("what")] + "labels" + path.name[match.end("what") :])
    wanted = re.sub(r"idx3(?=[-.]ubyte$)", "idx1", wanted, flags=re.I)
    for candidate in (path.with_name(wanted), path.with_name(wanted + ".gz")):
        if candidate.is_file():
            return candidate
    raise DataError(f"the labels of {path} are missing", remedy=f"put {wanted} or {wanted}.gz beside it")


def _read_array(path: Path, ndim: int) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes with ``ndim`` axes: 3 for images, 1 for labels."""
    with readable(path):
        try:
            with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as file:
                return _parse(file, path, ndim)  # type: ignore[arg-type]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is damaged or cut short ({error})", remedy=_AGAIN) from None


def _parse(file: BinaryIO, path: Path, ndim: int) -> NDArray[np.uint8]:
    what = "images" if ndim == 3 else "labels"
    magic = file.read(4)
    if magic != bytes((0, 0, 8, ndim)):
        begins = magic.hex(" ") or "nothing"
        raise DataError(
            f"{path} is no idx file of {what} (it begins with {begins} and not with 00 00 08 0{ndim})", remedy=_AGAIN
        )
    header = file.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise DataError(f"{path} is cut short within its header", remedy=_AGAIN)
    shape = struct.unpack(f">{ndim}I", header)
    if ndim == 3:
        check_size(shape[2], shape[1], f"{path} holds images of")
    expected = prod(shape)
    content = bytearray()  # in pieces, so that a damaged header cannot ask for all the memory
    while len(content) <= expected and (piece := file.read(_CHUNK)):
        content += piece
    if len(content) != expected:
        less = "less" if len(content) < expected else "more"
        raise DataError(
            f"{path} is damaged, since its header announces {shape[0]:,} {what} and it holds {less}",
            remedy=_AGAIN,
        )
    return np.frombuffer(bytes(content), dtype=np.uint8).reshape(shape)


IDX_FOLDER = PathReader(
    describes="a folder with idx files",
    accepts=lambda path: path.is_dir() and bool(_prefixes(path)),
    read=read_folder,
)
IDX_FILE = PathReader(
    describes="an idx file of images",
    accepts=lambda path: path.is_file() and _NAME.match(path.name) is not None,
    read=read_file,
)
