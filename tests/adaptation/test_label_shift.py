import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chi2_contingency

from gradtape.adaptation import _label_shift as module
from gradtape.adaptation._label_shift import LabelShift, corrected, label_shift
from gradtape.errors import InputError


def sample(shares, n, rng, apart=3.0, temperature=1.0, bias=0.0, moved=0.0):
    """Labels, and what a model says of them: for Gaussians around the corners, right at temperature 1 and bias 0."""
    k = len(shares)
    labels = rng.choice(k, n, p=shares)
    x = rng.normal(size=(n, k)) + apart * np.eye(k)[labels]
    x[:, 0] += moved
    return labels, softmax(apart * x / temperature + bias * np.eye(k)[0], axis=1)


def shift_of(source, target, n, m, seed, **options):
    rng = np.random.default_rng(seed)
    labels, known = sample(source, n, rng, **options)
    return label_shift(known, labels, sample(target, m, rng, **options)[1], seed=seed)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.4, "bias": 1.0}, {"temperature": 3.0, "apart": 2.0}])
def test_a_known_shift_is_estimated_even_from_a_badly_calibrated_model(options):
    source, target = [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]
    found = shift_of(source, target, 1500, 1500, 0, **options)
    assert found.target == pytest.approx(target, abs=0.05)
    assert found.source == pytest.approx(source, abs=0.05)
    assert found.weights == pytest.approx(found.target / found.source)
    assert found.target.sum() == pytest.approx(1.0)
    assert found.shifted
    assert found.p_value < 0.001


def test_the_interval_covers_the_truth_in_95_percent_of_experiments(monkeypatch):
    monkeypatch.setattr(module, "_REPEATS", 100)
    found = [shift_of([0.5, 0.5], [0.75, 0.25], 80, 80, seed) for seed in range(100)]
    assert sum(shift.low[0] <= 0.75 <= shift.high[0] for shift in found) >= 88
    assert np.mean([shift.high[0] - shift.low[0] for shift in found]) < 0.25
    assert sum(shift.shifted for shift in found) >= 70
    assert all((shift.low <= shift.target).all() and (shift.target <= shift.high).all() for shift in found)


def test_no_shift_is_seldom_called_one(monkeypatch):
    monkeypatch.setattr(module, "_REPEATS", 50)
    found = [shift_of([0.6, 0.4], [0.6, 0.4], 80, 80, seed) for seed in range(100)]
    assert sum(shift.shifted for shift in found) <= 10
    assert sum(shift.p_value < 0.05 for shift in found) <= 10


def test_a_shift_needs_both_the_counts_and_the_shares(monkeypatch):
    labels, known = sample([0.5, 0.5], 200, np.random.default_rng(0))
    mostly = known[labels == 1]
    assert label_shift(known, labels, mostly).shifted
    monkeypatch.setattr(module, "_test", lambda *arguments: 1.0)
    assert not label_shift(known, labels, mostly).shifted
    monkeypatch.setattr(module, "_test", lambda *arguments: 0.0)
    assert not label_shift(known, labels, known).shifted


def test_two_newton_steps_come_close_to_a_calibration_of_the_rows_drawn():
    labels, known = sample([0.3, 0.7], 200, np.random.default_rng(0), apart=1.5, temperature=0.5)
    logs, truth = np.log(known), np.eye(2)[labels]
    thetas, shares = module._recalibrated(logs, truth, module._calibration(logs, truth), np.random.default_rng(5))
    rows = np.random.default_rng(5).integers(0, 200, (200, 200))
    for row, theta, share in list(zip(rows, thetas, shares, strict=True))[:20]:
        assert share == pytest.approx(truth[row].mean(axis=0))
        assert theta == pytest.approx(module._calibration(logs[row], truth[row]), abs=0.03)
    assert thetas.std(axis=0).min() > 0.05


def test_the_shares_are_those_of_saerens_row_by_row():
    rng = np.random.default_rng(3)
    p, source = rng.dirichlet([1.0, 1.0, 1.0], 20), np.array([0.2, 0.3, 0.5])
    q = source.tolist()
    for _ in range(2000):
        after = [0.0, 0.0, 0.0]
        for row in p:
            parts = [row[y] * q[y] / source[y] for y in range(3)]
            for y in range(3):
                after[y] += parts[y] / sum(parts) / len(p)
        q = after
    assert module._shares(p[None], source[None], source[None])[0] == pytest.approx(q, abs=1e-3)


