"""Files and folders appear whole or not at all, and disk errors are one sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from gradtape.atomic import folder_atomically, write_atomically
from gradtape.errors import InputError, RunError


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def failing(number: int):
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(number, os.strerror(number))

    return write


def fill(target: Path, then: Callable[[], object]) -> None:
    with folder_atomically(target) as folder:
        (folder / "a").write_text("half")
        then()


@pytest.mark.parametrize("content", [b"new", "new", lambda file: file.write(b"new")])
def test_a_file_is_written_and_replaced(tmp_path, content):
    file = tmp_path / "result.json"
    file.write_bytes(b"old and longer")
    write_atomically(file, content)
    assert file.read_bytes() == b"new"
    assert left(tmp_path) == ["result.json"]


def test_text_is_utf8(tmp_path):
    write_atomically(tmp_path / "a.txt", "±")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc2\xb1"


def test_missing_parents_are_made_and_removed_again_on_failure(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "c.txt", b"x")
    assert left(tmp_path) == ["a", "a/b", "a/b/c.txt"]
    with pytest.raises(RunError):
        write_atomically(tmp_path / "d" / "e" / "c.txt", failing(errno.ENOSPC))
    assert left(tmp_path) == ["a", "a/b", "a/b/c.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_failure_keeps_the_old_content(tmp_path, error):
    def writer(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    file = tmp_path / "result.json"
    file.write_bytes(b"old")
    with pytest.raises(error):
        write_atomically(file, writer)
    assert file.read_bytes() == b"old"
    assert left(tmp_path) == ["result.json"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk full while writing {path}: free some space and continue with --resume"),
        (errno.EDQUOT, "disk quota used up while writing {path}: free some space and continue with --resume"),
        (errno.EACCES, "no permission to write {path}: choose a folder that you may write to"),
        (errno.EROFS, "cannot write {path} on a read-only file system: choose a folder that you may write to"),
        (errno.EFBIG, "{path} grew larger than this file system or the limit set for this process allows: "),
        (errno.EIO, "cannot write {path} (input/output error): choose a folder that you may write to"),
    ],
)
def test_disk_errors_are_one_sentence(tmp_path, number, words):
    file = tmp_path / "result.json"
    with pytest.raises(RunError) as caught:
        write_atomically(file, failing(number))
    assert str(caught.value).startswith(words.format(path=file))
    assert left(tmp_path) == []
    with pytest.raises(RunError) as caught:
        fill(tmp_path / "run", lambda: failing(number)(BytesIO()))
    assert str(caught.value).startswith(words.format(path=tmp_path / "run"))
    assert left(tmp_path) == []


def test_a_full_disk_is_real(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def writer(file: BinaryIO) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(RunError, match="disk full while writing"):
        write_atomically(tmp_path / "a", writer)


def test_the_next_step_is_the_callers(tmp_path):
    with pytest.raises(RunError, match="free some space and write again"):
        write_atomically(tmp_path / "a", failing(errno.ENOSPC), then="write again")


def test_errors_about_other_files_and_our_own_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        write_atomically(tmp_path / "a", lambda file: (tmp_path / "elsewhere").read_bytes())

    def refuse(file: BinaryIO) -> None:
        raise InputError("bad", remedy="better")

    with pytest.raises(InputError, match="bad: better"):
        write_atomically(tmp_path / "a", refuse)
    assert left(tmp_path) == []


def test_names_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="a part of this path is a file: choose another folder"):
        write_atomically(tmp_path / "file" / "a", b"x")
    with pytest.raises(RunError, match="since a folder of this name exists: choose another name"):
        write_atomically(tmp_path / "folder", b"x")
    with pytest.raises(RunError, match="name is too long"):
        write_atomically(tmp_path / ("n" * 300), b"x")
    assert left(tmp_path) == ["file", "folder"]


def test_a_folder_appears_at_the_end(tmp_path):
    target = tmp_path / "runs" / "first"
    with folder_atomically(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("1")
        assert not target.exists()
        assert folder.parent == target.parent
    assert left(tmp_path) == ["runs", "runs/first", "runs/first/sub", "runs/first/sub/a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_failed_folder_leaves_nothing(tmp_path, error):
    def interrupt() -> None:
        raise error

    with pytest.raises(error):
        fill(tmp_path / "runs" / "first", interrupt)
    assert left(tmp_path) == []


@pytest.mark.parametrize("late", [False, True])
def test_an_existing_folder_is_not_replaced(tmp_path, late):
    target = tmp_path / "out"
    if not late:
        target.mkdir()
    with pytest.raises(RunError, match="out exists already: remove it or choose another name"):
        fill(target, target.mkdir if late else lambda: pytest.fail("the work was done in vain"))
    assert left(tmp_path) == ["out"]


def test_files_get_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
