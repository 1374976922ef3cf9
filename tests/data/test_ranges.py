"""Values of the source to [0, 1] and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradtape.data import ValueRange
from gradtape.errors import DataError, InputError

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.array([3, 7], dtype=np.uint8), 0, 255),
        (np.array([0, 1], dtype=np.uint8), 0, 255),
        (np.array([True, True]), 0, 1),
        (np.array([0, 1], dtype=np.int32), 0, 1),
        (np.array([0.0, 0.0]), 0, 1),
        (np.array([0.25, 1.0], dtype=np.float32), 0, 1),
        (np.array([0, 16]), 0, 16),
        (np.array([0, 17]), 0, 255),
        (np.array([0.0, 200.0]), 0, 255),
        (np.array([0.0, 200.5]), 0, 200.5),
        (np.array([0, 256]), 0, 256),
        (np.array([5, 60000], dtype=np.uint16), 0, 60000),
        (np.array([-1.0, 1.0]), -1, 1),
        (np.array([-1, 200]), -1, 200),
        (np.array([-7.0, -5.0]), -7, -5),
        (np.array([-5.0, -5.0]), -5, 0),
    ],
)
def test_the_range_is_found(values, low, high):
    assert ValueRange.of(values) == ValueRange(low, high, values.dtype.name)


def test_known_values_both_ways():
    bytes_ = ValueRange(0, 255, "uint8")
    assert bytes_.encode(np.array([0, 51, 255], dtype=np.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert bytes_.decode([-1, 0.2, 0.4999 / 255, 0.5001 / 255, 2]).tolist() == [0, 51, 0, 1, 255]
    signed = ValueRange(-1, 1, "float32")
    assert signed.encode([-1, 0, 0.5, 9]).tolist() == [0, 0.5, 0.75, 1]
    assert signed.decode([0, 0.75, 1]).tolist() == [-1, 0.5, 1]
    assert ValueRange(0, 1, "bool").decode([0.4, 0.6]).tolist() == [False, True]


def test_encode_never_shares_memory():
    values = np.zeros((2, 2), dtype=np.float32)
    encoded = ValueRange.of(values).encode(values)
    encoded[:] = 1
    assert values.sum() == 0


INTEGERS = st.one_of(
    hnp.arrays(np.uint8, SHAPES),
    hnp.arrays(np.uint16, SHAPES),
    hnp.arrays(np.int16, SHAPES),
    hnp.arrays(np.bool_, SHAPES),
    hnp.arrays(np.int64, SHAPES, elements=st.integers(-(2**22), 2**22)),
)


@given(INTEGERS)
def test_integers_come_back_exactly(values):
    scale = ValueRange.of(values)
    encoded = scale.encode(values)
    assert encoded.dtype == np.float32
    assert encoded.min() >= 0
    assert encoded.max() <= 1
    decoded = scale.decode(encoded)
    assert decoded.dtype == values.dtype
    np.testing.assert_array_equal(decoded, values)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), SHAPES, elements=st.floats(-1000, 1000, width=32)))
def test_floats_come_back_within_float32(values):
    scale = ValueRange.of(values)
    decoded = scale.decode(scale.encode(values))
    assert decoded.dtype == values.dtype
    assert decoded.shape == values.shape
    np.testing.assert_allclose(decoded, values, atol=(scale.high - scale.low) * 1.2e-7, rtol=0)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32"])
def test_the_ends_of_wide_integers_do_not_wrap(dtype):
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.max], dtype=dtype)
    scale = ValueRange.of(values)
    decoded = scale.decode(scale.encode(values))
    assert decoded[0] == limits.min
    assert limits.max - int(decoded[1]) <= 2048


def test_what_is_no_range():
    with pytest.raises(InputError, match="a value range from 1 to 1: give a finite low and a larger finite high"):
        ValueRange(1, 1, "uint8")
    with pytest.raises(InputError, match="pixel values of type complex128: convert them"):
        ValueRange.of(np.zeros(3, dtype=complex))
    with pytest.raises(InputError, match="no pixel values"):
        ValueRange.of(np.zeros((0, 3)))
    with pytest.raises(DataError, match="lie too far apart: rescale them"):
        ValueRange.of(np.array([-1.7e308, 1.7e308]))
    with pytest.raises(InputError, match="not finite"):
        ValueRange(0, 1, "uint8").decode([np.nan])