def test_calibration_finds_the_temperature_and_the_bias():
    rng = np.random.default_rng(0)
    labels, p = sample([0.3, 0.3, 0.4], 4000, rng, apart=1.5, temperature=0.5, bias=2.0)
    logs, truth = np.log(p), np.eye(3)[labels]
    theta = module._calibration(logs, truth)
    assert theta[0] == pytest.approx(0.5, abs=0.04)
    assert theta[1] - theta[2] == pytest.approx(-1.0 + np.log(0.3 / 0.3), abs=0.15)
    assert module._calibrated(logs, theta[None])[0].mean(axis=0) == pytest.approx(truth.mean(axis=0), abs=1e-3)


def test_slopes_of_the_calibration_by_finite_differences():
    rng = np.random.default_rng(1)
    labels, p = sample([0.5, 0.5], 30, rng, apart=1.0)
    logs, truth, theta = np.log(p), np.eye(2)[labels], np.array([0.7, 0.2, -0.1])
    gradients, hessian = module._slopes(logs, truth, theta)

    def loss(at):
        picked = (module._calibrated(logs, at[None])[0] * truth).sum(axis=1)
        return -np.log(picked).mean() + np.square(at - [1, 0, 0]).sum() / 18 / 30

    for i, step in enumerate(1e-5 * np.eye(3)):
        assert gradients.mean(axis=0)[i] == pytest.approx((loss(theta + step) - loss(theta - step)) / 2e-5, abs=1e-7)
        up, down = (module._slopes(logs, truth, theta + sign * step)[0].mean(axis=0) for sign in (1, -1))
        assert hessian[i] == pytest.approx((up - down) / 2e-5, abs=1e-7)


@pytest.mark.parametrize("counts", [([500, 500], [545, 455]), ([600, 200, 200], [300, 120, 130])])
def test_the_test_agrees_with_the_chi_squared_law_where_rows_are_many(counts):
    source, target = (np.repeat(np.arange(len(part)), part) for part in counts)
    expected = chi2_contingency(np.array(counts), correction=False).pvalue
    found = module._test(source, target, len(counts[0]), np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=0.02)


def test_counts_that_are_the_same_have_a_p_value_of_one():
    rows = np.array([0, 1, 1])
    assert module._test(rows, rows, 3, np.random.default_rng(0)) == 1.0


def test_a_class_without_a_source_row_is_left_at_nothing():
    rng = np.random.default_rng(0)
    labels, p = sample([0.5, 0.0, 0.5], 200, rng)
    found = label_shift(p, labels, sample([0.2, 0.1, 0.7], 300, rng)[1])
    assert [part[1] for part in found[:5]] == [0.0] * 5
    assert found.target.sum() == pytest.approx(1.0)
    assert found.target[2] == pytest.approx(0.75, abs=0.1)
    assert corrected([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]], found) == pytest.approx(np.array([found.target, [0, 0, 1]]))


_EDGES = {
    "two rows and one": ([[0.9, 0.1], [0.2, 0.8]], [0, 1], [[0.3, 0.7]]),
    "sure of each row": (np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1], np.eye(2)[[1, 1, 1]]),
    "sure and wrong": (np.eye(2)[[1, 0, 1, 0]], [0, 1, 0, 1], np.eye(2)[[1, 1, 1]]),
    "the same for each row": (np.full((6, 3), 1 / 3), [0, 1, 2, 0, 1, 2], np.full((5, 3), 1 / 3)),
    "sure of the class without rows": (np.eye(3)[[0, 1, 0]], [0, 1, 0], np.eye(3)[[2, 2]]),
    "float32": (np.full((4, 3), 1 / 3, np.float32), [0, 1, 1, 2], np.full((5, 3), 1 / 3, np.float32)),
}


