import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradtape.errors import InputError
from gradtape.evidence import Interval, bootstrap, mean_interval, paired_gain, proportion


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_mean_interval_is_student_t_by_hand(values, level):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = stats.t.ppf(1 - (1 - level) / 2, df=len(values) - 1) * deviation / math.sqrt(len(values))
    found = mean_interval(values, level)
    size = 1e-9 * max(1.0, *map(abs, values))
    assert found.mean == pytest.approx(mean, abs=size)
    assert found.low == pytest.approx(mean - half, rel=1e-6, abs=size)
    assert found.high == pytest.approx(mean + half, rel=1e-6, abs=size)
    assert (found.n, found.level, found.method) == (len(values), level, "Student t")


def test_known_t_quantile():
    found = mean_interval([0.0, 1.0, 2.0, 3.0, 4.0])
    assert found.high - found.mean == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)


def test_identical_values_give_a_degenerate_interval():
    found = mean_interval([0.3, 0.3, 0.3])
    assert (found.low, found.high, found.degenerate) == (found.mean, found.mean, True)
    assert not mean_interval([0.3, 0.4]).degenerate


def test_rounding_is_not_taken_for_variation():
    treated, control = [0.3, 0.8, 1.0], [0.2, 0.7, 0.9]
    assert np.ptp(np.subtract(treated, control)) > 0  # differences that are equal on paper differ by rounding
    assert paired_gain(treated, control).degenerate


def test_paired_gain_equals_scipys_paired_test():
    rng = np.random.default_rng(1)
    treated, control = rng.normal(size=9), rng.normal(size=9)
    expected = stats.ttest_rel(treated, control).confidence_interval(0.9)
    found = paired_gain(treated, control, level=0.9)
    assert found.mean == pytest.approx((treated - control).mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    swapped = paired_gain(control, treated, level=0.9)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


def test_t_interval_covers_the_truth_in_95_percent_of_experiments():
    rng = np.random.default_rng(2)
    for level, band in ((0.95, (0.92, 0.98)), (0.8, (0.74, 0.86))):
        covered = np.mean([mean_interval(rng.normal(3.0, 2.0, 5), level).covers(3.0) for _ in range(400)])
        assert band[0] <= covered <= band[1]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_table(successes, n, low, high):
    found = proportion(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.mean == successes / n


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95]))
@settings(max_examples=40, deadline=None)
def test_wilson_equals_scipy_and_is_symmetric(n, share, level):
    successes = round(share * n)
    found, mirrored = proportion(successes, n, level), proportion(n - successes, n, level)
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-12)
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
    assert not found.degenerate


def test_bootstrap_of_the_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(3).normal(10.0, 2.0, 400)
    found = bootstrap([values], np.mean, seed=0, repeats=2000)
    half = 1.96 * values.std() / 20.0
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_vectorised_bootstrap_equals_the_plain_one_also_in_batches(monkeypatch):
    rng = np.random.default_rng(4)
    samples = [rng.normal(size=30), rng.normal(size=(20, 3))]
    plain = bootstrap(samples, lambda a, b: a.mean() - b.mean(), seed=5, repeats=100)
    many = bootstrap(samples, lambda a, b: a.mean(1) - b.mean((1, 2)), seed=5, repeats=100, vectorised=True)
    assert (plain.low, plain.high, plain.mean) == pytest.approx((many.low, many.high, many.mean))
    assert plain.n == many.n == 20
    seen = []

    def statistic(a, b):
        seen.append(len(a))
        return a.mean(1) - b.mean((1, 2))

    monkeypatch.setattr("gradtape.evidence._intervals._VALUES_AT_ONCE", 90 * 32)
    bootstrap(samples, statistic, seed=5, repeats=100, vectorised=True)
    assert seen == [32, 32, 32, 4, 1]


def test_bootstrap_depends_on_the_seed_only():
    values = np.arange(20.0)
    first, again, other = (bootstrap([values], np.mean, seed=s, repeats=200) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_bootstrap_takes_its_samples_independently():
    values = np.arange(50.0)
    found = bootstrap([values, values], lambda a, b: a.mean() - b.mean(), seed=0)
    assert found.mean == 0.0
    assert found.high - found.low > 5.0  # drawn as pairs, it would be 0


def test_interval_in_words_and_as_plain_values():
    found = Interval(1.2, 0.3, 2.1, 5, 0.95, "Student t")
    assert str(found) == f"{found}" == "+1.2 [+0.3, +2.1]"
    assert f"{found:.2f}" == "1.20 [0.30, 2.10]"
    assert found.to_dict() == {"mean": 1.2, "low": 0.3, "high": 2.1, "n": 5, "level": 0.95, "method": "Student t"}
    assert Interval(1.0, math.nan, math.inf, 2, 0.9, "x").to_dict()["low"] is None
    assert found.covers(0.3)
    assert found.covers(2.1)
    assert not found.covers()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0]), "values holds 1 values, at least 2"),
        (lambda: mean_interval([[1.0, 2.0]]), r"values has shape \(1, 2\)"),
        (lambda: mean_interval([1.0, math.nan]), "values holds 1 values that are NaN"),
        (lambda: mean_interval(["a", "b"]), "values does not hold numbers"),
        (lambda: mean_interval([1.0, 2.0], level=95), "level is 95"),
        (lambda: paired_gain([1, 2], [1, 2, 3]), "treated holds 2 scores and control 3"),
        (lambda: proportion(3, 2), "3 successes of 2 trials"),
        (lambda: proportion(0, 0), "n is 0"),
        (lambda: proportion(-1, 5), "successes is -1"),
        (lambda: proportion(0.5, 5), "successes is 0.5"),
        (lambda: bootstrap([], np.mean, 0), "lacks a sample"),
        (lambda: bootstrap([[1.0]], np.mean, 0), "lacks a sample"),
        (lambda: bootstrap([[1.0, 2.0]], lambda v: math.nan, 0), "not finite"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
