import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from gradtape.adaptation import validators
from gradtape.adaptation.choosing import choose, ensemble
from gradtape.adaptation.validators import VALIDATORS, Outputs
from gradtape.errors import InputError

_K = 3
_OF_CLASSES = [name for name in VALIDATORS if name not in ("dev", "source_risk")]


def made(quality=0.8, n=90, seed=0):
    """Outputs of a model that tells 3 classes in both domains, the better the higher ``quality``."""
    rng = np.random.default_rng(seed)
    parts, labels = [], np.arange(n) % _K
    for shift in (0.0, 0.0, 1.0):  # held-out source, training source, target
        inputs = 3.0 * np.eye(_K)[labels] + rng.normal(size=(n, _K)) + shift
        features = quality * 4.0 * np.eye(_K)[labels] + rng.normal(size=(n, _K)) + 0.3 * shift
        logits = quality * 6.0 * np.eye(_K)[labels] + (1.0 - quality) * 3.0 * rng.normal(size=(n, _K))
        parts.append((inputs, features, logits))
    held, train, target = parts
    return Outputs(*held, labels, train[1], *target)


def with_target(logits, **others):
    """Outputs with these logits on the target and as many rows of everything."""
    return made(n=len(logits))._replace(target_logits=np.asarray(logits, dtype=float), **others)


def collapsed(outputs):
    return outputs._replace(target_logits=np.tile([50.0, 0.0, 0.0], (len(outputs.target_logits), 1)))


def test_known_answers_of_what_reads_predictions_alone():
    confident = with_target(1e4 * np.eye(3)[np.arange(9) % 3])
    uniform, same = with_target(np.zeros((9, 3))), with_target(np.tile([1e4, -1e4, 0.0], (9, 1)))
    expected = {
        "entropy": (0.0, -math.log(3), 0.0),
        "information_maximisation": (math.log(3), 0.0, 0.0),
        "bnm": (1.0, 1 / 3, 1 / math.sqrt(3)),
        "snd": (math.log(2 + 6 * math.exp(-20)), math.log(8), math.log(8)),  # two neighbours of one's class; all eight
    }
    for name, answers in expected.items():
        for outputs, answer in zip((confident, uniform, same), answers, strict=True):
            assert VALIDATORS[name](outputs) == pytest.approx(answer, abs=1e-6), name


def test_bnm_of_fewer_rows_than_classes_still_ends_at_one():
    assert VALIDATORS["bnm"](with_target([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]])) == pytest.approx(1.0)


def test_known_entropy_of_two_classes():
    logits = [[math.log(0.8), math.log(0.2)]]
    assert VALIDATORS["entropy"](with_target(logits)) == pytest.approx(0.8 * math.log(0.8) + 0.2 * math.log(0.2))


def test_snd_equals_a_double_loop():
    outputs = made(0.3, n=21)
    p = np.exp(outputs.target_logits) / np.exp(outputs.target_logits).sum(1, keepdims=True)
    found = []
    for i in range(21):
        closeness = [p[i] @ p[j] / (np.linalg.norm(p[i]) * np.linalg.norm(p[j])) for j in range(21) if j != i]
        weights = [math.exp(value / 0.05) for value in closeness]
        shares = [weight / sum(weights) for weight in weights]
        found.append(-sum(share * math.log(share) for share in shares))
    assert VALIDATORS["snd"](outputs) == pytest.approx(np.mean(found), rel=1e-9)


def test_snd_in_blocks_and_on_evenly_spaced_rows(monkeypatch):
    whole = VALIDATORS["snd"](made(0.3))
    monkeypatch.setattr("gradtape.adaptation.validators._PAIRS_AT_ONCE", 7 * 90)
    assert VALIDATORS["snd"](made(0.3)) == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr("gradtape.adaptation.validators._MOST_ROWS", 30)
    outputs = made(0.3)
    kept = [int(row) for row in np.linspace(0, 89, 30)]
    assert VALIDATORS["snd"](outputs) == VALIDATORS["snd"](outputs._replace(target_logits=outputs.target_logits[kept]))


def logistic(rows, labels):
    """Weights of scikit-learn's objective with C = 1, minimised by Newton's method."""
    X, signs = np.hstack([rows, np.ones((len(rows), 1))]), 2.0 * labels - 1.0
    ridge, w = np.diag([1.0] * rows.shape[1] + [0.0]), np.zeros(rows.shape[1] + 1)
    for _ in range(30):
        wrong = 1 / (1 + np.exp(signs * (X @ w)))
        slope = ridge @ w - X.T @ (signs * wrong)
        w -= np.linalg.solve(ridge + (X * (wrong * (1 - wrong))[:, None]).T @ X, slope)
    return w


