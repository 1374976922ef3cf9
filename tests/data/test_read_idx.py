"""Idx files, MNIST among them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gradtape.data import ValueRange, read, split
from gradtape.errors import DataError


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def pictures(n: int, start: int = 0) -> np.ndarray:
    return (start + np.arange(n * 6 * 5) % 200).astype(np.uint8).reshape(n, 6, 5)


def put(folder: Path, prefix: str, images: np.ndarray, labels: list[int], end: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", np.array(labels, dtype=np.uint8))):
        content = idx(array)
        path = folder / f"{prefix}{name}-ubyte{end}"
        path.write_bytes(gzip.compress(content) if end else content)
    return folder / f"{prefix}images-idx3-ubyte{end}"


@pytest.mark.parametrize("end", ["", ".gz"])
def test_one_file_and_the_labels_beside_it(tmp_path, end):
    X = pictures(4)
    data = read(put(tmp_path, "shop-", X, [7, 3, 7, 3], end))
    assert data.images.shape == (4, 1, 6, 5)
    assert data.images[2, 0, 1, 4] == pytest.approx(X[2, 1, 4] / 255)  # row 1, column 4: axes are not swapped
    assert data.classes == ("3", "7")
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert data.origins == ("row 0", "row 1", "row 2", "row 3")
    assert (data.name, data.kind, data.scale) == ("shop", "idx", ValueRange(0, 255, "uint8"))
    assert data.official_test is None
    np.testing.assert_array_equal(data.as_given(data.images), X)
    assert data.labels_as_given([0]).dtype == np.uint8


def test_a_train_and_a_test_pair(tmp_path):
    put(tmp_path / "set", "t10k-", pictures(2, 50), [1, 0])
    put(tmp_path / "set", "train-", pictures(8), [0, 1] * 4, ".gz")
    data = read(tmp_path / "set")
    assert data.name == "set"
    assert data.official_test.tolist() == [8, 9]
    assert data.origins[0] == "train row 0"
    assert data.origins[8:] == ("test row 0", "test row 1")
    assert data.images[8, 0, 0, 0] == pytest.approx(50 / 255)
    assert data.labels.tolist() == [0, 1] * 4 + [1, 0]
    assert data.note == "10 images of 5x6, 1 channel, 2 classes; 2 of them set aside by the publisher for testing"
    assert split(data, 2, seed=0).test.tolist() == [8, 9]


def test_names_with_a_dot_and_labels_of_another_ending(tmp_path):
    path = put(tmp_path, "", pictures(4), [0, 1, 0, 1])
    (tmp_path / "labels-idx1-ubyte").rename(tmp_path / "train-labels.idx1-ubyte")
    path = path.rename(tmp_path / "train-images.idx3-ubyte")
    assert len(read(path)) == 4
    labels = tmp_path / "train-labels.idx1-ubyte"
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert read(path).labels.tolist() == [0, 1, 0, 1]
    assert read(tmp_path).labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is no idx file of images \(it begins with nothing and not with 00 00 08 03\): download"),
        (b"PK\x03\x04rest", r"is no idx file of images \(it begins with 50 4b 03 04 and not"),
        (idx(np.zeros(4, dtype=np.uint8)), "begins with 00 00 08 01 and not with 00 00 08 03"),
        (idx(pictures(4))[:9], "is cut short within its header: download"),
        (idx(pictures(4))[:-1], "is damaged, since its header announces 4 images and it holds less: download"),
        (idx(pictures(4)) + b"x", "is damaged, since its header announces 4 images and it holds more"),
        (idx(pictures(4))[:4] + b"\xff\xff\xff\xff" + idx(pictures(4))[8:], "4,294,967,295 images and it holds less"),
        (idx(np.zeros((4, 3, 8), dtype=np.uint8)), "holds images of 8x3, smaller than 4x4: resize"),
        (idx(np.zeros((4, 8, 300), dtype=np.uint8)), "holds images of 300x8, larger than 256 pixels a side: resize"),
        (idx(pictures(0)), "images has no rows"),
        (idx(pictures(3)), r"shop-images-idx3-ubyte(.gz)? has 3, shop-labels-idx1-ubyte(.gz)? has 4: give exactly one"),
    ],
)
@pytest.mark.parametrize("end", ["", ".gz"])
def test_damaged_files(tmp_path, content, words, end):
    path = put(tmp_path, "shop-", pictures(4), [0, 1, 0, 1], end)
    if "no rows" in words:
        put(tmp_path, "shop-", pictures(0), [], end)
    path.write_bytes(gzip.compress(content) if end else content)
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["cut", "flipped", "no gzip"])
def test_damaged_compression(tmp_path, how):
    path = put(tmp_path, "shop-", pictures(4), [0, 1, 0, 1], ".gz")
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[:-30], "flipped": content[:-8] + b"\xff\xff" + content[-6:], "no gzip": b"hello"}[how]
    )
    with pytest.raises(DataError, match=r"shop-images-idx3-ubyte\.gz is damaged or cut short \(.+\): download"):
        read(path)


def test_a_byte_too_many_after_a_round_number(tmp_path):
    path = put(tmp_path, "shop-", np.zeros((4096, 16, 16), dtype=np.uint8), [0, 1] * 2048)  # 2**20 bytes
    assert len(read(path)) == 4096
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="announces 4,096 images and it holds more"):
        read(path)


def test_labels_that_are_missing_or_given(tmp_path):
    path = put(tmp_path, "shop-", pictures(4), [0, 1, 0, 1])
    labels = tmp_path / "shop-labels-idx1-ubyte"
    with pytest.raises(DataError, match="shop-labels-idx1-ubyte holds labels: give the idx file of images beside it"):
        read(labels)
    labels.unlink()
    with pytest.raises(
        DataError,
        match=r"the labels of .*images-idx3-ubyte are missing: put shop-labels-idx1-ubyte or .*\.gz beside",
    ):
        read(path)
    with pytest.raises(DataError, match="are missing"):
        read(tmp_path)


def test_folders_that_hold_too_much(tmp_path):
    for prefix in ("a-", "b-"):
        put(tmp_path / "many", prefix, pictures(4), [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"several idx files of images \(a-images-idx3-ubyte, b-.*\): give the path"):
        read(tmp_path / "many")
    put(tmp_path / "two", "train-", pictures(4), [0, 1, 0, 1])
    put(tmp_path / "two", "t10k-", pictures(4).reshape(4, 5, 6), [0, 1, 0, 1])
    with pytest.raises(DataError, match="hold images of 5x6 and 6x5: resize all to one size"):
        read(tmp_path / "two")


def test_mnist(data_dir):
    data = read("mnist", data_dir=data_dir)
    assert data.images.shape == (70_000, 1, 28, 28)
    assert (data.name, data.kind) == ("mnist", "idx")
    assert data.classes == tuple("0123456789")
    assert data.labels[:5].tolist() == [5, 0, 4, 1, 9]  # the publisher's first five, and the first of the test rows
    assert data.labels[60_000:60_003].tolist() == [7, 2, 1]
    assert data.images[:60_000].mean() == pytest.approx(0.1307, abs=5e-5)
    assert data.images[:60_000].std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)
    assert data.official_test.tolist() == list(range(60_000, 70_000))
    assert data.origins[17] == "train row 17"
    assert data.origins[60_003] == "test row 3"
    assert data.images[0, 0, 5, 12] == pytest.approx(3 / 255)  # the first ink of the first digit, in its sixth row
    assert data.images[0, 0, 12, 5] == 0
