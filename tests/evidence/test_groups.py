import math

import numpy as np
import pytest

from gradtape.errors import InputError
from gradtape.evidence import GroupFigure, paired_gain, paired_per_group, per_group, proportion, worst


def test_share_per_group_with_wilsons_interval():
    correct = np.array([1, 0, 1, 1, 1, 0], dtype=bool)
    found = per_group(correct, [0, 0, 0, 2, 2, 2], ["a", "b", "c"])
    assert [(g.name, g.n) for g in found] == [("a", 3), ("b", 0), ("c", 3)]
    assert found[0].interval == proportion(2, 3)
    assert found[0].value == 2 / 3
    assert (found[1].value, found[1].interval) == (None, None)
    assert found[1].to_dict() == {"name": "b", "n": 0, "value": None, "interval": None}


def test_repeats_are_averaged_and_do_not_narrow_the_interval():
    once = np.array([1, 0, 1, 1, 0], dtype=bool)
    groups = [0, 0, 1, 1, 1]
    repeated = np.tile(once, (10, 1))
    assert per_group(repeated, groups, ["a", "b"]) == per_group(once, groups, ["a", "b"])
    mixed = per_group([[1, 1, 1], [0, 1, 0]], ["x", "x", "y"])
    assert [(g.name, g.n, g.value) for g in mixed] == [("x", 2, 0.75), ("y", 1, 0.5)]


def test_unnamed_groups_are_their_sorted_labels():
    assert [g.name for g in per_group([1, 0, 1], ["west", "east", "west"])] == ["east", "west"]
    assert [g.name for g in per_group([1, 0, 1], [7, -1, 7])] == ["-1", "7"]


def test_paired_gain_over_repeats():
    rng = np.random.default_rng(0)
    treated, control = rng.random((6, 40)) < 0.8, rng.random((6, 40)) < 0.6
    groups = rng.integers(0, 2, 40)
    for g, figure in enumerate(paired_per_group(treated, control, groups, ["a", "b"])):
        gains = [
            (100 * treated[r, groups == g].mean(), 100 * control[r, groups == g].mean()) for r in range(len(treated))
        ]
        expected = paired_gain([one for one, _ in gains], [other for _, other in gains])
        assert figure.value == pytest.approx(expected.mean)
        assert (figure.interval.low, figure.interval.high) == pytest.approx((expected.low, expected.high))
        assert (figure.n, figure.interval.n) == (int((groups == g).sum()), 6)


def test_paired_gain_of_one_repeat_is_agresti_and_mins():
    # won 8, lost 2 of 20: with half an answer per cell, 8.5 and 2.5 of 22
    treated, control = np.r_[np.ones(8), np.zeros(2), np.ones(10)], np.r_[np.zeros(8), np.ones(2), np.ones(10)]
    figure = paired_per_group(treated, control, np.zeros(20, dtype=int))[0]
    centre = 6 / 22
    half = 1.959964 * math.sqrt(11 - 36 / 22) / 22
    assert figure.value == pytest.approx(30.0)
    assert figure.interval.low == pytest.approx(100 * (centre - half), abs=1e-5)
    assert figure.interval.high == pytest.approx(100 * (centre + half), abs=1e-5)


def test_matched_interval_is_never_certain_and_covers_its_truth():
    same = paired_per_group([1, 1, 0], [1, 1, 0], [0, 0, 0])[0]
    assert same.value == 0.0
    assert same.interval.low < 0.0 < same.interval.high
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        shared = rng.random(40)
        treated, control = (shared < 0.7) ^ (rng.random(40) < 0.1), (shared < 0.6) ^ (rng.random(40) < 0.1)
        covered += paired_per_group(treated, control, np.zeros(40, dtype=int))[0].interval.covers(8.0)
    assert 0.92 <= covered / 400 <= 0.99  # truth: .8 * (.7 - .6) = 8 points


def test_worst_group():
    figures = [GroupFigure("a", 3, 0.5, None), GroupFigure("b", 0, None, None), GroupFigure("c", 2, 0.2, None)]
    assert worst(figures).name == "c"
    assert worst([*figures, GroupFigure("d", 2, 0.2, None)]).name == "c"
    assert worst(paired_per_group([1, 0, 0], [1, 0, 1], [0, 1, 2])).value == -100.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: per_group([1, 2], [0, 0]), "other than true and false"),
        (lambda: per_group([1, 0], [0, 0, 0]), r"groups has shape \(3,\), expected \(2,\)"),
        (lambda: per_group([1, 0], [0, 2], ["a", "b"]), "no index into the 2 names"),
        (lambda: per_group([1, 0], [0, -1], ["a", "b"]), "no index into the 2 names"),
        (lambda: per_group([], []), "correct has shape"),
        (lambda: per_group(np.ones((1, 2, 3)), [0, 0]), r"correct has shape \(1, 2, 3\)"),
        (lambda: paired_per_group([1, 0], [[1, 0], [1, 0]], [0, 0]), r"\(1, 2\) and control \(2, 2\)"),
        (lambda: worst([GroupFigure("a", 0, None, None)]), "no group has samples"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