@pytest.mark.parametrize("parts", _EDGES.values(), ids=_EDGES)
def test_edges_have_finite_answers(parts):
    found = label_shift(*parts)
    assert all(np.isfinite(part).all() for part in found)
    assert found.target.sum() == pytest.approx(1.0)
    assert ((found.low >= 0) & (found.low <= found.target) & (found.target <= found.high)).all()
    assert corrected(parts[2], found).sum(axis=1) == pytest.approx(1.0)
    if len(parts[2]) < 6:
        assert not found.shifted


def test_corrected_predictions_are_better_where_the_shares_shift():
    rng = np.random.default_rng(0)
    labels, known = sample([0.5, 0.5], 500, rng, apart=1.0)
    hidden, p = sample([0.9, 0.1], 1000, rng, apart=1.0)
    fixed = corrected(p, label_shift(known, labels, p))
    assert np.mean(fixed.argmax(1) == hidden) > np.mean(p.argmax(1) == hidden) + 0.05


def test_another_shift_of_the_inputs_is_taken_for_one_and_the_sentence_says_on_what_it_rests():
    rng = np.random.default_rng(0)
    labels, known = sample([0.5, 0.5], 300, rng)
    found = label_shift(known, labels, sample([0.5, 0.5], 300, rng, moved=3.0)[1])
    assert found.shifted  # although the shares are the same
    assert "if it does not, the shares may be the same and the inputs shift" in found.sentence


def test_sentences():
    half = np.array([0.5, 0.5])
    found = LabelShift(half, np.array([0.25, 0.75]), half / 4, half * 1.6, half, 0.00123, True)
    assert found.sentence.startswith(
        "The shares of the classes shift (p = 0.0012): class 0 0.50 -> 0.25 [0.12, 0.80], class 1 0.50 -> 0.75 ["
    )
    assert found._replace(shifted=False).sentence == (
        "No shift in the shares of the classes can be told from chance, if each class looks the same in both domains: "
        "p = 0.0012 for the counts of predictions, and the shares estimated from them lie near enough to the source's."
    )
    assert "class no 0.50 -> 0.25" in found.told(["no", "yes"])
    ten = np.arange(10) ** 2 / 285
    named = LabelShift(np.full(10, 0.1), ten, ten, ten, ten, 0.01, True).sentence
    assert [named.count(f"class {c} ") for c in range(10)] == [1, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_the_same_seed_gives_the_same_answer():
    one, again, other = (
        label_shift(
            *_EDGES["the same for each row"][:2], sample([0.3, 0.3, 0.4], 9, np.random.default_rng(0))[1], seed=s
        )
        for s in (4, 4, 5)
    )
    assert all(np.array_equal(left, right) for left, right in zip(one, again, strict=True))
    assert one.p_value != other.p_value or not np.array_equal(one.low, other.low)


_GOOD, _LABELS = [[0.9, 0.1], [0.2, 0.8]], [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], [0, 1], _GOOD), "source probabilities have shape"),
        ((_GOOD, _LABELS, [[1.0]]), "target probabilities have shape"),
        ((_GOOD, _LABELS, np.zeros((0, 2))), "target probabilities have shape"),
        (([[2.0, 1.0], [0.2, 0.8]], _LABELS, _GOOD), "source probabilities hold rows that are no distribution"),
        ((_GOOD, _LABELS, [[np.nan, 1.0]]), "target probabilities hold rows that are no distribution"),
        ((_GOOD, _LABELS, [[0.2, 0.3, 0.5]]), "the source has 2 classes and the target 3"),
        ((_GOOD, [0, 1, 1], _GOOD), "source_labels has shape"),
        ((_GOOD, [0, 2], _GOOD), "expected 2 whole numbers from 0 to 1"),
        ((_GOOD, [0.0, 1.0], _GOOD), "expected 2 whole numbers from 0 to 1"),
        ((_GOOD, [1, 1], _GOOD), "the source rows are all of one class"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        label_shift(*arguments)


def test_other_arguments_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="level is 5, expected a number between 0 and 1"):
        label_shift(_GOOD, _LABELS, _GOOD, level=5)
    with pytest.raises(InputError, match="the probabilities have 3 classes and the shift 2"):
        corrected([[0.2, 0.3, 0.5]], label_shift(_GOOD, _LABELS, _GOOD))
