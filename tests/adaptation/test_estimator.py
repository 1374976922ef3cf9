"""The estimator: what it learns, what it may not see, what it refuses, and how it goes on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn
from torch.utils.data import TensorDataset

import gradtape as gt
from gradtape.adaptation import METHODS, TargetLabels, _search, slow_ramp
from gradtape.errors import GradientError, GradtapeError, InputError, LeakError, RunError
from gradtape.runs import Run


class Pair(NamedTuple):
    Xs: NDArray[Any]
    ys: NDArray[Any]
    Xt: NDArray[Any]
    yt: NDArray[Any]


def misled(n: int = 400, seed: int = 0, shift: float = 6.0, prevalence: float = 0.5) -> Pair:
    """Two classes that the first column tells (.98); the second tells them too, and nothing in a shifted target."""
    rng = np.random.default_rng(seed)
    ys, yt = np.arange(n) % 2, (rng.random(n) < prevalence).astype(int)
    Xs = np.stack([rng.normal(4.0 * ys), rng.normal(4.0 * ys)], axis=1)
    Xt = np.stack([rng.normal(4.0 * yt), rng.normal(shift or 4.0 * yt, 0.5, size=n)], axis=1)
    return Pair(Xs, ys, Xt, yt)


def adapter(method: Any = "dann", **settings: Any) -> gt.DomainAdapter:
    return gt.DomainAdapter(method, **{"steps": 40, "batch_size": 32, **settings})


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_scikit_learns_checks_pass(task: str) -> None:
    failed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one, check in estimator_checks_generator(gt.DomainAdapter(task=task, steps=40, batch_size=32)):
            try:
                check(one)
            except Exception as error:
                if type(error).__name__ != "SkipTest":
                    failed.append((check, error))
    assert not failed


def test_a_shift_that_misleads_source_only_is_adapted_to() -> None:
    pair = misled()
    fitted = adapter(steps=300).fit(*pair[:3], TargetLabels(pair.yt))
    table = {row.name: row.accuracy for row in fitted.outcome_.table}
    assert table["source only"] is not None
    assert table["chosen"] is not None
    assert table["source only"].mean < 0.6
    assert table["chosen"].mean > 0.85
    assert fitted.score(pair.Xt, pair.yt) == table["chosen"].mean
    assert fitted.outcome_.verdict.kind == "helps"
    assert fitted.outcome_.gain is not None
    assert fitted.outcome_.gain.mean == pytest.approx(table["chosen"].mean - table["source only"].mean)


def test_without_a_shift_it_is_not_said_to_help() -> None:
    pair = misled(shift=0.0)
    fitted = adapter().fit(*pair[:3], TargetLabels(pair.yt))
    assert fitted.outcome_.verdict.kind == "does not help"
    assert "is not shown to help" in fitted.outcome_.verdict.sentence
    assert adapter().fit(*pair[:3]).outcome_.verdict.kind == "unknown"


def test_labels_of_the_target_change_nothing_but_the_table() -> None:
    pair = misled(n=80)
    asked: dict[str, Any] = {"select": "ensemble", "strength": [0.1, 1.0], "steps": 20}
    blind = adapter(["dann", "mcc"], **asked).fit(*pair[:3])
    told = adapter(["dann", "mcc"], **asked).fit(*pair[:3], TargetLabels(pair.yt))
    lied = adapter(["dann", "mcc"], **asked).fit(*pair[:3], TargetLabels(1 - pair.yt))
    for other in (told, lied):
        assert np.array_equal(blind.predict_proba(pair.Xt), other.predict_proba(pair.Xt))
        assert blind.outcome_.chosen == other.outcome_.chosen
        assert [one.scores for one in blind.outcome_.candidates] == [one.scores for one in other.outcome_.candidates]
    accuracies = [one.accuracy for one in told.outcome_.candidates]
    assert accuracies == [pytest.approx(1 - (one.accuracy or 0)) for one in lied.outcome_.candidates]
    assert told.outcome_.oracle == int(np.argmax(np.array(accuracies, float)))


def test_labels_of_the_target_that_a_fit_touches_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, labels = misled(n=40), TargetLabels([0] * 40)
    monkeypatch.setattr(_search, "outputs_of", lambda *_: labels.open())
    with pytest.raises(LeakError, match="during a fit"):
        adapter(steps=4).fit(*pair[:3], labels)
    with pytest.raises(LeakError):
        adapter(steps=4).fit(pair.Xs, labels.score, pair.Xt) if False else np.asarray(labels)
    with pytest.raises(InputError, match="those of the target are yt"):
        adapter(steps=4).fit(pair.Xs, labels, pair.Xt)


def test_a_validator_chooses_method_strength_and_step() -> None:
    pair = misled()
    fitted = adapter(["dann", "mcc"], select="information_maximisation", steps=100).fit(*pair[:3])
    candidates = fitted.outcome_.candidates
    assert [(one.method, one.strength) for one in candidates[::5]] == [
        ("source", None),
        *((name, strength) for name in ("dann", "mcc") for strength in (0.1, 0.5, 1.0)),
    ]
    assert [one.step for one in candidates[:5]] == [20, 40, 60, 80, 100]
    scores = [one.scores["information_maximisation"] for one in candidates]
    assert fitted.outcome_.chosen == int(np.argmax(scores))
    p = fitted.predict_proba(pair.Xt)
    found = -(p.mean(0) * np.log(p.mean(0))).sum() + (p * np.log(p)).sum(1).mean()
    assert found == pytest.approx(max(scores), abs=1e-5)


def test_nothing_is_chosen_by_nine_rows_of_a_class() -> None:
    pair = misled(n=200)
    for few, methods in ((9, {"source"}), (10, {"source", "dann"})):
        rows = np.concatenate([np.flatnonzero(pair.ys == 0)[:few], np.flatnonzero(pair.ys == 1)])
        fitted = adapter(select="entropy", steps=20).fit(pair.Xs[rows], pair.ys[rows], pair.Xt)
        assert fitted.outcome_.candidates[fitted.outcome_.chosen].method in methods
        assert ("9 rows of its rarest class" in fitted.outcome_.verdict.sentence) == (few == 9)


def test_a_training_that_diverges_is_said_to() -> None:
    with pytest.raises(GradientError, match="diverged"):
        adapter(learning_rate=1e6, steps=20).fit(*misled(n=40)[:3])


def test_a_shift_of_prevalence_is_said_and_corrected() -> None:
    pair = misled(n=600, shift=0.0, prevalence=0.9)
    fitted = adapter("dann", steps=150).fit(*pair[:3])
    shift = fitted.outcome_.label_shift
    assert shift is not None
    assert shift["shifted"]
    assert shift["target"][1] == pytest.approx(0.9, abs=0.04)
    assert "shares of the classes may differ" in fitted.outcome_.verdict.sentence
    assert "class 0 0.50" in shift["sentence"]
    corrected = adapter("dann", steps=150, label_shift="correct").fit(*pair[:3])
    centre = np.array([[2.0, 2.0]])
    assert corrected.predict_proba(centre)[0, 1] > fitted.predict_proba(centre)[0, 1]
    level = adapter("dann", steps=150).fit(*misled(n=600, shift=0.0)[:3]).outcome_.label_shift
    assert level is not None
    assert not level["shifted"]


def test_five_times_the_normal_length_does_not_collapse() -> None:
    pair = misled()
    normal, long = (adapter(steps=steps).fit(*pair[:3]) for steps in (300, 1500))
    assert normal.score(pair.Xt, pair.yt) > 0.85
    assert long.score(pair.Xt, pair.yt) > 0.8
    assert long.score(pair.Xs, pair.ys) > 0.98
    spreads = [fitted.embed(pair.Xt).std(axis=0).mean() for fitted in (normal, long)]
    assert spreads[1] > 0.5 * spreads[0]


def test_a_regression_is_adapted() -> None:
    rng = np.random.default_rng(0)
    y = rng.uniform(100, 200, size=300)
    X = np.stack([y / 10 + rng.normal(size=300), y / 10 + rng.normal(size=300)], axis=1)
    Xt = np.stack([X[:, 0], rng.normal(25.0, 0.5, size=300)], axis=1)
    fitted = adapter("mmd", task="regression", steps=300, strength=1.0).fit(X, y, Xt, TargetLabels(y))
    source, chosen = (row.accuracy.mean for row in fitted.outcome_.table[:2] if row.accuracy is not None)
    assert source < -40 < -12 < chosen < 0  # minus the mean absolute error
    assert fitted.score(Xt, y) > 0.6
    assert fitted.outcome_.label_shift is None
    assert fitted.outcome_.confusion is None
    assert not hasattr(fitted, "predict_proba")
    with pytest.raises(InputError, match="mcc is no method for regression"):
        adapter("mcc", task="regression").fit(X, y, X)
    with pytest.raises(InputError, match="select is 'snd'"):
        adapter(task="regression", select="snd").fit(X, y, X)


def test_gaps_that_only_the_target_has_do_not_mislead() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = np.stack([rng.normal(4.0 * y), rng.normal(30.0 * y - 15)], axis=1)  # the second column alone would do
    Xt = X.copy()
    Xt[:, 1] = np.nan
    fitted = adapter("coral", steps=200, strength=0.0).fit(X, y, Xt, TargetLabels(y))
    accuracy = {row.name: row.accuracy.mean for row in fitted.outcome_.table if row.accuracy is not None}
    assert accuracy["chosen"] > 0.95
    assert accuracy["chosen"] > accuracy["source only"] + 0.02


def test_data_frames_of_text_and_gaps() -> None:
    pandas = pytest.importorskip("pandas")
    pair = misled(n=120, shift=0.0)
    colour = np.where(pair.ys == 1, "red", "blue")
    frame = pandas.DataFrame({"a": pair.Xs[:, 0], "colour": colour, "whole": pair.ys})
    target = frame.copy()
    target.loc[:3, "a"] = np.nan
    target.loc[5, "colour"] = "green"
    target.loc[6, "colour"] = None
    fitted = adapter(steps=100).fit(frame.drop(columns="whole"), colour, target.drop(columns="whole"))
    assert (fitted.predict(target.drop(columns="whole")) == colour).mean() > 0.95
    assert fitted.feature_names_in_.tolist() == ["a", "colour"]
    with pytest.raises(GradtapeError, match="lacks 'colour'"):
        adapter().fit(frame, colour, target[["a", "whole"]])


def test_images_of_any_layout_and_datasets_are_read_alike() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    images = rng.integers(0, 60, size=(60, 8, 8), dtype=np.uint8)
    images[y == 1, 2:6, 2:6] += 180
    shown = 255 - images
    kinds = [images, images[:, None], images[..., None], torch.from_numpy(images)]
    answers = [adapter(steps=20).fit(kind, y, shown).predict_proba(shown) for kind in kinds]
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(y))
    target = TensorDataset(torch.from_numpy(shown), torch.full((60,), 7))  # labels that are not read
    answers.append(adapter(steps=20).fit(data, None, target).predict_proba(target))
    for answer in answers[1:]:
        assert np.array_equal(answer, answers[0])


def test_few_labels_of_the_target_are_trained_on() -> None:
    pair = misled(n=200, shift=0.0)
    Xt, yt = pair.Xt, 1 - pair.yt  # the same with classes exchanged: only labels can tell
    known = np.where(np.arange(200) < 40, yt, -1)
    few = pair.Xs[:20], pair.ys[:20], Xt
    assert adapter("coral", steps=100, strength=0.0).fit(*few).score(Xt, yt) < 0.1
    assert adapter("coral", steps=100, strength=0.0).fit(*few, known).score(Xt, yt) > 0.3
    with pytest.raises(InputError, match=r"labels have \['5'\]"):
        adapter().fit(*pair[:3], np.full(200, 5))


def test_an_unknown_class_is_found_in_an_open_set() -> None:
    pair = misled(n=300, shift=0.0)
    strange = np.random.default_rng(1).normal([8.0, -4.0], 0.5, size=(150, 2))
    fitted = adapter("open-set", steps=600, strength=1.0, batch_size=64).fit(
        pair.Xs, pair.ys, np.concatenate([pair.Xt, strange])
    )
    assert (fitted.predict(strange) == -1).mean() > 0.6
    assert (fitted.predict(pair.Xt) == pair.yt).mean() > 0.95
    assert fitted.predict_proba(strange).shape == (150, 3)
    with pytest.raises(InputError, match="says -1"):
        adapter("open-set").fit(pair.Xs, pair.ys - 1, pair.Xt)
    words = adapter("open-set").fit(pair.Xs, np.where(pair.ys, "yes", "no"), pair.Xt)
    assert {*words.predict(pair.Xt)} <= {"yes", "no", "unknown"}


@pytest.mark.parametrize("method", ["multi-source", "generalisation"])
def test_several_sources(method: str) -> None:
    one, other = misled(n=100, seed=1), misled(n=100, shift=0.0, seed=2)
    X, y = np.concatenate([one.Xs, other.Xs + 0.5]), np.concatenate([one.ys, other.ys])
    fitted = adapter(method, steps=100).fit(
        X, y, one.Xt if method == "multi-source" else None, domains=["a"] * 100 + ["b"] * 100
    )
    assert fitted.outcome_.candidates[-1].method == method
    assert fitted.score(X, y) > 0.95
    assert "domain accuracy" in fitted.outcome_.course
    with pytest.raises(InputError, match="domains has shape"):
        adapter(method).fit(X, y, X, domains=[0, 1])


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("multi-source", "generalisation")])
def test_every_method_goes_through_the_estimator_and_a_file(method: str, tmp_path: Path) -> None:
    pair = misled(n=60)
    fitted = adapter(method, steps=10).fit(*pair[:3])
    assert fitted.outcome_.to_dict()["candidates"][-1]["method"] == method
    fitted.save(tmp_path / "a.safetensors")
    again = gt.DomainAdapter.load(tmp_path / "a.safetensors")
    assert np.array_equal(again.predict_proba(pair.Xt), fitted.predict_proba(pair.Xt))
    assert again.predict(pair.Xt).dtype == fitted.predict(pair.Xt).dtype
    plain = fitted.unadapted()
    plain.save(tmp_path / "b.safetensors")
    loaded = gt.DomainAdapter.load(tmp_path / "b.safetensors")
    assert np.array_equal(loaded.predict_proba(pair.Xt), plain.predict_proba(pair.Xt))


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = misled(n=60)
    settings: dict[str, Any] = {"select": ["entropy", "bnm"], "strength": [0.1, 1.0], "steps": 20}
    whole = adapter(run=tmp_path / "whole", **settings).fit(*pair[:3])

    class KilledError(Exception):
        pass

    calls = {"left": 47}  # in the third candidate

    def counting(*args: Any) -> Any:
        calls["left"] -= 1
        if not calls["left"]:
            raise KilledError
        return forward(*args)

    forward = gt.adaptation.Method.forward
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(gt.adaptation.Method, "forward", counting)
        adapter(run=tmp_path / "cut", **settings).fit(*pair[:3])
    resumed = adapter(run=tmp_path / "cut", resume=True, **settings).fit(*pair[:3])
    assert np.array_equal(resumed.predict_proba(pair.Xt), whole.predict_proba(pair.Xt))
    assert resumed.outcome_.to_dict() == whole.outcome_.to_dict()
    assert Run.open(tmp_path / "cut").status == "finished"
    with pytest.raises(RunError, match="finished"):
        adapter(run=tmp_path / "cut", resume=True, **settings).fit(*pair[:3])


def test_own_networks_are_copied_and_trained() -> None:
    pair = misled(n=80)
    features, head = nn.Sequential(nn.Linear(2, 5), nn.Tanh()), nn.Linear(5, 2)
    before = features[0].weight.clone()
    fitted = adapter(features=features, head=head).fit(*pair[:3])
    assert torch.equal(features[0].weight, before)
    assert not torch.equal(fitted.method_.features[0].weight, before)
    assert fitted.embed(pair.Xt).shape == fitted.unadapted().embed(pair.Xt).shape == (80, 5)
    with pytest.raises(InputError, match="your own"):
        fitted.save("nowhere")


def test_source_only_does_not_look_at_the_target() -> None:
    pair = misled(n=60)
    features = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU())
    one, other = (
        adapter("source", steps=10, features=features).fit(pair.Xs, pair.ys, Xt) for Xt in (pair.Xt, 9 - 3 * pair.Xt)
    )
    assert np.array_equal(one.predict_proba(pair.Xs), other.predict_proba(pair.Xs))


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        ({"head": nn.Linear(8, 7)}, "the head has 7 outputs, and 2 are needed"),
        ({"head": nn.Linear(9, 2)}, "the head cannot be called with a batch of shape"),
        ({"features": nn.Linear(3, 8)}, "the features cannot be called with a batch of shape"),
        ({"features": nn.Unflatten(1, (2, 1))}, "the features return shape"),
        ({"features": lambda x: x}, "features is a function"),
        ({"head": nn.Sequential()}, "the head has 8 outputs"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_training(networks: dict[str, Any], said: str) -> None:
    given = {"features": nn.Linear(2, 8), "head": nn.Linear(8, 2), **networks}
    with pytest.raises(InputError, match=said):
        adapter(**given).fit(*misled(n=20)[:3])


def test_the_report_has_what_it_shows() -> None:
    pair = misled()
    found = adapter(steps=200).fit(*pair[:3], TargetLabels(pair.yt)).outcome_
    assert found.band is not None
    assert found.band["before"] > found.band["after"]
    assert 0.5 <= found.band["low"] < found.band["high"] < 1
    assert found.course["strength"][-1] == pytest.approx(slow_ramp(200)(199), abs=1e-6)
    assert len(found.course["step"]) == len(found.course["domain accuracy"]) == 200
    assert f"ended at {found.band['ended']:.2f}" in found.band["sentence"]
    assert [row["layer"] for row in found.balance] == ["0", "2"]
    assert all(row["task"] > 0 and row["domain"] > 0 and -1 <= row["cosine"] <= 1 for row in found.balance)
    assert found.confusion is not None
    assert found.confusion["of"] == "target"
    counts = np.array(found.confusion["counts"])
    assert counts.sum(1).tolist() == np.bincount(pair.yt).tolist()
    assert counts.trace() / counts.sum() == found.table[1].accuracy.mean  # type: ignore[union-attr]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"method": "damn"}, "did you mean 'dann'"),
    ({"method": ["dann", "mcc"]}, "say what selects"),
    ({"method": []}, "no method"),
    ({"strength": -1.0}, "strength is -1"),
    ({"select": "sdn"}, "select is 'sdn'"),
    ({"steps": 0}, "steps is 0"),
    ({"batch_size": 1}, "batch_size is 1"),
    ({"task": "ranking"}, "task is 'ranking'"),
    ({"label_shift": "mend"}, "label_shift is 'mend'"),
    ({"learning_rate": 0.0}, "learning_rate is 0"),
    ({"resume": True}, "resume needs a run"),
    ({"method": None}, "method is None"),
    ({"strength": "much"}, "strength is 'much'"),
    ({"seed": 1.5}, "seed is 1.5"),
    ({"device": None}, "device is None"),
    ({"method": "generalisation"}, "generalisation was given one source"),
    ({"method": "adda+mcc"}, "adda runs the networks in its own way"),
]


@pytest.mark.parametrize(("settings", "said"), BAD)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gt.DomainAdapter(**settings).fit(*misled(n=20)[:3])


def test_inputs_that_do_not_fit_are_refused() -> None:
    pair = misled(n=20)
    images = np.zeros((20, 8, 8))
    for given, said in (
        ((pair.Xs, pair.ys[:3], pair.Xt), "y has shape"),
        ((pair.Xs, pair.ys, pair.Xt[:, :1]), "lacks"),
        ((pair.Xs, pair.ys, pair.Xt[:0]), r"X has shape \(0, 2\)"),
        ((images, pair.ys, np.zeros((20, 9, 9))), "images of shape"),
        ((images, pair.ys, pair.Xt), "images are needed"),
        (((pair.Xs, images), pair.ys, pair.Xt), "2 inputs were given"),
        ((pair.Xs, pair.ys, pair.Xt, TargetLabels(pair.yt.astype(str))), "are words, and those of the source numbers"),
        ((pair.Xs, 2 * pair.ys - 1, pair.Xt, np.full(20, -1)), "-1 is a class of the source"),
        ((pair.Xs, pair.ys, pair.Xt, TargetLabels([0])), "labels of the target have shape"),
    ):
        with pytest.raises(GradtapeError, match=said):
            adapter(steps=2).fit(*given)
    with pytest.raises(InputError, match="chosen without a target"):
        adapter(steps=2, select="snd").fit(pair.Xs, pair.ys)
    with pytest.warns(UserWarning, match="no target was given"):
        adapter(steps=2).fit(pair.Xs, pair.ys)
