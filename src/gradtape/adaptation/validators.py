"""How good a model is on a target without labels: eight ways to guess it, none of which sees a label of the target."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradtape.errors import InputError
from gradtape.seeding import derive

FloatArray = NDArray[np.float64]
_MOST_ROWS = 2_000  # of each part, for what fits a model or compares all pairs
_MOST_COMPONENTS = 200
_PAIRS_AT_ONCE = 1_000_000


class Outputs(NamedTuple):
    """Everything a validator may see of a model: finite numpy arrays, and no label of the target.

    The source rows are a part that the model was not trained on. ``k`` is the number of classes, or 1 for regression.

    Attributes:
        source_inputs: (n, ...) inputs.
        source_features: (n, d) what the model makes of them before its last layer.
        source_logits: (n, k) its outputs.
        source_labels: (n,) classes 0 to k - 1, or the numbers to predict.
        train_features: (N, d) features of the source rows that the model was trained on.
        target_inputs: (m, ...) inputs.
        target_features: (m, d) features.
        target_logits: (m, k) outputs.
    """

    source_inputs: NDArray[Any]
    source_features: NDArray[Any]
    source_logits: NDArray[Any]
    source_labels: NDArray[Any]
    train_features: NDArray[Any]
    target_inputs: NDArray[Any]
    target_features: NDArray[Any]
    target_logits: NDArray[Any]


Validator = Callable[[Outputs], float]


def snd(outputs: Outputs) -> float:
    """Soft neighbourhood density: how many neighbours of much the same prediction a target row has.

    ``mean_i H(softmax_{j ≠ i}(cos(p_i, p_j) / 0.05))`` with ``p = softmax(target_logits)``, from 0 to log(m - 1); of
    more than 2,000 rows, 2,000 evenly spaced ones. Blind spot: a model that gives every row the same answer is densest.

    Raises:
        InputError: Regression, or fewer than 2 target rows.

    Source: Saito et al., Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood
    Density, ICCV 2021.
    """
    from scipy.special import entr, softmax

    p = _evenly(_probabilities(outputs, "snd"))
    if len(p) < 2:
        raise InputError(f"snd compares target rows and got {len(p)}", remedy="give at least 2")
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    total, step = 0.0, max(1, _PAIRS_AT_ONCE // len(p))
    for start in range(0, len(p), step):
        closeness = p[start : start + step] @ p.T / 0.05
        closeness[np.arange(len(closeness)), np.arange(start, start + len(closeness))] = -np.inf
        total += float(entr(softmax(closeness, axis=1)).sum())
    return total / len(p)


def entropy(outputs: Outputs) -> float:
    """Confidence: minus the mean entropy of the predictions on the target.

    ``-mean_i H(p_i)``, from -log k (knows nothing) to 0 (sure of each row). Blind spot: it is as pleased with a model
    that is sure and wrong, such as one that puts every row into one class.

    Raises:
        InputError: Regression.

    Examples:
        >>> from gradtape.adaptation.validators import entropy
        >>> rows, labels = np.zeros((4, 2)), np.array([0, 1, 0, 1])
        >>> undecided = Outputs(rows, rows, rows, labels, rows, rows, rows, target_logits=rows)
        >>> print(f"{entropy(undecided):.3f}")  # minus log 2
        -0.693

    Source: Morerio et al., Minimal-Entropy Correlation Alignment for Unsupervised Deep Domain Adaptation, ICLR 2018.
    """
    return -_mean_entropy(_probabilities(outputs, "entropy"))


def information_maximisation(outputs: Outputs) -> float:
    """Confidence and variety: the entropy of the mean prediction on the target minus the mean entropy.

    ``H(mean_i p_i) - mean_i H(p_i)``, the mutual information of row and prediction, from 0 (the same prediction
    everywhere) to log k. Blind spot: it takes balanced classes for better ones, and does not see that two are swapped.

    Raises:
        InputError: Regression.

    Source: Krause, Perona & Gomes, Discriminative Clustering by Regularized Information Maximization, NeurIPS 2010;
    as a validator in Musgrave, Belongie & Lim, Three New Validators and a Large-Scale Benchmark Ranking for
    Unsupervised Domain Adaptation, 2022.
    """
    p = _probabilities(outputs, "information_maximisation")
    return _mean_entropy(p.mean(axis=0, keepdims=True)) - _mean_entropy(p)


def bnm(outputs: Outputs) -> float:
    """Confidence and variety by the nuclear norm of the matrix P of predictions on the target.

    ``‖P‖_* / sqrt(m min(m, k))``, at most 1: sure of each row, and all classes equally frequent. Blind spot: as
    information maximisation, it expects balanced classes, and swapped ones look as good.

    Raises:
        InputError: Regression.

    Source: Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label Insufficient
    Situations, CVPR 2020.
    """
    p = _probabilities(outputs, "bnm")
    return float(np.linalg.norm(p, "nuc")) / math.sqrt(len(p) * min(p.shape))


def dev(outputs: Outputs) -> float:
    """Deep embedded validation: minus the error on source rows, each weighted by how much it looks like the target.

    ``-(mean(w l) + η mean(w) - η)`` with ``w = p_target(f) / p_source(f)`` from a logistic regression between
    ``train_features`` and ``target_features`` (at most 2,000 rows of each), ``l`` the error of a source row (0 or 1;
    squared in regression), and ``η = -cov(w l, w) / var(w)`` to lessen the variance. Blind spot: where the features of
    both domains do not overlap, a few source rows carry all the weight and the figure is noise; and it is wrong where
    rows of the same features have other labels in the target.

    Source: You et al., Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation, ICML 2019.
    """
    train, target = _evenly(_rows(outputs.train_features)), _evenly(_rows(outputs.target_features))
    separator = _classifier(np.concatenate([train, target]), np.repeat([0, 1], [len(train), len(target)]))
    log_ratio = separator.decision_function(_rows(outputs.source_features)) + math.log(len(train) / len(target))
    weights = np.exp(np.clip(log_ratio, -30.0, 30.0))
    weighted = weights * _errors(outputs)
    variance = float(weights.var())
    eta = -float(np.mean((weighted - weighted.mean()) * (weights - weights.mean()))) / variance if variance else 0.0
    return -float(weighted.mean() + eta * (weights.mean() - 1.0))


def class_clustering(outputs: Outputs) -> float:
    """Agreement of the predictions on the target with the clusters that its features form.

    The adjusted mutual information, about 0 (chance) to 1 (the same partition), of the predicted classes with k-means
    of ``target_features`` (k clusters, at most 2,000 rows); 0 where all features are the same. Blind spot: features
    whose clusters are not the classes, and the names of classes: swapped ones look as good.

    Raises:
        InputError: Regression.

    Source: Musgrave, Belongie & Lim, Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain
    Adaptation, 2022.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    p = _probabilities(outputs, "class_clustering")
    features, predicted = _evenly(_rows(outputs.target_features)), _evenly(p.argmax(axis=1))
    order = np.lexsort(features.T)  # the random start depends on the order of rows: give it one of its own
    features, predicted = features[order], predicted[order]
    clusters = min(p.shape[1], len(np.unique(features, axis=0)))
    if clusters < 2:
        return 0.0
    means = KMeans(clusters, n_init=4, random_state=derive(0, "adaptation", "k-means") % 2**32)
    return float(adjusted_mutual_info_score(predicted, means.fit_predict(features)))


