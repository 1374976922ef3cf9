"""Pool, validation and test: disjoint, covering, stratified, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradtape.data import ImageSet, SealedTest, draw, from_arrays, read, split
from gradtape.errors import DataError, GradtapeError, InputError


def make(*counts: int, shuffle: int = 0) -> ImageSet:
    y = np.repeat(np.arange(len(counts)), counts)
    y = np.random.default_rng(shuffle).permutation(y)
    return from_arrays(np.zeros((len(y), 4, 4)), y)


def counts(data: ImageSet, rows: np.ndarray) -> list[int]:
    return np.bincount(data.labels[rows], minlength=len(data.classes)).tolist()


@pytest.mark.parametrize(
    ("n", "per_class", "sizes"),  # sizes: pool, validation, test
    [
        (100, 10, (35, 25, 40)),
        (100, 35, (35, 25, 40)),
        (100, 36, (36, 25, 39)),
        (100, 98, (98, 1, 1)),
        (33, 20, (20, 5, 8)),
        (15, 10, (10, 2, 3)),
        (12, 10, (10, 1, 1)),
        (4, 2, (2, 1, 1)),
        (5, 2, (2, 1, 2)),
        (183, 10, (64, 46, 73)),
    ],
)
def test_sizes_of_the_parts(n, per_class, sizes):
    data = make(n, n)
    parts = split(data, per_class, seed=0)
    for part, size in zip((parts.pool, parts.validation, parts.test), sizes, strict=True):
        assert counts(data, part) == [size, size]


@given(
    st.lists(st.integers(4, 40), min_size=2, max_size=4).flatmap(
        lambda counts: st.tuples(st.just(counts), st.integers(2, min(counts) - 2))
    ),
    st.integers(-(2**40), 2**40),
    st.booleans(),
)
def test_every_split_is_sound(sizes, seed, official):
    class_counts, per_class = sizes
    data = make(*class_counts)
    if official:  # one of each class
        rows = np.array([np.flatnonzero(data.labels == label)[0] for label in range(len(class_counts))])
        data = replace(data, official_test=rows)
    parts = split(data, per_class, seed)
    together = np.concatenate([parts.pool, parts.validation, parts.test])
    assert sorted(together.tolist()) == list(range(len(data)))  # disjoint and covering
    for part in (parts.pool, parts.validation, parts.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert min(counts(data, parts.pool)) >= per_class
    assert min(counts(data, parts.validation)) >= 1
    assert min(counts(data, parts.test)) >= 1
    if official:
        assert parts.test.tolist() == sorted(rows.tolist())
    again = split(data, per_class, seed)
    for name in ("pool", "validation", "test"):
        assert getattr(parts, name).tolist() == getattr(again, name).tolist()
    rows = draw(data, parts.pool, per_class, seed)
    assert counts(data, rows) == [per_class] * len(class_counts)
    assert set(rows.tolist()) <= set(parts.pool.tolist())


def test_another_seed_is_another_split():
    data = make(50, 50)
    tests = {tuple(split(data, 5, seed).test.tolist()) for seed in range(20)}
    assert len(tests) == 20
    pool = split(data, 5, 0).pool
    assert len({tuple(draw(data, pool, 5, seed).tolist()) for seed in range(20)}) == 20


def test_every_row_can_come_into_every_part():
    data = make(10, 10)
    seen = {name: np.zeros(20, dtype=int) for name in ("pool", "validation", "test")}
    for seed in range(200):
        parts = split(data, 2, seed)
        for name, count in seen.items():
            count[getattr(parts, name)] += 1
    for name, share in (("pool", 0.3), ("validation", 0.3), ("test", 0.4)):
        assert abs(seen[name] / 200 - share).max() < 0.15  # 4 standard errors


def test_the_order_of_rows_in_the_parts_of_one_class_does_not_depend_on_the_others():
    one = make(20, 20, shuffle=3)
    keep = np.flatnonzero(one.labels < 2)
    more = from_arrays(np.zeros((60, 4, 4)), np.concatenate([one.labels[keep], np.full(20, 2)]))
    np.testing.assert_array_equal(split(one, 5, 0).test, (test := split(more, 5, 0).test)[test < 40])


def test_classes_are_shuffled_independently():
    data = from_arrays(np.zeros((100, 4, 4)), [0, 1] * 50)
    parts = split(data, 2, seed=0)
    for rows in (parts.test, draw(data, np.arange(100), 20, seed=0)):
        assert (rows[rows % 2 == 0] // 2).tolist() != (rows[rows % 2 == 1] // 2).tolist()


def test_the_test_set_is_the_same_for_other_sizes_of_the_pool():
    data = make(50, 50)
    assert split(data, 2, 0).test.tolist() == split(data, 17, 0).test.tolist()


def test_a_smaller_draw_is_part_of_a_larger_one():
    data = make(30, 30)
    pool = split(data, 8, 0).pool
    assert set(draw(data, pool, 3, 1).tolist()) < set(draw(data, pool, 8, 1).tolist())


def test_official_rows_are_the_test_set():
    data = replace(make(40, 20), official_test=np.arange(40, 60))
    free = counts(data, np.arange(40))
    parts = split(data, 5, seed=0)
    assert parts.test.tolist() == list(range(40, 60))
    assert counts(data, parts.validation) == [(n + 2) // 4 for n in free]
    assert parts.pool.max() < 40


def test_digits_split():
    digits = read("digits")
    parts = split(digits, 10, seed=0)
    assert (len(parts.pool), len(parts.validation), len(parts.test)) == (627, 451, 719)
    assert counts(digits, draw(digits, parts.pool, 10, seed=0)) == [10] * 10


@pytest.mark.parametrize(
    ("data", "per_class", "error", "words"),
    [
        (make(20, 20), 0, InputError, "--per-class 0: at least 2 of each class are needed, since new samples are"),
        (make(20, 20), 1, InputError, "--per-class 1: at least 2"),
        (make(20, 20), 2.5, InputError, "--per-class 2.5: give an integer"),
        (
            make(20, 9),
            10,
            DataError,
            "class '1' has 9 images, and --per-class 10 needs 12: give at most --per-class 7,",
        ),
        (
            make(11, 20),
            10,
            DataError,
            "class '0' has 11 images, and --per-class 10 needs 12: give at most --per-class 9",
        ),
        (
            make(20, 3),
            2,
            DataError,
            "class '1' has 3 images, and at least 4 are needed .2 to train on, 1 to choose on, 1",
        ),
        (
            make(20, 20).take(range(19)).take([0]),
            2,
            DataError,
            "has 0 images, and at least 4 are needed .*leave it out",
        ),
        (
            replace(make(20, 20), official_test=np.arange(40)),
            2,
            DataError,
            "class '0' has 0 images to train on, and at least 3 are needed .2 to train on, 1 to choose on.: add images",
        ),
    ],
)
def test_what_cannot_be_split_is_one_sentence(data, per_class, error, words):
    with pytest.raises(error, match=words):
        split(data, per_class, seed=0)


def test_what_cannot_be_drawn():
    data = make(20, 20)
    with pytest.raises(DataError, match="class '0' has 0 images in the pool and --per-class is 1: draw fewer"):
        draw(data, [], 1, seed=0)
    with pytest.raises(InputError, match="pool names row 3 twice"):
        draw(data, [1, 3, 3], 1, seed=0)
    with pytest.raises(InputError, match="index 40 of 40 images"):
        draw(data, [40], 1, seed=0)
    with pytest.raises(InputError, match="--per-class 0: at least 1 of each class"):
        draw(data, np.arange(40), 0, seed=0)


def test_a_sealed_test_opens_once():
    test = read("digits").take(range(30))
    sealed = SealedTest(test)
    assert len(sealed) == 30
    assert sealed.classes == tuple("0123456789")
    assert repr(sealed) == "SealedTest(30 images, sealed)"
    public = {name for name in dir(sealed) if not name.startswith("_")}
    assert public == {"classes", "open"}
    assert not hasattr(sealed, "images")
    assert not hasattr(sealed, "__dict__")
    assert sealed.open() is test
    assert repr(sealed) == "SealedTest(30 images, opened)"
    with pytest.raises(GradtapeError, match="the test set of 30 images was opened before: measure on it once"):
        sealed.open()
    assert len(sealed) == 30


def test_a_sealed_test_has_no_copies():
    import copy
    import pickle

    sealed = SealedTest(read("digits").take(range(30)))
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(GradtapeError, match="cannot be copied or pickled"):
            duplicate(sealed)
