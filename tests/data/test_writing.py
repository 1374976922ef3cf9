"""Folders and .npz files written whole, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gradtape.data import read, write_image_folder, write_npz
from gradtape.data._names import natural_key, safe_name, safe_names
from gradtape.errors import InputError, RunError

IMAGES = (np.arange(4 * 3 * 6 * 5) % 256).reshape(4, 3, 6, 5) / 255
LABELS = [1, 0, 1, 0]


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_is_read_again(tmp_path, channels):
    images = IMAGES[:, :channels]
    paths = write_image_folder(tmp_path / "out", images, LABELS, ["a", "b"])
    assert paths == ["b/00001.png", "a/00002.png", "b/00003.png", "a/00004.png"]
    assert left(tmp_path) == sorted(["out", "out/a", "out/b", *(f"out/{path}" for path in paths)])
    data = read(tmp_path / "out")
    order = [paths.index(origin) for origin in data.origins]
    assert order == [1, 3, 0, 2]
    np.testing.assert_array_equal(data.images, images[order].astype(np.float32))
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.classes == ("a", "b")


def test_pixels_are_rounded_and_clipped(tmp_path):
    images = np.zeros((1, 1, 4, 4))
    images[0, 0, 0] = [0.4999 / 255, 0.5001 / 255, 1.00001, -0.00001]
    write_image_folder(tmp_path / "out", images, [0], ["a"])
    with Image.open(tmp_path / "out" / "a" / "00001.png") as image:
        assert image.mode == "L"
        assert np.asarray(image)[0].tolist() == [0, 1, 255, 0]


def test_names_are_kept_safe_and_unique(tmp_path):
    names = ["3/0012.png", "x", "3/0012", "x"]
    paths = write_image_folder(tmp_path / "out", IMAGES, LABELS, ["../up", "CON"], names=names)
    assert paths == ["_CON/3_0012.png", "_._up/x.png", "_CON/3_0012-2.png", "_._up/x-2.png"]
    assert left(tmp_path / "out") == sorted([*paths, "_CON", "_._up"])


def test_the_same_images_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_image_folder(tmp_path / name, IMAGES, LABELS, ["a", "b"])
        write_npz(tmp_path / f"{name}.npz", images=IMAGES, labels=LABELS, words=["a", "b"])
    for path in left(tmp_path / "one"):
        if path.endswith(".png"):
            assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_an_npz_is_read_again(tmp_path):
    write_npz(
        tmp_path / "out.npz", images=IMAGES.astype(np.float32), labels=np.array(["b", "a", "b", "a"]), file=[1, 2]
    )
    with np.load(tmp_path / "out.npz") as archive:
        assert archive.files == ["images", "labels", "file"]
        np.testing.assert_array_equal(archive["images"], IMAGES.astype(np.float32))
        assert archive["file"].tolist() == [1, 2]
    data = read(tmp_path / "out.npz")
    np.testing.assert_array_equal(data.images, IMAGES.astype(np.float32))
    assert data.labels.tolist() == LABELS


def test_nothing_is_left_of_a_write_that_failed(tmp_path, monkeypatch):
    saved = Image.Image.save
    count = []

    def interrupt(self, *args, **kwargs):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return saved(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_image_folder(tmp_path / "out", IMAGES, LABELS, ["a", "b"])
    assert left(tmp_path) == []


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RunError, match=r"disk full while writing .*out: free some space and write it again"):
        write_image_folder(tmp_path / "out", IMAGES, LABELS, ["a", "b"])
    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(RunError, match=r"disk full while writing .*out\.npz: free some space and write it again"):
        write_npz(tmp_path / "out.npz", images=IMAGES)
    assert left(tmp_path) == []


def test_what_exists_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="out exists already: remove it or choose another name"):
        write_image_folder(tmp_path / "out", IMAGES, LABELS, ["a", "b"])
    assert left(tmp_path) == ["out", "out/mine.txt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": IMAGES[0]}, r"images of shape \(3, 6, 5\) and type float64: give floats of shape"),
        ({"images": np.zeros((0, 1, 8, 8))}, r"images of shape \(0, 1, 8, 8\)"),
        ({"images": (IMAGES * 255).astype(np.uint8)}, "and type uint8: give floats"),
        ({"images": IMAGES * 255}, r"images with values from 0 to 255: give finite values in \[0, 1\]"),
        ({"images": np.full_like(IMAGES, np.nan)}, "images with values from nan to nan"),
        ({"labels": [0, 1]}, r"4 images with labels of shape \(2,\)"),
        ({"labels": [0.0] * 4}, "type float64: give one integer per image"),
        ({"labels": [0, 1, 2, 0]}, "labels from 0 to 2 for 2 classes: give integers in 0..1"),
        ({"labels": [0, -1, 1, 0]}, "labels from -1 to 1 for 2 classes"),
        ({"names": ["a"]}, "4 images and 1 names: give one name per image"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        write_image_folder(tmp_path / "out", **{"images": IMAGES, "labels": LABELS, "classes": ["a", "b"], **change})
    assert left(tmp_path) == []


def test_arrays_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match=r"out\.dat does not end in \.npz"):
        write_npz(tmp_path / "out.dat", images=IMAGES)
    with pytest.raises(InputError, match="labels is an array of Python objects: convert it"):
        write_npz(tmp_path / "out.npz", labels=np.array([None, 1]))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("", "_"),
        ("..", "_"),
        (".hidden", "_hidden"),
        ("a/b\\c:d", "a_b_c_d"),
        ("nul.txt", "_nul.txt"),
        ("end. ", "end"),
        (" . ", "_"),
        ("line\nbreak", "line_break"),
        ("Übung 7", "Übung 7"),
        ("x" * 300, "x" * 60),
    ],
)
def test_safe_names(text, name):
    assert safe_name(text) == name


def test_safe_names_are_unique_without_capitals():
    assert safe_names(["Cat", "cat", "a/b", "a:b", "cat-2"]) == ["Cat", "cat-2", "a_b", "a_b-2", "cat-2-2"]


@settings(max_examples=50)
@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_names_are_safe(texts):
    names = safe_names(texts)
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert name
        assert not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert len(name.encode()) <= 255
        assert name == name.rstrip(". ")


def test_leading_zeros_do_not_count():
    assert sorted(["10", "9", "009", "x01", "x1", "0"], key=natural_key) == ["0", "009", "9", "10", "x01", "x1"]


@given(st.lists(st.integers(0, 10**6)))
def test_numbers_in_names_sort_as_numbers(numbers):
    assert [int(text[1:]) for text in sorted((f"v{n}" for n in numbers), key=natural_key)] == sorted(numbers)
