"""Which reader a name or a path goes to, and what is said where none does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradtape.data import ValueRange, read, write_image_folder
from gradtape.errors import DataError, InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADTAPE_DATA", raising=False)
    return tmp_path


def pets(path: Path) -> None:
    write_image_folder(path, np.zeros((4, 1, 8, 8)), [0, 1, 0, 1], ["cat", "dog"])


def test_digits():
    from sklearn.datasets import load_digits

    digits, source = read("digits"), load_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    np.testing.assert_array_equal(digits.images[:, 0] * 16, source.images)
    np.testing.assert_array_equal(digits.labels, source.target)
    assert digits.scale == ValueRange(0, 16, "float64")
    assert (digits.name, digits.kind, digits.official_test) == ("digits", "builtin", None)
    assert digits.classes == tuple("0123456789")
    assert digits.counts() == dict(zip("0123456789", [178, 182, 177, 183, 181, 182, 181, 179, 174, 180], strict=True))
    assert digits.note == "1,797 images of 8x8, 1 channel, 10 classes"
    assert digits.labels_as_given([3]).dtype == source.target.dtype


def test_a_name_wins_over_a_folder_unless_it_is_written_as_a_path(here):
    pets(here / "digits")
    data = read("digits")
    assert data.kind == "builtin"
    assert data.note.endswith("10 classes; digits in the current folder left aside, write ./digits to read it")
    assert read("./digits").classes == ("cat", "dog")
    assert read(Path("digits")).classes == ("cat", "dog")
    assert read(str(here / "digits")).kind == "folder"
    pets(here / "animals")
    assert read("animals").kind == "folder"


def test_the_home_folder(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    pets(here / "animals")
    assert read("~/animals").name == "animals"


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("digit", "'digits'"),
        ("Mnist", "'mnist'"),
        ("animal", "'animals'"),
        ("./animal", "'animals'"),
        ("sub/flower", "'sub/flowers'"),
    ],
)
def test_a_misspelt_name_is_recognised(here, source, meant):
    (here / "animals").mkdir()
    (here / "sub" / "flowers").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        read(source)
    assert str(caught.value).startswith(
        f"there is no file, folder or built-in data named {source!r}, did you mean {meant}?: give a folder with"
    )
    assert str(caught.value).endswith("or one of the names digits, mnist, usps")


@pytest.mark.parametrize("source", ["", "qqqq", "no/such/place", "a\0b"])
def test_a_name_like_no_other(here, source):
    with pytest.raises(DataError, match="there is no file, folder or built-in data named") as caught:
        read(source)
    assert "did you mean" not in str(caught.value)


def test_kinds_that_are_not_supported(here):
    for name in ("table.csv", "cat.png", "images.npy", "plain"):
        (here / name).write_bytes(b"x")
        with pytest.raises(DataError, match=rf"{name} is of a kind that gradtape does not read: give a") as caught:
            read(here / name)
        for kind in ("a folder of images by class", "a folder with idx files", "an .npz file", "digits, mnist"):
            assert kind in str(caught.value)
    with pytest.raises(InputError, match="read takes a name or a path and got a ndarray: use from_arrays for arrays"):
        read(np.zeros((4, 8, 8)))


def test_mnist_needs_a_data_folder(here, monkeypatch):
    with pytest.raises(
        DataError, match=r"no data folder is named: give --data-dir \(data_dir=\) or set GRADTAPE_DATA to a folder"
    ):
        read("mnist")
    with pytest.raises(DataError, match=r"data/mnist is no folder \(data comes from --data-dir \(data_dir=\)\): give"):
        read("mnist", data_dir="data")
    monkeypatch.setenv("GRADTAPE_DATA", "elsewhere")
    with pytest.raises(DataError, match=r"elsewhere/mnist is no folder \(elsewhere comes from GRADTAPE_DATA\): give"):
        read("mnist")
    pets(here / "elsewhere" / "mnist")
    with pytest.raises(DataError, match="elsewhere/mnist holds no idx files of images: put the files"):
        read("mnist")


def test_usps_is_text(here):
    (here / "usps").mkdir()
    rows = [[label, *np.linspace(-1, 1, 256) * (1 - label)] for label in (0, 1, 0, 1)]
    for name, more in (("zip_1000.train", ""), ("zip.test", " 7")):
        text = "\n".join(" ".join(f"{value:.3f}" for value in row) for row in rows)
        (here / "usps" / name).write_text(f"{text}{more}\n")
    data = read("usps", data_dir=here)
    assert data.images.shape == (8, 1, 16, 16)
    assert data.labels.tolist() == [0, 1] * 4
    assert data.official_test.tolist() == [4, 5, 6, 7]
    assert data.images[0, 0, 15, 15] == 1
    assert data.images[0, 0, 0, 0] == 0
    assert data.images[1, 0, 3, 3] == pytest.approx(0.5)
    (here / "usps" / "zip.test").write_text("1 2 3\n")
    with pytest.raises(DataError, match=r"usps/zip.test is no file of USPS \(.*\): give --data-dir"):
        read("usps", data_dir=here)


def test_memory_that_does_not_suffice(here, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise MemoryError

    pets(here / "animals")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="animals does not fit into memory: give fewer or smaller images"):
        read("animals")


def test_the_import_is_light():
    code = "import sys, gradtape.data; print([m for m in ('torch', 'PIL', 'sklearn', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
