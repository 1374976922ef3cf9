"""Read images from a name or a path."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
from dataclasses import replace
from pathlib import Path

from gradtape.data._builtin import BUILTINS
from gradtape.data._files import PathReader, readable
from gradtape.data._folder import FOLDER
from gradtape.data._idx import IDX_FILE, IDX_FOLDER
from gradtape.data._npz import NPZ
from gradtape.data.images import ImageSet
from gradtape.errors import DataError, InputError

__all__ = ["read", "read_images"]

# A new kind of data is one new file and one line here; the first that accepts a path reads it.
_READERS: tuple[PathReader, ...] = (IDX_FOLDER, FOLDER, IDX_FILE, NPZ)


def read(source: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> ImageSet:
    """Read labelled images.

    Args:
        source: ``"digits"`` (comes with scikit-learn), ``"mnist"`` or ``"usps"`` (from the data folder), or a path: a
            folder of images by class (``root/class/image.png``; PNG, JPEG, BMP, GIF, WebP, TIFF, PGM, PPM), a folder
            with idx files, one idx file of images, or an ``.npz`` with ``images`` and ``labels``. Where a folder has
            the name of built-in data, write ``./digits`` or give a ``Path`` for the folder. Images have 1 or 3
            channels, one size, and sides of 4..256 pixels.
        data_dir: Folder that holds ``mnist/`` or ``usps/``; the environment variable ``GRADTAPE_DATA`` if None.

    Returns:
        The images in [0, 1] and all that is needed to give the same kind back; ``note`` says what was read and assumed.

    Raises:
        DataError: The source is missing, damaged, of an unsupported kind, or cannot be used; one sentence with the
            file and the remedy.
        InputError: ``source`` is neither a name nor a path.

    Examples:
        >>> read("digits").note
        '1,797 images of 8x8, 1 channel, 10 classes'
    """
    return _read(source, data_dir, labelled=True)


def read_images(source: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> ImageSet:
    """Read images with the labels they have, or with none.

    Args:
        source: What ``read`` takes; also a folder of images side by side, and an ``.npz`` with ``images`` alone.
        data_dir: As for ``read``.

    Returns:
        The images; ``classes`` is empty where they have no labels.

    Raises:
        DataError: The source is missing, damaged, of an unsupported kind, or cannot be used.
        InputError: ``source`` is neither a name nor a path.

    Examples:
        >>> import tempfile
        >>> from gradtape.data import write_npz
        >>> base = tempfile.TemporaryDirectory()
        >>> write_npz(Path(base.name) / "two.npz", images=[[[0.0] * 8] * 8] * 2)
        >>> read_images(Path(base.name) / "two.npz").note
        '2 images of 8x8, 1 channel, no classes'
        >>> base.cleanup()
    """
    return _read(source, data_dir, labelled=False)


def _read(source: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None, *, labelled: bool) -> ImageSet:
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"read takes a name or a path and got a {type(source).__name__}", remedy="use from_arrays for arrays"
        )
    text = os.fsdecode(source)
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    as_path = isinstance(source, os.PathLike) or any(sep and sep in text for sep in (os.sep, os.altsep))
    try:
        if text in BUILTINS and not (as_path and _exists(path)):
            return _left_aside(BUILTINS[text](data_dir), path)
        if not text or not _exists(path):
            raise _missing(text, path)
        for reader in _READERS:
            with readable(path):
                accepted = reader.accepts(path)
            if accepted:
                return reader.read(path) if labelled or reader.read_any is None else reader.read_any(path)
    except MemoryError:
        raise DataError(f"{text} does not fit into memory", remedy="give fewer or smaller images") from None
    raise DataError(f"{path} is of a kind that gradtape does not read", remedy=f"give {_supported()}")


def _left_aside(data: ImageSet, path: Path) -> ImageSet:
    """Say so where a file or folder has the same name as the built-in data that was read."""
    if not path.exists():
        return data
    return replace(data, note=f"{data.note}; {path} in the current folder left aside, write ./{path} to read it")


def _supported() -> str:
    return f"{', '.join(reader.describes for reader in _READERS)}, or one of the names {', '.join(BUILTINS)}"


def _exists(path: Path) -> bool:
    with readable(path):
        return "\0" not in str(path) and path.exists()


def _missing(text: str, path: Path) -> DataError:
    """Say that there is nothing of this name, and which name may have been meant."""
    candidates = {name: name for name in BUILTINS} if len(path.parts) < 2 else {}
    with contextlib.suppress(OSError, ValueError):
        entries = itertools.islice(path.parent.iterdir(), 1000)
        candidates |= {entry.name: str(entry) for entry in entries if not entry.name.startswith(".")}
    close = difflib.get_close_matches(path.name.lower(), [name.lower() for name in candidates], n=1, cutoff=0.6)
    meant = next((shown for name, shown in candidates.items() if close and name.lower() == close[0]), None)
    what = f"there is no file, folder or built-in data named {text!r}"
    return DataError(what + (f", did you mean {meant!r}?" if meant else ""), remedy=f"give {_supported()}")
