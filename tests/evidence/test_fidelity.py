import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from gradtape.errors import InputError
from gradtape.evidence import fidelity, frechet_distance, proportion

SIDES = ("precision", "recall", "density", "coverage")


def kth(point, others, k):
    return sorted(float(np.sqrt(((point - other) ** 2).sum())) for other in others)[k - 1]


def twin(synthetic, real, k):
    """The four figures by their definitions, with plain loops."""
    real_reach = [kth(real[i], [real[j] for j in range(len(real)) if j != i], k) for i in range(len(real))]
    made_reach = [
        kth(synthetic[i], [synthetic[j] for j in range(len(synthetic)) if j != i], k) for i in range(len(synthetic))
    ]
    precise, around = 0, 0
    for y in synthetic:
        inside = [float(np.sqrt(((x - y) ** 2).sum())) <= r for x, r in zip(real, real_reach, strict=True)]
        precise += any(inside)
        around += sum(inside)
    recalled = covered = 0
    for x, reach in zip(real, real_reach, strict=True):
        distances = [float(np.sqrt(((x - y) ** 2).sum())) for y in synthetic]
        recalled += any(d <= r for d, r in zip(distances, made_reach, strict=True))
        covered += any(d <= reach for d in distances)
    n, m = len(synthetic), len(real)
    return (precise / n, recalled / m, around / (k * n), covered / m)


def values(found, role="synthetic"):
    return tuple(getattr(getattr(found, side), role) for side in SIDES)


@given(
    n=st.integers(9, 24),
    m=st.integers(9, 24),
    d=st.integers(1, 6),
    k=st.integers(1, 5),
    shift=st.floats(0, 2),
    width=st.floats(0.2, 3),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=25, deadline=None)
