"""Unlearning: disparity falls where it should, the plain predictor is left alone, and every refusal is a sentence."""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torch.nn.functional import cross_entropy

import gradtape as gt
from gradtape.adaptation._unlearning_figures import disparity, of_table
from gradtape.adaptation._unlearning_game import Game, Plan, Projection, Task, train
from gradtape.adaptation._unlearning_inputs import groups_of, without_attribute
from gradtape.adaptation.unlearning import Unlearner
from gradtape.errors import InputError

METHODS = ("reversal", "projection")
ENOUGH = {"reversal": 16, "projection": 6}  # strengths that cut most of the disparity of these data


def proxied(n: int = 1500, groups: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three columns of merit and one that gives the group away; the class depends on merit and on the group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    X = rng.normal(size=(n, 4))
    X[:, 3] = 2 * group + 0.5 * X[:, 3]
    y = (X[:, 0] + X[:, 1] + 1.6 * (group - (groups - 1) / 2) + 0.3 * rng.normal(size=n) > 0).astype(int)
    return X, y, group


def fitted(X: Any, y: Any, group: Any, **settings: Any) -> Unlearner:
    return Unlearner(**{"steps": 250, "width": 24, "batch_size": 256, **settings}).fit(X, y, attribute=group)


@pytest.mark.parametrize("by", METHODS)
def test_disparity_falls_by_seven_tenths_on_new_rows(by: str) -> None:
    X, y, group = proxied()
    fresh, truth, theirs = proxied(4000, seed=1)
    plain = fitted(X, y, group, strength=0, by=by).predict(fresh)
    fair = fitted(X, y, group, strength=ENOUGH[by], by=by).predict(fresh)
    before, after = (demographic_parity_difference(truth, p, sensitive_features=theirs) for p in (plain, fair))
    assert before > 0.3
    assert after < 0.3 * before
    assert (fair == truth).mean() > (plain == truth).mean() - 0.15
    assert 0.3 < fair.mean() < 0.7  # not by answering the same to everybody


def test_the_sign_of_the_reversal_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: a reversal that does not reverse helps the adversary."""
    X, y, group = proxied()
    working = fitted(X, y, group, strength=16).chosen_.disparity.mean
    monkeypatch.setattr(gt.Reverse, "_sign", 1)
    broken = fitted(X, y, group, strength=16).trade_off_
    assert working < 0.4 * broken[0].disparity.mean
    assert broken[1].disparity.mean > 0.8 * broken[0].disparity.mean


def task_of(X: np.ndarray, y: np.ndarray, group: np.ndarray, goal: Any = "demographic_parity") -> Task:
    return Task(torch.from_numpy(X).float(), torch.from_numpy(y), torch.from_numpy(group), goal)


@pytest.mark.parametrize("by", METHODS)
def test_at_strength_zero_the_attribute_plays_no_role(by: Any) -> None:
    X, y, group = proxied(400)
    plan = Plan(by, width=8, steps=30)

    def weights(group: np.ndarray, strength: float) -> torch.Tensor:
        return nn.utils.parameters_to_vector(train(task_of(X, y, group), strength, plan).parameters())

    other = np.roll(group, 1)
    assert torch.equal(weights(group, 0.0), weights(other, 0.0))
    assert not torch.equal(weights(group, 1.0), weights(other, 1.0))
    assert not torch.equal(weights(group, 1.0), weights(group, 0.0))


def test_a_reversal_of_strength_zero_trains_the_plain_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, group = proxied(400)
    task, plan = task_of(X, y, group), Plan(width=8, steps=30)
    plain = nn.utils.parameters_to_vector(train(task, 0.0, plan).parameters())
    monkeypatch.setattr(gt.Reverse, "_sign", 0)  # the adversary plays, and nothing of it comes back
    played = nn.utils.parameters_to_vector(train(task, 1.0, plan).parameters())
    torch.testing.assert_close(played, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("goal", ["demographic_parity", "equalised_odds"])
def test_the_reversal_reverses(goal: Any) -> None:
    X, y, group = proxied(200)
    X[:, 3] *= 4  # told loudly: the critic has little time
    reversal = gt.Reverse(0.5)
    torch.manual_seed(0)
    game = Game(4, 2, 2, goal, 8, reversal)
    found = reversal.check(game, ((torch.from_numpy(X).float(), torch.from_numpy(y)), torch.from_numpy(group)))
    assert found.passed, str(found)
    assert all(name.startswith("predictor.") for name in found.reversed)
    assert all(name.startswith("adversary.") for name in found.plain)
    assert found.measured == pytest.approx(0.5, rel=1e-3)


def turned(strength: float, goal: Any = "demographic_parity") -> dict[str, torch.Tensor]:
    """The predictor's gradient g, that of the adversary's loss h, and what the optimizer steps with, as vectors."""
    X, y, group = (torch.from_numpy(part) for part in proxied(200))
    torch.manual_seed(0)
    game = Game(4, 2, 2, goal, 8, nn.Identity()).double()
    weights = list(game.predictor.parameters())
    optimizer = torch.optim.SGD(weights, lr=0.0)
    projection = Projection(optimizer, gt.schedules.constant(strength))
    logits, guesses = game(X, y)
    losses = cross_entropy(logits, y), cross_entropy(guesses, group)
    found = {
        name: torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights, retain_graph=True)])
        for name, loss in zip("gh", losses, strict=True)
    }
    projection.backward(*losses, game.adversary)
    own = [parameter.grad.clone() for parameter in game.adversary.parameters()]
    expected = torch.autograd.grad(losses[1], list(game.adversary.parameters()))
    torch.testing.assert_close(own, list(expected), rtol=0, atol=0)  # the adversary's own gradient is left as it is
    optimizer.step()
    return found | {"made": torch.cat([weight.grad.flatten() for weight in weights])}


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_nothing_along_the_adversary_is_left_by_the_projection() -> None:
    found = turned(0.0)
    assert abs(cosine(found["g"], found["h"])) > 0.01
    assert abs(cosine(found["made"], found["h"])) < 1e-6


def test_the_projected_gradient_is_that_of_the_paper() -> None:
    found = turned(0.7)
    g, h = found["g"], found["h"]
    torch.testing.assert_close(found["made"], g - (g @ h) / (h @ h) * h - 0.7 * h, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("goal", ["demographic_parity", "equalised_odds"])
def test_a_projected_step_raises_the_adversarys_loss_as_much_as_its_strength_says(goal: Any) -> None:
    """A finite difference: to first order, along -made the adversary's loss changes by strength times its slope."""
    X, y, group = (torch.from_numpy(part) for part in proxied(200))
    found = turned(2.0, goal)
    torch.manual_seed(0)
    game = Game(4, 2, 2, goal, 8, nn.Identity()).double()
    losses = []
    for length in (-1e-5, 1e-5):
        start = nn.utils.parameters_to_vector(game.predictor.parameters()).detach()
        nn.utils.vector_to_parameters(start - length * found["made"], game.predictor.parameters())
        losses.append(cross_entropy(game(X, y)[1], group).item())
        nn.utils.vector_to_parameters(start, game.predictor.parameters())
    slope = (losses[1] - losses[0]) / 2e-5
    assert slope == pytest.approx(2.0 * float(found["h"] @ found["h"]), rel=1e-4)


def lenient(n: int, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The groups differ in merit, and a column that gives the group away is of use beside what shows merit."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, n)
    y = rng.binomial(classes - 1, np.where(group, 0.65, 0.35))
    X = rng.normal(size=(n, 3))
    X[:, 0] += 1.6 * y
    X[:, 1] = 2 * group + 0.4 * X[:, 1]
    return X, y, group


def test_equalised_odds_are_another_goal() -> None:
    X, y, group = lenient(2000, 0)
    fresh, truth, theirs = lenient(6000, 1)
    odds, parity = {}, {}
    for name, settings in {
        "plain": {"strength": 0},
        "odds": {"strength": 8, "goal": "equalized_odds"},
        "parity": {"strength": 16},
    }.items():
        said = fitted(X, y, group, **settings).predict(fresh)
        odds[name] = equalized_odds_difference(truth, said, sensitive_features=theirs)
        parity[name] = demographic_parity_difference(truth, said, sensitive_features=theirs)
    assert odds["odds"] < 0.4 * odds["plain"]
    assert parity["odds"] > 2 * parity["parity"]  # the groups do differ, and this goal lets them
    assert parity["parity"] < 0.3 * parity["plain"]


def test_many_classes_and_many_groups() -> None:
    X, _, group = proxied(1500, groups=3)
    y = np.array(["low", "middle", "top"])[np.digitize(X[:, 0] + 0.8 * (group - 1), [-0.7, 0.7])]
    names = np.array(["north", "south", "west"])[group]
    model = fitted(X, y, names, strength=24)
    assert list(model.classes_) == ["low", "middle", "top"]
    assert list(model.groups_) == ["north", "south", "west"]
    assert model.predict_proba(X[:5]).shape == (5, 3)
    plain, chosen = model.trade_off_
    assert chosen.disparity.mean < 0.6 * plain.disparity.mean
    assert len(np.unique(model.predict(X))) == 3  # not by answering the same to everybody


def test_equalised_odds_of_many_classes() -> None:
    X, y, group = lenient(2000, 0, classes=3)
    fresh, truth, theirs = lenient(6000, 1, classes=3)
    plain, fair = (
        disparity(
            truth, fitted(X, y, group, strength=s, goal="equalised_odds").predict(fresh), theirs, "equalised_odds"
        )
        for s in (0, 12)
    )
    assert fair.high < plain.low
    assert fair.mean < 0.8 * plain.mean


@pytest.mark.parametrize("goal", ["demographic_parity", "equalised_odds"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_interval_is_of_fairlearns_figure(goal: Any, classes: int) -> None:
    rng = np.random.default_rng(0)
    y, said, group = (rng.integers(0, k, 300) for k in (classes, classes, 4))
    measure = demographic_parity_difference if goal == "demographic_parity" else equalized_odds_difference
    theirs = max(measure(y == c, said == c, sensitive_features=group) for c in range(classes))
    table = np.zeros((4, classes, classes))
    np.add.at(table, (group, y, said), 1)
    found = disparity(y, said, group, goal)
    assert found.mean == pytest.approx(theirs, abs=1e-12)
    assert of_table(table, goal) == pytest.approx(theirs, abs=1e-12)
    assert found.low <= found.mean <= found.high
    assert found == disparity(y, said, group, goal)


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        group = rng.integers(0, 2, 400)
        said = (rng.random(400) < np.where(group, 0.6, 0.3)).astype(int)
        covered += disparity(said, said, group, "demographic_parity").covers(0.3)
    assert covered >= 90


def test_auto_takes_the_most_accurate_of_the_fair_enough() -> None:
    X, y, group = proxied()
    model = fitted(X, y, group, strengths=(4, 12, 24), tolerance=0.4)
    rows = model.trade_off_
    assert [row.strength for row in rows] == [0, 4, 12, 24]
    able = [row for row in rows if row.disparity.mean <= 0.4 * rows[0].disparity.mean]
    assert model.chosen_ in able
    assert model.chosen_.accuracy.mean == max(row.accuracy.mean for row in able)
    one = fitted(X, y, group, strength=model.chosen_.strength)
    assert np.array_equal(one.predict_proba(X), model.predict_proba(X))  # strengths do not touch one another


def test_a_strength_that_is_not_found_is_said() -> None:
    X, y, group = proxied(600)
    with pytest.warns(UserWarning, match=r"no strength brought the demographic-parity difference from 0\.\d+ down to"):
        model = fitted(X, y, group, strengths=(0.01,), tolerance=0.1, steps=60)
    assert model.chosen_.disparity.mean == min(row.disparity.mean for row in model.trade_off_)


def frame(n: int = 600) -> tuple[pd.DataFrame, np.ndarray]:
    X, y, group = proxied(n)
    table = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    table["area"] = np.where(X[:, 3] > 1, "east", "west")
    table["sex"] = np.where(group == 1, "m", "f")
    table.loc[::7, "a"] = np.nan
    table.loc[::11, "area"] = None
    return table, y


def test_a_frame_with_the_attribute_in_a_column() -> None:
    table, y = frame()
    model = Unlearner("sex", strength=4, steps=100, width=16).fit(table, y)
    other = table.assign(sex=np.where(table.sex == "m", "f", "m"))
    assert np.array_equal(model.predict_proba(table), model.predict_proba(other))
    assert np.array_equal(model.predict_proba(table), model.predict_proba(table.drop(columns="sex")))
    assert list(model.feature_names_in_) == ["a", "b", "c", "area"]
    given = Unlearner(strength=4, steps=100, width=16).fit(table.drop(columns="sex"), y, attribute=table.sex)
    assert np.array_equal(model.predict_proba(table), given.predict_proba(table.drop(columns="sex")))
    by_place = Unlearner(4, strength=4, steps=100, width=16).fit(table, y)
    assert np.array_equal(model.predict_proba(table), by_place.predict_proba(table))
    odd = table.head(2).assign(area="elsewhere", a=np.nan)
    assert np.isfinite(model.predict_proba(odd)).all()


def test_an_array_with_the_attribute_in_a_column() -> None:
    X, y, group = proxied(300)
    model = Unlearner(-1, strength=2, steps=50).fit(np.column_stack([X, group]), y)
    assert model.n_features_in_ == 4
    assert np.array_equal(model.predict(X), model.predict(np.column_stack([X, 1 - group])))


def test_same_seed_same_predictions_and_the_global_random_state_is_left_alone() -> None:
    X, y, group = proxied(300)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (fitted(X, y, group, strength=2, steps=40, seed=s).predict_proba(X) for s in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_picture_has_a_point_for_each_strength(tmp_path: Any) -> None:
    X, y, group = proxied(600)
    model = fitted(X, y, group, strengths=(4, 8), tolerance=1.0, steps=60)
    model.save_trade_off(tmp_path / "trade-off.svg")
    root = ET.fromstring((tmp_path / "trade-off.svg").read_text(encoding="utf-8"))
    points = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(points) == 3
    assert [point.get("class") for point in points].count("p f") == 1
    assert all(0 < float(point.get("cx")) < 660 and 0 < float(point.get("cy")) < 420 for point in points)
    assert points[0].find("{http://www.w3.org/2000/svg}title").text == str(model.trade_off_[0])


X, Y, GROUP = proxied(40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Unlearner().fit(X, Y), "the attribute to unlearn was given nowhere: name its column"),
        (lambda: Unlearner(0).fit(X, Y, attribute=GROUP), "was given twice"),
        (lambda: Unlearner("sex").fit(pd.DataFrame({"a": [1], "b": [2]}), [0]), "no column 'sex'.*its columns: a, b"),
        (lambda: Unlearner(9).fit(X, Y), r"column 9 of an array of shape \(40, 4\)"),
        (lambda: Unlearner().fit(X, Y, attribute=np.ones(40)), "the attribute is 1.0 in every row"),
        (lambda: Unlearner().fit(X, Y, attribute=GROUP[:9]), r"has shape \(9,\) and there are 40 rows"),
        (lambda: Unlearner().fit(X, Y, attribute=np.arange(40)), "group 0 of the attribute has a single row, of 40"),
        (
            lambda: Unlearner().fit(X, Y, attribute=np.where(np.arange(40) == 7, np.nan, GROUP)),
            "missing in 1 of 40 rows, the first of them row 7",
        ),
        (lambda: groups_of(pd.Series(["a", None, "b"]), 3), "missing in 1 of 3 rows, the first of them row 1"),
        (lambda: groups_of(["a", 1, "b"][:1] + [None] * 2, 3), "missing in 2 of 3 rows"),
        (lambda: groups_of(np.array(["a", 1], dtype=object), 2), "the attribute mixes int, str"),
        (lambda: without_attribute(X, True), "column True of an array"),
        (
            lambda: Unlearner(goal="equalised_odds").fit(X, np.where(GROUP == 1, 0, Y), attribute=GROUP),
            "the group 1 has 0 rows of the class 1, and equalised odds compares groups class by class",
        ),
        (lambda: Unlearner().fit(X, np.zeros(40), attribute=GROUP), "y holds one class only, 0.0"),
        (lambda: Unlearner().fit(X, Y[:9], attribute=GROUP), "there are 40 rows of X and 9 of y"),
        (lambda: Unlearner(goal="justice").fit(X, Y, attribute=GROUP), "goal is 'justice': use one of 'demographic"),
        (lambda: Unlearner(by="magic").fit(X, Y, attribute=GROUP), "by is 'magic': use one of 'reversal', 'proj"),
        (lambda: Unlearner(strength=-1).fit(X, Y, attribute=GROUP), "strength is -1: give finite numbers from 0 up"),
        (lambda: Unlearner(strength="much").fit(X, Y, attribute=GROUP), "strength is 'much'"),
        (lambda: Unlearner(strengths=()).fit(X, Y, attribute=GROUP), r"strengths is \(\)"),
        (lambda: Unlearner(strength=math.inf).fit(X, Y, attribute=GROUP), "strength is inf"),
        (lambda: Unlearner(tolerance=2).fit(X, Y, attribute=GROUP), "tolerance is 2: give a share from 0 to 1"),
        (lambda: Unlearner(steps=0).fit(X, Y, attribute=GROUP), "steps is 0: give a whole number"),
        (lambda: Unlearner(width=1.5).fit(X, Y, attribute=GROUP), "width is 1.5: give a whole number"),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_without_fairlearn_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fairlearn.metrics", None)
    with pytest.raises(InputError, match=r"fairlearn.*is not installed: pip install 'gradtape\[fairness\]'"):
        fitted(X, Y, GROUP, strength=0, steps=1)


class Supplied(Unlearner):
    """An Unlearner whose attribute alternates, so that scikit-learn's checks, which know of none, can run."""

    def fit(self, X: Any, y: Any) -> Supplied:  # type: ignore[override]
        return super().fit(X, y, attribute=np.arange(np.asarray(y).size) % 2)


def test_the_habits_of_scikit_learn() -> None:
    check_estimator(Supplied(strength=0.1, steps=100, width=24, batch_size=64), on_skip=None)
    copied = clone(Unlearner("sex", goal="equalized_odds", strengths=(1, 2)))
    assert copied.get_params()["goal"] == "equalized_odds"
