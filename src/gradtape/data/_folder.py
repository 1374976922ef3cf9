"""A folder of images by class, root/class/image.png; or without classes, root/image.png."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.data._assemble import assemble
from gradtape.data._files import PathReader, about, readable
from gradtape.data._names import natural_key
from gradtape.data._picture import SUFFIXES, read_picture, to_colour
from gradtape.data.images import ImageSet, name_of
from gradtape.errors import DataError

_WANTED = "put the images into one folder per class, such as cats/001.png and dogs/001.png"


def read_folder(root: Path) -> ImageSet:
    """Read ``root/class/image``: hidden files and other kinds of files are left aside, folders in classes too."""
    folders, images, others = _listing(root)
    if not folders:
        if images:
            raise DataError(f"{root} holds images but no folder for each class", remedy=_WANTED)
        raise DataError(f"{root} holds no images", remedy=_WANTED)
    paths: list[Path] = []
    labels: list[str] = []
    for folder in folders:
        nested, found, aside = _listing(folder)
        others += aside
        if not found and nested:
            raise DataError(
                f"class {folder.name!r} in {root} has folders and no images of its own",
                remedy=f"give the folder whose folders are the classes, perhaps {folder}",
            )
        if len(found) < 2:
            has = "1 image" if found else "no images"
            raise DataError(
                f"class {folder.name!r} in {root} has {has}, and at least 2 are needed",
                remedy="add images to it or remove its folder",
            )
        paths += found
        labels += [folder.name] * len(found)
    if len(folders) < 2:
        raise DataError(f"{root} has only one class, {folders[0].name!r}", remedy="add a folder for a second class")
    aside = len(images) + others
    with about(root):
        return assemble(
            _read_all(paths),
            np.array(labels),
            name=name_of(root),
            kind="folder",
            origins=[path.relative_to(root).as_posix() for path in paths],
            remarks=[f"{aside} other file{'s' if aside > 1 else ''} left aside"] if aside else [],
        )


def read_any_folder(root: Path) -> ImageSet:
    """Read ``root/class/image`` with labels, or without any where the images lie side by side or in one folder."""
    folders, images, others = _listing(root)
    if len(folders) > 1 and not images:
        return read_folder(root)
    if len(folders) == 1 and not images:
        return read_any_folder(folders[0])
    if folders and images:
        raise DataError(
            f"{root} holds {len(images)} images beside {len(folders)} folder{'s' if len(folders) > 1 else ''}",
            remedy="put all images side by side, or each into the folder of its class",
        )
    if len(images) < 2:
        has = "one image" if images else "no images"
        raise DataError(f"{root} holds {has}", remedy="put images into it, side by side or in one folder per class")
    with about(root):
        return assemble(
            _read_all(images),
            None,
            name=name_of(root),
            kind="folder",
            origins=[path.relative_to(root).as_posix() for path in images],
            remarks=[f"{others} other file{'s' if others > 1 else ''} left aside"] if others else [],
        )


def _listing(folder: Path) -> tuple[list[Path], list[Path], int]:
    """The folders and the images in ``folder``, each in natural order, and the number of other files."""
    folders, images, others = [], [], 0
    with readable(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if not _is_text(entry.name):
                raise DataError(f"{str(path)!a} has a name that is not valid UTF-8", remedy="rename it")
            if entry.is_dir():
                folders.append(path)
            elif path.suffix.lower() in SUFFIXES and (entry.is_file() or entry.is_symlink()):
                images.append(path)
            else:
                others += 1
    for found in (folders, images):
        found.sort(key=lambda path: natural_key(path.name))
    return folders, images, others


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_all(paths: list[Path]) -> NDArray[Any]:
    """All images as one array: (n, h, w) if all are grey, else (n, h, w, 3)."""
    pictures: list[NDArray[Any]] = []
    for path in paths:
        picture = read_picture(path)
        if pictures and picture.shape[:2] != pictures[0].shape[:2]:
            (h0, w0), (h, w) = pictures[0].shape[:2], picture.shape[:2]
            raise DataError(f"{paths[0]} is {w0}x{h0} and {path} is {w}x{h}", remedy="resize all images to one size")
        pictures.append(picture)
    types = {picture.dtype.name for picture in pictures}
    coloured = any(picture.ndim == 3 for picture in pictures)
    if "float32" in types and (len(types) > 1 or coloured):
        odd = next(path for path, picture in zip(paths, pictures, strict=True) if picture.dtype == np.float32)
        raise DataError(f"{odd} holds floats and other images do not", remedy="convert all images to one kind")
    if coloured:
        return np.stack([to_colour(picture) for picture in pictures])
    if types == {"uint8", "uint16"}:  # 255 and 65535 are both white
        pictures = [picture.astype(np.uint16) * 257 if picture.dtype == np.uint8 else picture for picture in pictures]
    return np.stack(pictures)


FOLDER = PathReader(
    describes="a folder of images by class",
    accepts=lambda path: path.is_dir(),
    read=read_folder,
    read_any=read_any_folder,
)