def test_equals_the_brute_force_twin(n, m, d, k, shift, width, seed):
    rng = np.random.default_rng(seed)
    synthetic, real, floor = rng.normal(shift, width, (n, d)), rng.normal(size=(m, d)), rng.normal(size=(n, d))
    found = fidelity(synthetic, real, floor, k)
    assert found.k == max(1, min(k, n // 4, m // 4))
    assert values(found) == pytest.approx(twin(synthetic, real, found.k), abs=1e-12)
    assert values(found, "floor") == pytest.approx(twin(floor, real, found.k), abs=1e-12)
    assert (found.n, found.n_real) == (n, m)


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    sets = rng.normal(0.3, 1, (50, 4)), rng.normal(size=(40, 4)), rng.normal(size=(50, 4))
    expected = fidelity(*sets)
    monkeypatch.setattr("gradtape.evidence._distances._VALUES_AT_ONCE", 7 * 40)
    assert values(fidelity(*sets)) == values(expected) == pytest.approx(twin(sets[0], sets[1], 5))


def test_identical_distributions_score_like_the_floor():
    rng = np.random.default_rng(1)
    found = fidelity(*(rng.normal(size=(1000, 8)) for _ in range(3)))
    for side in SIDES:
        figure = getattr(found, side)
        assert figure.synthetic == pytest.approx(figure.floor, abs=0.05)
    assert found.density.synthetic == pytest.approx(1.0, abs=0.08)  # its expectation, by Naeem et al.
    assert found.coverage.synthetic == pytest.approx(1 - 0.5**5, abs=0.03)  # likewise, k = 5 and equal n
    assert found.frechet.synthetic == pytest.approx(found.frechet.floor, rel=0.3)


def test_one_point_covers_little_and_is_precise():
    rng = np.random.default_rng(2)
    real, floor = rng.normal(size=(200, 4)), rng.normal(size=(200, 4))
    found = fidelity(np.tile(real[np.abs(real).sum(1).argmin()], (200, 1)), real, floor)
    assert found.precision.synthetic == 1.0
    assert found.coverage.synthetic < 0.15
    assert found.recall.synthetic <= 1 / 200  # radius zero reaches the copied sample only
    assert found.coverage.floor > 0.9


def test_far_away_scores_nothing():
    rng = np.random.default_rng(3)
    found = fidelity(rng.normal(100, 1, (60, 3)), rng.normal(size=(80, 3)), rng.normal(size=(60, 3)))
    assert values(found) == (0.0, 0.0, 0.0, 0.0)
    assert found.precision.synthetic_interval == proportion(0, 60)  # zero of sixty, not certainly zero
    assert found.frechet.synthetic == pytest.approx(30_000, rel=0.02)


def test_copies_of_the_reference_reach_the_ceilings():
    rng = np.random.default_rng(4)
    real = rng.normal(size=(64, 5))
    found = fidelity(real[::-1], real, rng.normal(size=(64, 5)), k=3)
    assert values(found) == (1.0, 1.0, 4 / 3, 1.0)  # density: the k neighbours on and in the ball, and the copy itself
    assert found.frechet.synthetic == pytest.approx(0.0, abs=1e-9)
    assert [f.ceiling for f in found.figures] == [1.0, 1.0, None, 1.0, 0.0]
    assert [f.better for f in found.figures] == ["higher"] * 4 + ["lower"]


def test_duplicates_do_not_break_self_exclusion():
    real = np.repeat(np.eye(10), 2, axis=0)  # each sample twice: its nearest other sample lies at distance 0
    synthetic = np.vstack([np.eye(10), np.eye(10) * 1.1])
    found = fidelity(synthetic, real, np.eye(20)[:, :10], k=1)
    assert found.precision.synthetic == 0.5
    assert found.coverage.synthetic == 1.0


def test_shuffling_and_scaling_change_nothing():
    rng = np.random.default_rng(5)
    sets = rng.normal(0.4, 1, (90, 6)), rng.normal(size=(70, 6)), rng.normal(size=(90, 6))
    expected = fidelity(*sets)
    shuffled = fidelity(*(rng.permutation(data) for data in sets))
    for one, other in zip(expected.figures[:4], shuffled.figures[:4], strict=True):
        assert one == other
    assert shuffled.frechet.synthetic == pytest.approx(expected.frechet.synthetic, rel=1e-9)
    for factor in (1e-9, 3.7, 1e9):
        scaled = fidelity(*(factor * data + 5.0 * factor for data in sets))
        assert values(scaled) == values(expected)
        assert scaled.frechet.synthetic == pytest.approx(factor**2 * expected.frechet.synthetic, rel=1e-6)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert values(fidelity(*(data @ turn for data in sets))) == values(expected)


def test_the_larger_set_is_thinned_by_the_seed_alone():
    rng = np.random.default_rng(6)
    synthetic, real, floor = rng.normal(0.5, 1, (300, 4)), rng.normal(size=(80, 4)), rng.normal(size=(60, 4))
    found, again, other = (fidelity(synthetic, real, floor, seed=s) for s in (0, 0, 1))
    assert (found.n, found.precision.n, found.frechet.n) == (60, 60, 60)
    assert found == again
    assert values(found) != values(other)
    assert values(found, "floor") == values(other, "floor")
    turned = fidelity(floor, real, synthetic, seed=0)
    assert values(turned) == values(found, "floor")
    assert values(turned, "floor") == values(found)


def test_intervals_belong_to_the_samples_averaged():
    rng = np.random.default_rng(7)
    sets = rng.normal(0.8, 1, (150, 3)), rng.normal(size=(100, 3)), rng.normal(size=(150, 3))
    found = fidelity(*sets)
    for side, n in (("precision", 150), ("recall", 100), ("coverage", 100)):
        figure = getattr(found, side)
        for value, interval in (
            (figure.synthetic, figure.synthetic_interval),
            (figure.floor, figure.floor_interval),
        ):
            assert interval == proportion(round(value * n), n)
    counts = found.density.synthetic_interval
    assert counts.n == 150
    assert counts.low < found.density.synthetic < counts.high
    assert found.frechet.synthetic_interval is None
    plain = found.to_dict()
    assert plain["precision"]["synthetic_interval"]["n"] == 150
    assert plain["k"] == 5


def test_frechet_equals_the_closed_form_with_sqrtm():
    rng = np.random.default_rng(8)
    for d, n, m in ((1, 9, 12), (3, 40, 30), (12, 60, 90)):
        a, b = (
            rng.normal(size=(n, d)) @ rng.normal(size=(d, d)),
            1.0 + rng.normal(size=(m, d)) @ rng.normal(size=(d, d)),
        )
        cov_a, cov_b = np.cov(a, rowvar=False).reshape(d, d), np.cov(b, rowvar=False).reshape(d, d)
        root = np.real(sqrtm(cov_a @ cov_b)).reshape(d, d)
        expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
        assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_known_gaussians():
    a = np.array([[-1.0, -2.0], [-1.0, 2.0], [1.0, -2.0], [1.0, 2.0]]) * np.sqrt(3 / 4)  # covariance diag(1, 4)
    b = 3.0 * a + np.array([5.0, 0.0])  # covariance diag(9, 36)
    assert frechet_distance(a, b) == pytest.approx(25 + (3 - 1) ** 2 + (6 - 2) ** 2, rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-12)


def test_frechet_stays_exact_with_fewer_samples_than_features():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(8, 40)), rng.normal(size=(6, 40))
    centred_a, centred_b = (a - a.mean(0)) / np.sqrt(7), (b - b.mean(0)) / np.sqrt(5)
    crossed = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()  # tr of the root, by another road
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + (centred_a**2).sum() + (centred_b**2).sum() - 2 * crossed
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_thousand_samples_of_64_features_take_less_than_a_second():
    rng = np.random.default_rng(10)
    sets = [rng.normal(size=(1000, 64)) for _ in range(3)]
    fidelity(*sets)
    start = time.process_time()
    fidelity(*sets)
    assert time.process_time() - start < 1.0


DATA = np.random.default_rng(11).normal(size=(20, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fidelity(DATA[:5], DATA, DATA[:6], k=5), "synthetic holds 5 samples, at least 6"),
        (lambda: fidelity(DATA, DATA[:5], DATA), "real holds 5 samples"),
        (lambda: fidelity(DATA, DATA, DATA[:5]), "floor holds 5 samples"),
        (lambda: fidelity(DATA, DATA, DATA.copy()), "floor is the same sample as real"),
        (lambda: fidelity(DATA[:, :2], DATA, DATA[:9]), "synthetic 2, real 3, floor 3"),
        (lambda: fidelity(DATA.ravel(), DATA, DATA), r"synthetic has shape \(60,\)"),
        (lambda: fidelity(DATA, DATA, DATA, k=0), "k is 0"),
        (lambda: frechet_distance(DATA, DATA[:1]), "second holds 1 samples"),
        (lambda: frechet_distance(DATA, np.where(DATA > 2, np.inf, DATA) / 0.0001 * np.inf), "NaN or infinite"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_fewest_samples_allowed_use_one_neighbour():
    rng = np.random.default_rng(12)
    found = fidelity(*(rng.normal(size=(6, 2)) for _ in range(3)), k=5)
    assert found.k == 1