def reverse_validation(outputs: Outputs) -> float:
    """The way back: the accuracy on the source of a classifier that learned the target from the model's predictions.

    A logistic regression on ``target_inputs`` (flattened, standardised, at most 200 principal components and 2,000
    rows) with the predictions as labels, measured on ``source_inputs``; from 0 to 1. Blind spot: a task that a linear
    model of the inputs cannot learn, and domains so far apart that nothing learned in one holds in the other.

    Raises:
        InputError: Regression.

    Source: Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17, 2016, there with the adapted
    network itself trained backwards.
    """
    predicted = _evenly(_probabilities(outputs, "reverse_validation").argmax(axis=1))
    source = _rows(outputs.source_inputs)
    if len(np.unique(predicted)) == 1:
        return float(np.mean(outputs.source_labels == predicted[0]))
    back = _classifier(_evenly(_rows(outputs.target_inputs)), predicted)
    return float(np.mean(back.predict(source) == outputs.source_labels))


def source_risk(outputs: Outputs) -> float:
    """The model on held-out source rows: its accuracy, or minus the mean squared error in regression.

    Accuracy rather than cross-entropy, so that it stands on the scale of the target's accuracy, which it tends to
    overstate. Blind spot: it knows nothing of the target.

    Source: the control that every other validator has to beat.
    """
    return (0.0 if _is_regression(outputs) else 1.0) - float(_errors(outputs).mean())


VALIDATORS: dict[str, Validator] = {
    "snd": snd,
    "entropy": entropy,
    "information_maximisation": information_maximisation,
    "bnm": bnm,
    "dev": dev,
    "class_clustering": class_clustering,
    "reverse_validation": reverse_validation,
    "source_risk": source_risk,
}


def _is_regression(outputs: Outputs) -> bool:
    return bool(outputs.target_logits.shape[1] == 1)


def _probabilities(outputs: Outputs, name: str) -> FloatArray:
    """Return the predictions on the target, (m, k)."""
    from scipy.special import softmax

    if _is_regression(outputs):
        raise InputError(
            f"{name} reads probabilities of classes, and this model has one output",
            remedy="choose a regression by dev or source_risk, and give two columns of logits for two classes",
        )
    found: FloatArray = softmax(outputs.target_logits.astype(np.float64), axis=1)
    return found


def _errors(outputs: Outputs) -> FloatArray:
    """Return the error of each source row, (n,): 0 or 1, or the squared error in regression."""
    errors: FloatArray
    if _is_regression(outputs):
        errors = np.square(outputs.source_logits[:, 0].astype(np.float64) - outputs.source_labels.reshape(-1))
    else:
        errors = (outputs.source_logits.argmax(axis=1) != outputs.source_labels).astype(np.float64)
    return errors


def _mean_entropy(p: FloatArray) -> float:
    from scipy.special import entr

    return float(entr(p).sum(axis=1).mean())


def _rows(array: NDArray[Any]) -> FloatArray:
    """Return each sample as one row of float64."""
    rows: FloatArray = array.reshape(len(array), -1).astype(np.float64)
    return rows


def _evenly(array: NDArray[Any]) -> NDArray[Any]:
    """Return at most 2,000 rows, evenly spaced."""
    kept: NDArray[Any] = array[np.linspace(0, len(array) - 1, min(len(array), _MOST_ROWS)).astype(int)]
    return kept


def _classifier(X: FloatArray, y: NDArray[Any]) -> Any:
    """Return a logistic regression fitted to standardised rows, behind principal components where they are wide."""
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[Any] = [StandardScaler()]
    if X.shape[1] > _MOST_COMPONENTS:
        steps.append(PCA(min(_MOST_COMPONENTS, len(X)), svd_solver="randomized", random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a ranking needs no last digit
        return make_pipeline(*steps, LogisticRegression(max_iter=200)).fit(X, y)
