"""Files and folders that appear whole or not at all, and disk errors said in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gradtape.errors import GradtapeError, RunError

__all__ = ["folder_atomically", "remove_leftovers", "write_atomically"]

Writer = bytes | str | Callable[[BinaryIO], object]
_PREFIX, _SUFFIX = ".gradtape-", ".part"
_RESUME = "continue with --resume"
_ELSEWHERE = "choose a folder that you may write to"
_KNOWN = {  # errno -> (what, with the path filled in; remedy, with the caller's next step filled in)
    errno.ENOSPC: ("disk full while writing {path}", "free some space and {then}"),
    errno.EDQUOT: ("disk quota used up while writing {path}", "free some space and {then}"),
    errno.EFBIG: ("{path} grew larger than this file system or the limit set for this process allows", _ELSEWHERE),
    errno.EACCES: ("no permission to write {path}", _ELSEWHERE),
    errno.EPERM: ("no permission to write {path}", _ELSEWHERE),
    errno.EROFS: ("cannot write {path} on a read-only file system", _ELSEWHERE),
    errno.ENOTDIR: ("cannot write {path} since a part of this path is a file", "choose another folder"),
    errno.EISDIR: ("cannot write the file {path} since a folder of this name exists", "choose another name"),
    errno.ENAMETOOLONG: ("cannot write {path} since the name is too long", "choose a shorter one"),
    errno.EEXIST: ("{path} exists already", "remove it or choose another name"),
    errno.ENOTEMPTY: ("{path} exists already", "remove it or choose another name"),
}


def write_atomically(path: str | os.PathLike[str], writer: Writer, *, then: str = _RESUME) -> None:
    """Write one file so that readers see the old content or the new one, never a part.

    The bytes go to a temporary file in the same folder, reach the disk (fsync) and take the name in one move
    (``os.replace``). On any failure, Ctrl-C included, the temporary file is removed and the old content stays.
    Folders missing on the way are made.

    Args:
        path: The file to write or to replace.
        writer: The content: bytes, text (written as UTF-8), or a function that writes to an open binary file.
        then: What the user does once space is freed; it ends the sentence of a full disk.

    Raises:
        RunError: The disk is full, the folder is not writable, or the system refused in another way.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "result.json"
        >>> write_atomically(file, '{"gain": 1.5}')
        >>> file.read_text()
        '{"gain": 1.5}'
        >>> folder.cleanup()
    """
    target = Path(path)
    temporary = _beside(target)
    with _cleaned_up(target, temporary, then):
        with open(temporary, "xb") as file:
            if isinstance(writer, str):
                writer = writer.encode()
            if isinstance(writer, bytes):
                file.write(writer)
            else:
                writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync(target.parent)


@contextlib.contextmanager
def folder_atomically(path: str | os.PathLike[str], *, then: str = _RESUME) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its name at the end of the block.

    On any failure in the block, Ctrl-C included, the temporary folder is removed with all that is in it.
    Nothing that exists is replaced. Folders missing on the way are made.

    Args:
        path: The folder to make; nothing of this name may exist.
        then: What the user does once space is freed; it ends the sentence of a full disk.

    Yields:
        The temporary folder, on the same file system: write into this one.

    Raises:
        RunError: ``path`` exists, the disk is full, or the system refused in another way.

    Examples:
        >>> import tempfile
        >>> base = tempfile.TemporaryDirectory()
        >>> with folder_atomically(Path(base.name) / "run") as folder:
        ...     _ = (folder / "note.txt").write_text("whole")
        >>> (Path(base.name) / "run" / "note.txt").read_text()
        'whole'
        >>> base.cleanup()
    """
    target = Path(path)
    temporary = _beside(target)
    with _cleaned_up(target, temporary, then):
        _refuse_existing(target)
        temporary.mkdir()
        yield temporary
        for where, _, files in os.walk(temporary):
            for name in files:
                _sync(Path(where) / name)
            _sync(Path(where))
        _refuse_existing(target)  # a folder with content is refused by the move itself, whenever it came to be
        os.rename(temporary, target)
        _sync(target.parent)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed while writing left in a folder and below.

    Only for a folder that no other process writes to.

    Examples:
        >>> import tempfile
        >>> base = tempfile.TemporaryDirectory()
        >>> _ = (Path(base.name) / f".gradtape-{'0' * 12}.part").write_text("half")
        >>> remove_leftovers(base.name)
        >>> list(Path(base.name).iterdir())
        []
        >>> base.cleanup()
    """
    for path in list(Path(folder).rglob(f"{_PREFIX}*{_SUFFIX}")):
        _remove(path)


@contextlib.contextmanager
def _cleaned_up(target: Path, temporary: Path, then: str) -> Iterator[None]:
    """Make the parents of ``target``; on failure remove what was made and say a disk error in one sentence."""
    parents: list[Path] = []
    try:
        for parent in reversed(target.parents):
            if not parent.exists():
                parent.mkdir(exist_ok=True)
                parents.append(parent)
        yield
    except BaseException as error:
        _remove(temporary)
        for parent in reversed(parents):
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and not isinstance(error, GradtapeError) and _about(error, target, temporary):
            raise _translate(error, target, then) from error
        raise


def _about(error: OSError, target: Path, temporary: Path) -> bool:
    """Whether the error concerns what is written here; a writer may also fail on a file that it reads."""
    if error.filename is None or not isinstance(error.filename, str | bytes):
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (target, temporary, *target.parents) or temporary in named.parents


def _translate(error: OSError, target: Path, then: str) -> RunError:
    if error.errno in _KNOWN:
        what, remedy = _KNOWN[error.errno]
        return RunError(what.format(path=target), remedy=remedy.format(then=then))
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return RunError(f"cannot write {target} ({reason})", remedy=_ELSEWHERE)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "exists", str(target))


def _beside(target: Path) -> Path:
    """A short, unused, hidden name in the folder of ``target``; what a killed process leaves is known by it."""
    return target.parent / f"{_PREFIX}{secrets.token_hex(6)}{_SUFFIX}"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk; some systems cannot open folders, which is no failure."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    finally:
        os.close(descriptor)
