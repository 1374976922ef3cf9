import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from gradtape.adaptation.labels import TargetLabels
from gradtape.errors import InputError, LeakError

TOUCHES = {
    "asarray": np.asarray,
    "array of a type": lambda y: np.array(y, dtype=float),
    "numpy function": np.unique,
    "numpy sum": np.sum,
    "numpy operator": lambda y: np.arange(4) == y,
    "numpy operator, labels first": lambda y: y == np.arange(4),
    "loop": list,
    "tolist": lambda y: y.tolist(),
    "reversed": lambda y: list(reversed(y)),
    "index": lambda y: y[0],
    "slice": lambda y: y[1:],
    "equal": lambda y: y == 1,
    "not equal": lambda y: y != 1,
    "less": lambda y: y < 1,
    "in": lambda y: 1 in y,
    "bool": bool,
    "set": lambda y: {y},
    "sorted": sorted,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "torch.as_tensor": torch.as_tensor,
    "torch.tensor": torch.tensor,
    "torch operator": lambda y: torch.arange(4) == y,
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
@pytest.mark.parametrize("opened", [False, True])
def test_every_touch_is_refused_before_and_after_opening(touch, opened):
    labels = TargetLabels([0, 1, 1, 0])
    if opened:
        labels.open()
    with pytest.raises(LeakError, match="the 4 labels of the target are sealed"):
        touch(labels)


@pytest.mark.parametrize("model", [LogisticRegression(), KNeighborsClassifier(1), DecisionTreeClassifier()])
def test_no_estimator_can_be_fitted_on_them(model):
    X = np.arange(8.0).reshape(4, 2)
    with pytest.raises(LeakError):
        model.fit(X, TargetLabels([0, 1, 1, 0]))
    with pytest.raises(LeakError):
        cross_val_score(model, X, TargetLabels([0, 1, 1, 0]), cv=2)


def test_length_and_repr_show_no_label():
    labels = TargetLabels([7] * 1200)
    assert len(labels) == 1200
    assert repr(labels) == "TargetLabels(1,200 labels, sealed)"


def test_a_score_keeps_the_seal_and_opening_breaks_it():
    labels = TargetLabels(["a", "b", "b"])
    assert labels.sealed
    assert labels.score(np.array(["a", "b", "a"])) == pytest.approx(2 / 3)
    assert labels.sealed
    assert labels.open().tolist() == ["a", "b", "b"]
    assert not labels.sealed
    assert repr(labels) == "TargetLabels(3 labels, opened)"


def test_a_metric_takes_the_labels_first():
    labels = TargetLabels([1.0, 2.0])
    assert labels.score([3.0, 5.0], metric=lambda truth, found: (found - truth).sum()) == 5.0
    assert labels.score(torch.tensor([1.0, 0.0])) == 0.5


def test_a_fit_shuts_both_ways_until_the_outermost_ends():
    labels = TargetLabels([0, 1])
    with labels.fitting():
        with labels.fitting():
            pass
        for ask in (lambda: labels.score([0, 1]), labels.open):
            with pytest.raises(LeakError, match="the 2 labels of the target were asked for during a fit"):
                ask()
    assert labels.score([0, 1]) == 1.0


def test_a_fit_that_fails_is_over():
    labels = TargetLabels([0, 1])
    with pytest.raises(ZeroDivisionError), labels.fitting():
        1 / 0  # noqa: B018
    assert labels.open().tolist() == [0, 1]


def test_nobody_holds_the_memory_of_the_labels():
    y = np.array([0, 1])
    labels = TargetLabels(y)
    y[:] = 9
    labels.open()[:] = 9

    def spoil(truth, found):
        truth[:] = 9
        return 0.0

    labels.score([0, 1], metric=spoil)
    assert labels.score([0, 1]) == 1.0


@pytest.mark.parametrize("y", [[], 3])
def test_labels_that_are_none_are_refused(y):
    with pytest.raises(InputError, match="give one label per row"):
        TargetLabels(y)


@pytest.mark.parametrize("predicted", [[0], [0, 1, 1], 0])
def test_predictions_of_another_length_are_refused(predicted):
    with pytest.raises(InputError, match="there are 2 labels"):
        TargetLabels([0, 1]).score(predicted)


def test_labels_of_labels_are_refused():
    with pytest.raises(LeakError):
        TargetLabels(TargetLabels([0, 1]))
