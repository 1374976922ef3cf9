"""What every reader of files needs: the shape of a reader, and the system's errors said in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradtape.data.images import ImageSet
from gradtape.errors import DataError, GradtapeError


@dataclass(frozen=True)
class PathReader:
    """A kind of data on disk.

    Args:
        describes: What it reads, for the list of what is supported.
        accepts: Whether a path that exists looks like this kind, from its name and listing alone.
        read: Read it.
        read_any: Read it with or without labels; None where this kind always has them.
    """

    describes: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path], ImageSet]
    read_any: Callable[[Path], ImageSet] | None = None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the system refuses inside the block into one sentence about ``path``."""
    try:
        yield
    except GradtapeError:
        raise
    except PermissionError:
        raise DataError(f"no permission to read {path}", remedy="ask for it, or copy what you may read") from None
    except FileNotFoundError:
        raise DataError(f"{path} went away while it was read", remedy="check the path and try again") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read {path} ({reason})", remedy="check the disk or give another copy") from None


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """Begin every error of ours inside the block with ``path``."""
    try:
        yield
    except GradtapeError as error:
        raise DataError(f"{path}: {error.what}", remedy=error.remedy) from None
