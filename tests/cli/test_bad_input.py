"""What users get wrong: one sentence, exit code 2, no traceback, and nothing half-written or lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.augmentation import jobs
from tests.augmentation.jobs import gradtape, tree


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("GRADTAPE_DATA", raising=False)


def picture(path: Path, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 90).save(path)


def pets(cats: int = 6, dogs: int = 6) -> Path:
    for name, count in (("cats", cats), ("dogs", dogs)):
        for number in range(count):
            picture(Path("pets") / name / f"{number}.png")
    return Path("pets")


def missing() -> None:
    pass


def empty() -> None:
    Path("data").mkdir()


def one_image() -> None:
    pets(dogs=1)


def few_images() -> None:
    pets(dogs=3)


def sizes() -> None:
    picture(pets() / "dogs" / "5.png", (9, 8))


def corrupt() -> None:
    path = pets() / "cats" / "3.png"
    path.write_bytes(path.read_bytes()[:40])


def no_image() -> None:
    (pets() / "dogs" / "2.png").write_text("not a picture")


def text() -> None:
    Path("data.npz").write_text("images,labels\n1,2\n")


def cut() -> None:
    np.savez("data.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.arange(9) % 2)
    Path("data.npz").write_bytes(Path("data.npz").read_bytes()[:-200])


def labels() -> None:
    np.savez("data.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.arange(8) % 2)


def no_labels() -> None:
    np.savez("data.npz", images=np.zeros((9, 8, 8), np.uint8))


def regression() -> None:
    np.savez("data.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.linspace(0, 1, 9))


BAD = [
    (missing, ["nowhere"], "there is no file, folder or built-in data named 'nowhere'"),
    (missing, ["./digit"], "there is no file, folder or built-in data named './digit'"),
    (missing, ["digit"], "named 'digit', did you mean 'digits'?"),
    (empty, ["data"], "data holds no images: put the images into one folder per class"),
    (one_image, ["pets"], "class 'dogs' in pets has 1 image, and at least 2 are needed: add images to it or remove"),
    (few_images, ["pets"], "class 'dogs' has 3 images, and at least 4 are needed"),
    (sizes, ["pets"], "pets/cats/0.png is 8x8 and pets/dogs/5.png is 9x8: resize all images to one size"),
    (corrupt, ["pets"], "pets/cats/3.png cannot be decoded"),
    (no_image, ["pets"], "pets/dogs/2.png cannot be decoded (not an image): replace or remove this file"),
    (text, ["data.npz"], "data.npz is named .npz but is damaged or of another kind: save it again with"),
    (cut, ["data.npz"], "data.npz is "),
    (labels, ["data.npz"], "data.npz: images has 9, labels has 8: give exactly one label per image"),
    (no_labels, ["data.npz"], "data.npz has no labels (arrays found: images): save it again with"),
    (regression, ["data.npz"], "data.npz: labels has labels that are not whole numbers"),
    (missing, ["digits", "--per-class", "0"], "--per-class is 0: give at least 2"),
    (missing, ["digits", "--per-class", "-3"], "--per-class is -3: give at least 2"),
    (missing, ["digits", "--per-class", "500"], "class '8' has 174 images, and --per-class 500 needs 502: give at"),
    (missing, ["digits", "--repeats", "1"], "--repeats is 1: give at least 5"),
    (missing, ["digits", "--added", "0"], "--added is 0: give at least 1"),
    (missing, ["digits", "--generator-steps", "1"], "--generator-steps is 1: give at least 20"),
    (missing, ["digits", "--device", "nosuch"], "device 'nosuch' cannot be used on this machine: use cpu, or auto"),
    (missing, ["digits", "--resume"], "resume needs a run: name the run folder to go on with"),
    (missing, ["digits", "--run", "r", "--resume"], "there is no run folder r: list the runs with: gradtape runs"),
    (missing, ["mnist"], "mnist does not come with gradtape, and no data folder is named: give --data-dir"),
    (missing, ["mnist", "--data-dir", "."], "mnist is no folder (. comes from --data-dir"),
]


@pytest.mark.parametrize(("prepare", "arguments", "sentence"), BAD, ids=lambda v: getattr(v, "__name__", None))
def test_one_sentence_and_nothing_written(prepare, arguments, sentence) -> None:
    prepare()
    before = tree(Path())
    said = gradtape("augment", *arguments)
    assert said.code == 2
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert tree(Path()) == before
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["augment", "digits", "--seed", "seven"], "Invalid value for '--seed': "),
        (["augment", "digits", "--per-class", "2.5"], "Invalid value for '--per-class': "),
        (["augment"], "Missing argument 'DATA'"),
        (["augment", "digits", "--colour"], "No such option: --colour"),
        (["synthesise"], "No such command 'synthesise'"),
        (["report"], "Missing argument 'RUN'"),
    ],
)
def test_a_command_line_that_cannot_be_read(arguments, words) -> None:
    said = gradtape(*arguments)
    assert said.code == 2
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert "--help" in line
    assert os.listdir() == []


def test_the_real_program_says_the_same(base: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from gradtape.cli.app import main; main()", "augment", "nowhere"],
        capture_output=True, text=True, check=False, env=jobs.environment(base),
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == gradtape("augment", "nowhere").err


def refused(run: object, words: str) -> None:
    """A job that cannot make its run folder ends at once and leaves nothing."""
    said = gradtape("augment", "digits", "--run", run, *jobs.OPTIONS)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"error: {words}\n"


def test_a_folder_with_something_in_it_is_kept() -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    refused("mine", "mine exists and is not empty: choose another folder")
    assert tree(Path("mine")).keys() == {"thesis.txt"}
    refused("mine/thesis.txt", "mine/thesis.txt exists and is not empty: choose another folder")
    assert Path("mine/thesis.txt").read_text() == "years of work"


def test_a_run_below_a_file() -> None:
    Path("file").write_text("kept")
    refused("file/r", "cannot write file/r since a part of this path is a file: choose another folder")
    assert Path("file").read_text() == "kept"


def test_the_current_folder_and_a_name_too_long() -> None:
    refused(
        ".",
        "the empty folder . cannot be replaced by a run folder (invalid argument): name a folder that does not exist "
        "yet, perhaps inside it",
    )
    said = gradtape("augment", "digits", "--run", "r" * 300)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert "too long" in said.err
    assert os.listdir() == []


@pytest.mark.parametrize("refusing", ["mkdir", "rename"])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "no permission to write runs/augment-digits-001: choose a folder that you may write to"),
        (errno.EROFS, "cannot write runs/augment-digits-001 on a read-only file system: choose a folder that you may"),
        (errno.ENOSPC, "disk full while writing runs/augment-digits-001: free some space and try again"),
    ],
)
def test_a_folder_that_may_not_be_made(monkeypatch, refusing, number, words) -> None:
    def refuse(path, *_, **__):
        raise OSError(number, os.strerror(number), os.fspath(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, refusing, refuse)
        said = gradtape("augment", "digits", *jobs.OPTIONS)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {words}")
    assert os.listdir() == []


def mount(kind: str, at: Path, options: str) -> None:
    done = subprocess.run(["mount", "-t", kind, "-o", options, "none", at], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path):
    """Mounts a file system of its own with such options."""
    at = tmp_path / "disk"
    at.mkdir()
    mounted = []

    def make(options: str) -> Path:
        try:
            mount("tmpfs", at, options)
        except FileNotFoundError:
            pytest.skip("no mount command on this system")
        mounted.append(at)
        return at

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_read_only_disk(disk) -> None:
    at = disk("size=1m,ro")
    refused(at / "r", f"cannot write {at / 'r'} on a read-only file system: choose a folder that you may write to")
    refused(at, f"the empty folder {at} cannot be replaced by a run folder (device or resource busy): name a folder "
            "that does not exist yet, perhaps inside it")  # fmt: skip


def test_a_disk_too_small_for_the_run_folder(disk) -> None:
    at = disk("size=8k")
    file = at / "r" / "series.sqlite"
    refused(at / "r", f"disk full while writing {file}: free some space or choose another folder, and try again")
    assert os.listdir(at) == []


def test_a_disk_that_fills_up_while_it_trains(base: Path, disk, finished: Path) -> None:
    at = disk("size=200k")
    said = gradtape("augment", jobs.small_npz(base), "--run", at / "r", *jobs.OPTIONS)
    assert (said.code, said.out) == (2, "")
    error, kept = said.errors
    assert error.startswith(f"error: disk full while writing {at / 'r'}/")
    assert error.endswith(": free some space and continue with --resume")
    assert kept == f"what was done is kept; go on with the same command and: --run {at / 'r'} --resume"
    assert not jobs.leftovers(at)
    assert not (at / "r" / "result.json").exists()
    listed = gradtape("runs", at)
    assert "failed" in listed.out or "interrupted" in listed.out or "running" in listed.out
    subprocess.run(["mount", "-o", "remount,size=64m", at], check=True)  # some space is freed
    assert jobs.resume(base, at / "r").code == 0
    assert (at / "r" / "result.json").read_bytes() == (finished / "result.json").read_bytes()