@pytest.mark.parametrize("regression", [False, True])
def test_dev_equals_its_formula_row_by_row(regression):
    outputs = made(0.3, n=60)
    outputs = outputs._replace(target_features=outputs.target_features[:40])
    if regression:
        outputs = outputs._replace(source_logits=outputs.source_logits[:, :1], target_logits=np.zeros((40, 1)))
    both = np.concatenate([outputs.train_features, outputs.target_features])
    centre, scale = both.mean(0), both.std(0)
    w = logistic((both - centre) / scale, np.repeat([0, 1], [60, 40]))
    ratios, products = [], []
    for feature, logit, label in zip(
        outputs.source_features, outputs.source_logits, outputs.source_labels, strict=True
    ):
        of_target = 1 / (1 + math.exp(-(((feature - centre) / scale) @ w[:-1] + w[-1])))
        ratios.append(60 / 40 * of_target / (1 - of_target))
        products.append(ratios[-1] * ((logit[0] - label) ** 2 if regression else logit.argmax() != label))
    eta = -np.cov(products, ratios)[0, 1] / np.var(ratios, ddof=1)
    assert abs(eta) > 0.01
    expected = np.mean(products) + eta * np.mean(ratios) - eta
    assert VALIDATORS["dev"](outputs) == pytest.approx(-expected, rel=1e-3)


def test_dev_of_equal_domains_is_the_error_on_the_source():
    outputs = made(0.3)
    same = outputs._replace(target_features=outputs.train_features)
    accuracy = np.mean(outputs.source_logits.argmax(1) == outputs.source_labels)
    assert VALIDATORS["source_risk"](same) == pytest.approx(accuracy)
    assert VALIDATORS["dev"](same) == pytest.approx(accuracy - 1, abs=1e-6)


