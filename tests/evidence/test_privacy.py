import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from gradtape.errors import InputError
from gradtape.evidence import _privacy, nearest_distances, proportion
from gradtape.evidence._privacy import _at_least_below, _closer


def loops(rows, columns, leave_out=False):
    """Distance to the nearest column by plain loops."""
    return np.array(
        [
            min(np.sqrt(((a - b) ** 2).sum()) for j, b in enumerate(columns) if not (leave_out and i == j))
            for i, a in enumerate(rows)
        ]
    )


@given(n=st.integers(2, 25), m=st.integers(2, 25), c=st.integers(2, 45), d=st.integers(1, 5), seed=st.integers(0, 9999))
@settings(max_examples=15, deadline=None)
def test_figures_equal_plain_loops_and_sklearn(n, m, c, d, seed):
    rng = np.random.default_rng(seed)
    train, synthetic, control = rng.normal(50, 1, (m, d)), rng.normal(50, 1.5, (n, d)), rng.normal(50, 1, (c, d))
    synthetic[0] = train[-1]
    found = nearest_distances(train, synthetic, control)
    made, fresh, own = loops(synthetic, train), loops(control, train), loops(train, train, leave_out=True)
    labels = np.r_[np.ones(n), np.zeros(c)]
    assert found.closer_than_real.mean == pytest.approx(roc_auc_score(labels, -np.r_[made, fresh]), abs=1e-12)
    assert found.copies == proportion(1, n)
    assert found.control_copies == proportion(0, c)
    rank = max(1, (c + 1) // 20)
    assert found.near_distance == pytest.approx(np.sort(fresh)[rank - 1])
    assert found.near == proportion(int((made < np.sort(fresh)[rank - 1] - 1e-12).sum()), n)
    assert found.near_expected == rank / (c + 1)
    for name, distances in (("synthetic", made), ("control", fresh), ("train", own)):
        assert found.medians[name] == pytest.approx(np.median(distances))
        assert sum(found.counts[name]) == len(distances)
        expected = np.histogram(np.minimum(distances, found.edges[-1]), found.edges)[0]
        assert sum(abs(expected - found.counts[name])) <= 2  # rounding at an edge may move one
    assert (found.n_synthetic, found.n_control, found.n_train) == (n, c, m)


def test_ties_count_half():
    train = np.zeros((2, 1))
    synthetic, control = np.array([[1.0], [1.0], [2.0], [0.5]]), np.array([[1.0], [-1.0], [3.0]])
    found = nearest_distances(train, synthetic, control).closer_than_real
    assert found.mean == pytest.approx((2 * (0.5 + 0.5 + 1) + 1 + 3) / 12)


def test_copies_are_found_at_any_scale_and_offset():
    rng = np.random.default_rng(0)
    for scale, offset in ((1.0, 0.0), (1e-6, 0.0), (1e6, 1e6), (1.0, 1e4)):
        train, control = (scale * rng.normal(size=(60, 8)) + offset for _ in range(2))
        synthetic = scale * rng.normal(size=(50, 8)) + offset
        synthetic[10:22] = train[:12]
        synthetic[22] = train[12] + 1e-3 * scale  # near, but no copy
        found = nearest_distances(train, synthetic, control)
        assert found.copies.mean == 12 / 50
        assert found.control_copies.mean == 0.0
        assert "12 of 50 synthetic images copy training images, 0 of 60 fresh real ones do" in found.sentence("images")


def test_float32_round_trip_is_still_a_copy():
    rng = np.random.default_rng(1)
    train, control = rng.normal(size=(60, 8)), rng.normal(size=(40, 8))
    assert nearest_distances(train, train[:9].astype(np.float32), control).copies.mean == 1.0


def test_fresh_samples_are_no_closer_and_noisy_copies_are():
    rng = np.random.default_rng(2)
    train, control, fresh = (rng.normal(size=(300, 6)) for _ in range(3))
    innocent = nearest_distances(train, fresh, control)
    assert innocent.closer_than_real.covers(0.5)
    assert not innocent.too_close
    assert "no closer to the training rows" in innocent.sentence("rows")
    assert "no proof that they are anonymous" in innocent.sentence()
    guilty = nearest_distances(train, train + rng.normal(0, 0.1, train.shape), control)
    assert guilty.closer_than_real.mean > 0.97
    assert guilty.near.mean > 0.8
    assert guilty.copies.mean == 0.0
    assert guilty.sentence("images").startswith("Synthetic images lie closer to the training images than fresh real")
    assert guilty.sentence().endswith("do not treat them as anonymous.")
    assert guilty.medians["train"] == pytest.approx(innocent.medians["control"], rel=0.1)
    far = nearest_distances(train, rng.normal(3, 1, (300, 6)), control)
    assert far.closer_than_real.mean < 0.1
    assert "lie farther from" in far.sentence()
    assert not far.too_close


def test_a_memorised_tail_is_found_where_the_average_looks_innocent():
    rng = np.random.default_rng(3)
    train, control, synthetic = (rng.normal(size=(400, 6)) for _ in range(3))
    synthetic = rng.normal(0, 1.1, (400, 6))
    synthetic[:60] = train[:60] + rng.normal(0, 0.05, (60, 6))
    found = nearest_distances(train, synthetic, control)
    assert found.closer_than_real.low < 0.5
    assert found.too_close
    assert f"but {found.near.mean:.1%} lie in the nearest" in found.sentence()


def test_chance_copies_in_coarse_data_are_no_alarm():
    rng = np.random.default_rng(4)
    train, control, fresh = (rng.integers(0, 3, (200, 3)).astype(float) for _ in range(3))
    found = nearest_distances(train, fresh, control)
    assert found.copies.mean == found.control_copies.mean == 1.0
    assert found.closer_than_real.mean == 0.5
    assert not found.too_close


@pytest.mark.usefixtures("few_repeats")
def test_the_alarm_is_rare_on_fresh_samples():
    rng = np.random.default_rng(5)
    alarms = near = 0
    for _ in range(100):
        train, control, fresh = rng.normal(size=(40, 2)), rng.normal(size=(39, 2)), rng.normal(size=(200, 2))
        found = nearest_distances(train, fresh, control)
        alarms += found.too_close
        near += found.near.low > found.near_expected
    assert alarms <= 10  # two one-sided signs at 2.5% each
    assert near > alarms  # Wilson alone would not know that the quantile of 39 distances is itself uncertain


@pytest.mark.parametrize(("n", "rank", "c"), [(7, 1, 10), (200, 2, 39), (50, 5, 99)])
def test_chance_of_a_near_tail_is_beta_binomial(n, rank, c):
    for count in (0, 1, n // 3, n):
        expected = stats.betabinom(n, rank, c + 1 - rank).sf(count - 1)
        assert _at_least_below(count, n, rank, c) == pytest.approx(expected, rel=1e-9)


def test_chance_of_a_near_tail_in_simulation():
    rng = np.random.default_rng(6)
    counts = [(rng.random(30) < np.sort(rng.random(20))[1]).sum() for _ in range(4000)]
    for count in (1, 4, 8):
        assert _at_least_below(count, 30, 2, 20) == pytest.approx(np.mean(np.array(counts) >= count), abs=0.025)


@pytest.fixture
def few_repeats(monkeypatch):
    """Fewer bootstrap draws, where a simulation calls it hundreds of times."""
    inner = _privacy.bootstrap
    monkeypatch.setattr(_privacy, "bootstrap", lambda *a, **kw: inner(*a, **kw, repeats=100))


@pytest.mark.usefixtures("few_repeats")
def test_auc_interval_covers_the_truth_in_about_95_percent_of_experiments():
    rng = np.random.default_rng(7)
    truth = stats.norm.cdf(0.6 / np.sqrt(2))
    covered = np.mean(
        [_closer(rng.normal(-0.6, 1, 60), rng.normal(size=50), seed, 0.95).covers(truth) for seed in range(400)]
    )
    assert 0.90 <= covered <= 0.98


def test_shuffling_scaling_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(8)
    sets = rng.normal(size=(60, 4)), rng.normal(size=(50, 4)), rng.normal(size=(40, 4))
    expected = nearest_distances(*sets)
    assert nearest_distances(*(rng.permutation(data) for data in sets)) == expected
    scaled = nearest_distances(*(4.0 * data for data in sets))
    assert scaled.closer_than_real == expected.closer_than_real
    assert scaled.counts == expected.counts
    assert scaled.medians == {name: 4.0 * value for name, value in expected.medians.items()}
    monkeypatch.setattr("gradtape.evidence._distances._VALUES_AT_ONCE", 7 * 60)
    assert nearest_distances(*sets) == expected


def test_plain_values_survive_json():
    rng = np.random.default_rng(9)
    found = nearest_distances(rng.normal(size=(9, 2)), rng.normal(size=(8, 2)), rng.normal(size=(7, 2)), bins=4)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(plain["edges"]) == 5
    assert plain["counts"]["synthetic"] == list(found.counts["synthetic"])
    assert plain["closer_than_real"]["mean"] == found.closer_than_real.mean


DATA = np.random.default_rng(10).normal(size=(12, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest_distances(DATA[:1], DATA, DATA), "train holds 1 samples"),
        (lambda: nearest_distances(DATA, DATA, DATA[:1]), "control holds 1 samples"),
        (lambda: nearest_distances(DATA, DATA[:, :2], DATA[:5]), "train 3, synthetic 2, control 3"),
        (lambda: nearest_distances(DATA, DATA, DATA), "control is the same sample as train"),
        (lambda: nearest_distances(DATA, DATA, DATA[:5], bins=0), "bins is 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
