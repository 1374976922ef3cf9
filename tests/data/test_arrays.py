"""Sets made of arrays, and the same kind given back."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradtape.data import ImageSet, ValueRange, from_arrays
from gradtape.data._labels import encode_labels
from gradtape.errors import DataError, InputError

Y = np.array([0, 1, 0, 1])


def counting(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((4, 6, 5), (4, 1, 6, 5)),
        ((4, 1, 6, 5), (4, 1, 6, 5)),
        ((4, 3, 6, 5), (4, 3, 6, 5)),
        ((4, 6, 5, 1), (4, 1, 6, 5)),
        ((4, 6, 5, 3), (4, 3, 6, 5)),
        ((4, 64), (4, 1, 8, 8)),
        ((4, 81), (4, 1, 9, 9)),
    ],
)
def test_layouts_are_read_and_given_back(shape, wanted):
    X = counting(*shape)
    data = from_arrays(X, Y)
    assert data.images.shape == wanted
    assert data.images.dtype == np.float32
    row, channel, height, width = 2, wanted[1] - 1, 3, 4
    given_at = {2: (row, 3 * wanted[3] + 4), 3: (row, height, width)}
    if len(shape) == 4:
        given_at[4] = (row, channel, height, width) if shape == wanted else (row, height, width, channel)
    assert data.images[row, channel, height, width] == pytest.approx(X[given_at[len(shape)]] / 255)
    back = data.as_given(data.images[1:3])
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, X[1:3])


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16]),
        st.tuples(st.just(4), st.integers(4, 9), st.integers(4, 9), st.sampled_from([1, 3])),
    ),
    st.sampled_from(["nhw", "nchw", "nhwc"]),
)
def test_any_array_comes_back(X, layout):
    X = {"nhw": X[..., 0], "nchw": X.transpose(0, 3, 1, 2), "nhwc": X}[layout]
    data = from_arrays(X, Y)
    back = data.as_given(data.images)
    assert back.dtype == X.dtype
    np.testing.assert_array_equal(back, X)


def test_the_whole_set_is_described():
    data = from_arrays(counting(4, 64), ["b", "a", "b", "a"], name="my/pets")
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert data.labels.dtype == np.int64
    assert data.origins == ("row 0", "row 1", "row 2", "row 3")
    assert (data.name, data.kind, data.scale) == ("my_pets", "array", ValueRange(0, 255, "uint8"))
    assert data.official_test is None
    assert data.note == "4 images of 8x8, 1 channel, 2 classes; rows of 64 values read as 8x8 images"
    assert repr(data) == "ImageSet('my_pets': 4 images of 8x8, 1 channel, 2 classes)"
    assert data.counts() == {"a": 2, "b": 2}
    assert len(data) == 4


def test_width_comes_before_height_in_words():
    assert from_arrays(counting(4, 6, 5), Y).note == "4 images of 5x6, 1 channel, 2 classes"


def test_nothing_is_shared_with_the_array():
    X = np.zeros((4, 8, 8), dtype=np.float32)
    data = from_arrays(X, Y)
    data.images[:] = 1
    assert X.sum() == 0


@pytest.mark.parametrize(
    ("y", "classes", "labels"),
    [
        ([10, 2, 10, 2], ("2", "10"), [1, 0, 1, 0]),
        ([-1, -2, -1, -2], ("-2", "-1"), [1, 0, 1, 0]),
        (["10", "2", "10", "2"], ("2", "10"), [1, 0, 1, 0]),
        (["img12", "img9", "img12", "img9"], ("img9", "img12"), [1, 0, 1, 0]),
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        ([3.0, 0.0, 3.0, 0.0], ("0", "3"), [1, 0, 1, 0]),
        (np.array([7, 5, 7, 5], dtype=np.uint8), ("5", "7"), [1, 0, 1, 0]),
        (np.array(["b", "a", "b", "a"], dtype=object), ("a", "b"), [1, 0, 1, 0]),
        (np.array([2, 1, 2, 1], dtype=object), ("1", "2"), [1, 0, 1, 0]),
        (np.array([b"b", b"a", b"b", b"a"]), ("a", "b"), [1, 0, 1, 0]),
    ],
)
def test_labels_of_every_kind_come_back(y, classes, labels):
    data = from_arrays(counting(4, 8, 8), y)
    assert data.classes == classes
    assert data.labels.tolist() == labels
    back = data.labels_as_given(data.labels)
    assert back.dtype == np.asarray(y).dtype
    assert back.tolist() == np.asarray(y).tolist()
    assert data.labels_as_given(np.array([[1], [0]])).shape == (2, 1)


@given(st.lists(st.one_of(st.integers(0, 30).map(str), st.text(st.characters(exclude_characters="\0"), max_size=5))))
def test_string_labels_come_back(words):
    words = [*words, "a", "b"]
    encoded = encode_labels(words, "y")
    assert encoded.vocabulary[encoded.labels].tolist() == words
    assert len(set(encoded.classes)) == len(encoded.classes)
    numbers = [int(name) for name in encoded.classes if name.isascii() and name.isdigit()]
    assert numbers == sorted(numbers)


def test_torch_tensors_are_taken_and_refused():
    torch = sys.modules.get("torch") or pytest.skip("torch is not loaded: the whole suite loads it, this room does not")
    data = from_arrays(torch.full((4, 1, 8, 8), 0.5), torch.tensor([0, 1, 0, 1]))
    assert data.images[3, 0, 7, 7] == 0.5
    assert type(data.as_given(data.images)) is np.ndarray
    with pytest.raises(InputError, match=r"X of type Tensor cannot be read as an array \(.*requires grad.*detached"):
        from_arrays(torch.zeros(4, 1, 8, 8, requires_grad=True), Y)


class DataFrame:
    __module__ = "pandas.core.frame"


class OnTheGpu:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.\nUse Tensor.cpu() first.")


@pytest.mark.parametrize(
    ("X", "y", "error", "words"),
    [
        (DataFrame(), Y, InputError, "X is a pandas DataFrame, and this release takes images: give an array"),
        (np.zeros((4, 10)), Y, InputError, r"rows of 10 values are no square image of 8x8 or more: reshape it to \(n"),
        (np.zeros((4, 49)), Y, InputError, "rows of 49 values are no square image"),
        (np.zeros(4), Y, InputError, r"X has shape \(4,\), and \(n, h, w\)"),
        (
            np.zeros((4, 4, 8, 8)),
            Y,
            InputError,
            r"X has shape \(4, 4, 8, 8\), and .* 1 or 3 channels was expected",
        ),
        (np.zeros((1, 4, 3, 8, 8)), Y, InputError, r"X has shape \(1, 4, 3, 8, 8\)"),
        (
            OnTheGpu(),
            Y,
            InputError,
            r"X of type OnTheGpu cannot be read as an array \(can't convert cuda:0 .*\)",
        ),
        ("pets", Y, InputError, "X has values of type str"),
        ([[1, 2], [3]], Y, InputError, "X of type list cannot be read as an array"),
        (np.full((4, 8, 8), None), Y, InputError, "X of type ndarray is no array of numbers"),
        (np.zeros((0, 8, 8)), [], DataError, "X has no rows: give at least 2 images of each class"),
        (np.zeros((4, 8, 8)), Y[:3], DataError, "X has 4, y has 3: give exactly one label per image"),
        (
            np.zeros((4, 3, 8)),
            Y,
            DataError,
            "X holds images of 8x3, smaller than 4x4: resize them to between 4",
        ),
        (np.zeros((4, 8, 257)), Y, DataError, "X holds images of 257x8, larger than 256 pixels a side: resize"),
        (np.zeros((4, 3, 8, 3)), Y, DataError, "X holds images of 3x8, smaller than 4x4"),
        (np.zeros((4, 8, 8)), np.eye(2)[Y], DataError, r"one-hot labels\?\): give y.argmax\(axis=1\)"),
        (np.zeros((4, 8, 8)), Y[:, None], DataError, r"y has shape \(4, 1\), .*: give y.ravel\(\)"),
        (np.zeros((4, 8, 8)), [0, 1.5, 0, 1], DataError, r"labels that are not whole numbers \(1.5 in row 1\)"),
        (np.zeros((4, 8, 8)), [0, 1, np.nan, 1], DataError, r"labels that are not whole numbers \(nan in row 2\)"),
        (np.zeros((4, 8, 8)), ["a", None, "a", "b"], DataError, r"not all of one kind \(None in row 1\)"),
        (np.zeros((4, 8, 8)), [None] * 4, DataError, r"not all of one kind \(None in row 0\)"),
        (np.zeros((4, 8, 8)), np.zeros(4, dtype="M8[s]"), DataError, r"y has labels of type datetime64\[s\]"),
        (np.zeros((4, 8, 8)), [0, 0, 0, 0], DataError, "there is only one class, '0'"),
        (np.zeros((4, 8, 8)), [0, 0, 0, 5], DataError, "class '5' has 1 image, and at least 2 are needed: add images"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(X, y, error, words):
    with pytest.raises(error, match=words) as caught:
        from_arrays(X, y)
    assert "\n" not in str(caught.value)


def test_values_that_are_not_finite_are_counted():
    X = np.zeros((4, 8, 8))
    X[2, 1, 1], X[3, 0, 0], X[3, 0, 1] = np.nan, np.inf, -np.inf
    with pytest.raises(DataError, match="X has 3 values that are not finite, the first in row 2: replace"):
        from_arrays(X, Y)


def test_take_keeps_rows_together():
    data = from_arrays(counting(4, 8, 8), ["a", "b", "b", "a"])
    part = data.take([2, 0, 2])
    np.testing.assert_array_equal(part.images, data.images[[2, 0, 2]])
    assert part.labels.tolist() == [1, 0, 1]
    assert part.origins == ("row 2", "row 0", "row 2")
    assert part.classes == ("a", "b")
    assert part.take([1]).counts() == {"a": 1, "b": 0}
    assert part.note == "3 images of 8x8, 1 channel, 2 classes, taken from data"
    assert part.labels_as_given([1]).tolist() == ["b"]
    assert len(data.take([])) == 0


def test_take_moves_the_official_rows_along():
    data = from_arrays(counting(4, 8, 8), Y)
    data = ImageSet(**{**vars(data), "official_test": np.array([2, 3])})
    assert data.take([3, 0, 2]).official_test.tolist() == [0, 2]
    assert data.take([0, 1]).official_test is None


@pytest.mark.parametrize("indices", [[4], [-1], [0.5], [True, False], [[0]]])
def test_indices_that_are_not_there(indices):
    with pytest.raises(InputError, match=r"index .* of 4 images: give integers in 0..3|give a list of integers"):
        from_arrays(counting(4, 8, 8), Y).take(indices)


def test_what_cannot_be_given_back():
    data = from_arrays(counting(4, 8, 8), Y)
    with pytest.raises(InputError, match=r"images of shape \(2, 8, 8\): give \(m, 1, 8, 8\)"):
        data.as_given(np.zeros((2, 8, 8)))
    with pytest.raises(InputError, match=r"from 0 to 2 for 2 classes: give integers in 0..1"):
        data.labels_as_given([0, 2])
    with pytest.raises(InputError, match="labels of type float64"):
        data.labels_as_given([0.0])


def test_a_set_that_does_not_fit_together():
    base = vars(from_arrays(counting(4, 8, 8), Y))
    with pytest.raises(InputError, match="give one label and one origin per image"):
        ImageSet(**{**base, "labels": np.array([0, 1])})
    with pytest.raises(InputError, match="give float32 of shape"):
        ImageSet(**{**base, "images": np.zeros((4, 1, 8, 8))})