def test_class_clustering_and_reverse_validation_of_clear_classes():
    labels = np.arange(60) % 3
    clear, mixed = 20.0 * np.eye(3)[labels], 20.0 * np.eye(3)[np.arange(60) // 20]
    outputs = made(n=60)._replace(source_inputs=clear, target_inputs=clear, target_features=clear, source_labels=labels)
    right, wrong = outputs._replace(target_logits=clear), outputs._replace(target_logits=mixed)
    assert VALIDATORS["class_clustering"](right) == pytest.approx(1.0)
    assert VALIDATORS["class_clustering"](wrong) == pytest.approx(0.0, abs=0.05)
    assert VALIDATORS["reverse_validation"](right) == 1.0
    assert VALIDATORS["reverse_validation"](wrong) <= 0.5
    swapped = outputs._replace(target_logits=clear[:, [1, 2, 0]])
    assert VALIDATORS["class_clustering"](swapped) == pytest.approx(1.0)  # its blind spot
    assert VALIDATORS["reverse_validation"](swapped) == 0.0


def test_reverse_validation_takes_images_wider_than_its_components():
    outputs = made(n=30)
    pixels = np.random.default_rng(0).normal(size=(30, 3, 10, 10))
    bright = pixels + 2.0 * (np.arange(30) % 3)[:, None, None, None]
    seen = outputs._replace(source_inputs=bright, target_inputs=bright, target_logits=np.eye(3)[np.arange(30) % 3])
    assert VALIDATORS["reverse_validation"](seen) == 1.0
    narrowed = validators._classifier(bright.reshape(30, 300), np.arange(30) % 3)
    assert narrowed[-1].coef_.shape == (3, 30)


@pytest.mark.parametrize("name", VALIDATORS)
def test_the_order_of_rows_does_not_matter(name):
    outputs, rng = made(0.05), np.random.default_rng(1)
    source, train, target = (rng.permutation(90) for _ in range(3))
    mixed = Outputs(*(part[source] for part in outputs[:4]), outputs[4][train], *(part[target] for part in outputs[5:]))
    assert VALIDATORS[name](mixed) == pytest.approx(VALIDATORS[name](outputs), rel=1e-3)


@pytest.mark.parametrize("name", VALIDATORS)
def test_a_better_model_scores_higher(name):
    """Planted: of models from guessing to good, each validator's figures follow the true accuracy on the target."""
    candidates = [made(quality, seed=seed) for seed, quality in enumerate(np.linspace(0.05, 0.8, 12))]
    truth = [np.mean(found.target_logits.argmax(1) == np.arange(90) % _K) for found in candidates]
    assert truth[0] < 0.6 < 0.95 < truth[-1]
    assert spearmanr(truth, [VALIDATORS[name](found) for found in candidates])[0] > 0.5


def test_what_each_validator_makes_of_a_collapse():
    """Planted: a model that puts the target into one class, beside the model it came from."""
    good = made(0.5)
    gone = collapsed(good)
    for name in ("snd", "entropy"):
        assert VALIDATORS[name](gone) > VALIDATORS[name](good)  # their blind spot
    for name in ("information_maximisation", "bnm", "class_clustering", "reverse_validation"):
        assert VALIDATORS[name](gone) < VALIDATORS[name](good) - 0.1
    for name in ("dev", "source_risk"):
        assert VALIDATORS[name](gone) == VALIDATORS[name](good)  # they do not look at the target's predictions
    assert choose([good, gone], "entropy").best == 1
    assert choose([good, gone], ["snd", "entropy"]).best == 0
    best, scores = choose([gone, good], "ensemble")
    assert best == 1
    assert np.isnan(scores["entropy"][0])
    assert list(scores) == [*VALIDATORS, "ensemble"]


_ZEROS, _MANY = np.zeros((12, 3)), np.arange(12) % 3
_EDGES = {
    "one class predicted": collapsed(made(n=12)),
    "identical rows": Outputs(_ZEROS, _ZEROS, _ZEROS, _MANY, _ZEROS, _ZEROS, _ZEROS, _ZEROS),
    "extreme logits": made(n=12)._replace(
        source_logits=1e4 * (2 * np.eye(3)[_MANY] - 1), target_logits=-1e4 * (2 * np.eye(3)[_MANY] - 1)
    ),
    "domains far apart": made(n=12)._replace(target_features=made(n=12).target_features + 1e6),
    "two target rows": Outputs(*made(n=12)[:5], *(part[:2] for part in made(n=12)[5:])),
    "half precision": Outputs(*(part.astype(np.float16) for part in made(n=12))),
}


@pytest.mark.parametrize("outputs", _EDGES.values(), ids=_EDGES)
@pytest.mark.parametrize("name", VALIDATORS)
def test_edges_have_finite_figures(name, outputs):
    found = VALIDATORS[name](outputs)
    assert isinstance(found, float)
    assert math.isfinite(found)


def regression(error=0.1):
    labels = np.linspace(-1, 1, 20)
    rows = np.random.default_rng(0).normal(size=(20, 2))
    return Outputs(rows, rows, (labels + error)[:, None], labels, rows, rows, rows, np.zeros((20, 1)))


def test_regression_is_chosen_by_dev_and_source_risk():
    assert VALIDATORS["source_risk"](regression(0.5)) == pytest.approx(-0.25)
    best, scores = choose([regression(0.5), regression(-0.1)])
    assert best == 1
    assert list(scores) == ["dev", "source_risk", "ensemble"]
    assert scores["ensemble"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", _OF_CLASSES)
def test_what_needs_classes_refuses_regression(name):
    with pytest.raises(InputError, match=f"{name} reads probabilities of classes, and this model has one output"):
        VALIDATORS[name](regression())


def test_ensemble_is_the_mean_rank_by_hand():
    ranks = ensemble({"a": [0.1, 0.3, 0.3, 0.2], "b": [math.nan, -5.0, 7.0, math.nan]})
    assert ranks.tolist() == [(1 + 1.5) / 2, (3.5 + 3) / 2, (3.5 + 4) / 2, (2 + 1.5) / 2]


@pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": [1.0], "b": [1.0, 2.0]}])
def test_ensemble_refuses_uneven_figures(scores):
    with pytest.raises(InputError, match="one figure per candidate and validator"):
        ensemble(scores)


def test_the_first_of_equals_is_chosen():
    assert choose([made(0.2), made(0.7), made(0.7)], "source_risk").best == 1


def test_a_candidate_that_diverged_is_never_chosen():
    good, bad = made(0.2), made(0.8)
    for field in ("target_logits", "source_features"):
        broken = bad._replace(**{field: np.full_like(getattr(bad, field), np.nan)})
        for select in ("source_risk", "ensemble", ["entropy", "dev"]):
            best, scores = choose([broken, good], select)
            assert best == 1
            assert all(np.isnan(found[0]) for name, found in scores.items() if name != "ensemble")
    with pytest.raises(InputError, match="no candidate has finite outputs"):
        choose([broken, broken], "entropy")


@pytest.mark.parametrize(
    ("candidates", "select", "message"),
    [
        ([], "snd", "there are no candidates"),
        ([made(n=6)], "accuracy", "no validator is called 'accuracy'"),
        ([made(n=6)], ["snd", "nonsense"], "no validator is called 'nonsense'"),
        ([made(n=6)], [], "no validator is called 'nothing'"),
        ([with_target([[1.0, 2.0]])], "snd", "snd compares target rows and got 1"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(candidates, select, message):
    with pytest.raises(InputError, match=message):
        choose(candidates, select)
