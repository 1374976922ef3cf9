"""Arrays in .npz files."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from gradtape.data import ValueRange, read
from gradtape.errors import DataError

X = (np.arange(4 * 6 * 5 * 3) % 251).astype(np.uint8).reshape(4, 6, 5, 3)
Y = np.array(["b", "a", "b", "a"])


def test_images_and_labels(tmp_path):
    np.savez(tmp_path / "my.pets.npz", images=X, labels=Y)
    data = read(tmp_path / "my.pets.npz")
    assert data.images.shape == (4, 3, 6, 5)
    assert data.images[1, 2, 3, 4] == pytest.approx(X[1, 3, 4, 2] / 255)
    assert (data.name, data.kind, data.scale) == ("my.pets", "npz", ValueRange(0, 255, "uint8"))
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert data.origins[3] == "row 3"
    np.testing.assert_array_equal(data.as_given(data.images), X)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X, "y": Y}, r"has no images and no labels \(arrays found: x, y\): save it again with np.savez"),
        ({"images": X}, r"has no labels \(arrays found: images\)"),
        ({}, r"has no images and no labels \(arrays found: none\)"),
        ({"images": X, "labels": Y[:3]}, r"pets\.npz: images has 4, labels has 3: give exactly one label per image"),
        ({"images": X, "labels": np.eye(4)}, r"pets\.npz: labels has shape \(4, 4\), .*give labels.argmax\(axis=1\)"),
        ({"images": X, "labels": Y.reshape(2, 2, 1)}, r"labels has shape \(2, 2, 1\), .*one-dimensional array"),
        ({"images": X, "labels": np.array([0, 1, 0.5, 1])}, r"labels that are not whole numbers \(0.5 in row 2\)"),
        ({"images": X[0, 0, 0], "labels": Y}, r"images has shape \(3,\)"),
        ({"images": X[:, :, :, :2], "labels": Y}, r"images has shape \(4, 6, 5, 2\), and .* was expected: reshape"),
        ({"images": X.astype(complex), "labels": Y}, "images has values of type complex128"),
        (
            {"images": np.where(X > 0, X, np.nan), "labels": Y},
            "images has 2 values that are not finite, the first in",
        ),
        ({"images": X, "labels": np.array(["a"] * 4)}, "there is only one class, 'a'"),
        ({"images": X, "labels": np.array(["a", "a", "a", "b"])}, "class 'b' has 1 image, and at least 2 are needed"),
        ({"images": X[:, :3, :, 0], "labels": Y}, "images holds images of 5x3, smaller than 4x4"),
        ({"images": np.array([Trap()] * 4), "labels": Y}, "images is an array of Python objects, which could run code"),
        ({"images": X, "labels": np.array([Trap()] * 4)}, "labels is an array of Python objects, .*save it as plain"),
    ],
)
def test_what_cannot_be_used(tmp_path, arrays, words):
    np.savez(tmp_path / "pets.npz", **arrays)
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path / "pets.npz")
    assert str(tmp_path / "pets.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "pets.npz"
    for content in (b"", b"hello", pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"pets\.npz is named \.npz but is damaged or of another kind: save it"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", "hello")
        archive.writestr("labels", "hello")
    with pytest.raises(DataError, match=r"pets\.npz: images is no numpy array"):
        read(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "pets.npz"
    np.savez_compressed(path, images=X, labels=Y)
    content = path.read_bytes()
    for cut in (4, len(content) // 2, len(content) - 4):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"is named \.npz but is damaged or of another kind"):
            read(path)
    refused = 0
    for place in range(40, len(content) // 2, 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            data = read(path)
        except DataError:
            refused += 1
        else:  # a flip in what the format does not use changes nothing
            np.testing.assert_array_equal(data.as_given(data.images), X)
    assert refused > 10
