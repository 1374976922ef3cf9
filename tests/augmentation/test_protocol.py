"""The experiment's protocol: what is trained on what, what is chosen by what, and when the test set is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gradtape.augmentation import outcome
from gradtape.augmentation.experiment import ARMS, BASELINE, CONTROLS, MIX, SYNTHETIC
from gradtape.data import ImageSet, Split, draw, read, split
from gradtape.seeding import derive
from gradtape.synthesis import MAKERS
from tests.augmentation import jobs
from tests.augmentation.jobs import ASKED, Event, keys, result_of

ROWS, ADDED = 30, 60  # of the digits with 3 a class and 2 added for each


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return read("digits")


@pytest.fixture(scope="module")
def parts(data: ImageSet) -> Split:
    return split(data, ASKED.per_class, ASKED.seed)


def of(events: list[Event], what: str) -> list[dict]:
    return [event.seen for event in events if event.what == what]


def test_every_arm_is_trained_in_every_repeat_in_one_order(digits: jobs.Digits) -> None:
    players = [seen["player"] for seen in of(digits.events, "train")]
    assert players == [f"{arm} {repeat}" for repeat in range(1, 6) for arm in ARMS]


def test_training_sets_are_rows_of_the_pool_and_what_makers_made_of_them(digits, data, parts) -> None:
    label_of = dict(zip(keys(data.images[parts.pool]), data.labels[parts.pool], strict=True))
    held_out = set(keys(data.images[np.concatenate([parts.test, parts.validation])]))
    assert not held_out & set(label_of)  # no two digits are the same image, so bytes tell rows apart
    makes = of(digits.events, "make")
    for number, seen in enumerate(of(digits.events, "train")):
        arm, repeat = ARMS[number % len(ARMS)], number // len(ARMS)
        made = {make["name"]: make["made"] for make in makes[repeat * len(MAKERS) : (repeat + 1) * len(MAKERS)]}
        real, added = seen["images"][:ROWS], seen["images"][ROWS:]
        assert [label_of[key] for key in keys(real)] == seen["targets"][:ROWS].argmax(1).tolist()
        assert not held_out & set(keys(seen["images"]))
        if arm == BASELINE:
            assert len(added) == 0
        elif arm == MIX:
            shares = [made[name][index::3] for index, name in enumerate(SYNTHETIC)]
            assert [len(share) for share in shares] == [ADDED // 3] * 3
            assert torch.equal(added, torch.cat(shares))
        else:
            assert torch.equal(added, made[arm])


def test_makers_see_the_real_images_of_their_repeat_alone(digits, data, parts) -> None:
    makes = of(digits.events, "make")
    assert [make["name"] for make in makes] == list(MAKERS) * 5
    for number, make in enumerate(makes):
        rows = draw(data, parts.pool, 3, derive(0, "draw", number // len(MAKERS)))
        assert keys(make["real"].images) == keys(data.images[rows])
        assert make["real"].labels.tolist() == data.labels[rows].tolist()
        assert make["n"] == ADDED
    assert len({make["seed"] for make in makes}) == len(makes)


def test_validation_images_serve_to_choose_and_to_judge_alone(digits, data, parts) -> None:
    validation = keys(data.images[parts.validation])
    validated = of(digits.events, "validate")
    assert len(validated) == len(ARMS) * 5
    assert all(keys(seen["images"]) == validation for seen in validated)
    (judge,) = of(digits.events, "judge")
    assert keys(judge["images"]) == validation
    assert judge["targets"].argmax(1).tolist() == data.labels[parts.validation].tolist()
    pool = set(keys(data.images[parts.pool]))
    first = set(keys(data.images[draw(data, parts.pool, 3, derive(0, "draw", 0))]))
    fresh = of(digits.events, "features")[0]["images"]
    assert set(keys(fresh)) == pool - first  # what samples are weighed against: no maker, arm or judge saw it


def test_the_test_set_opens_once_after_all_training_and_choosing(digits, data, parts) -> None:
    order = [event.what for event in digits.events]
    assert order.count("open") == 1
    at = order.index("open")
    assert not {"train", "make", "choose", "validate"} & set(order[at:])
    assert order[:at].count("train") == 40
    assert order[:at].count("choose") == 3
    assert "predict" not in order[:at]
    test = keys(data.images[parts.test])
    scored = [event.seen["images"] for event in digits.events[at + 1 :] if event.what == "predict"]
    assert [keys(images) == test for images in scored[:40]] == [True] * 40


def test_equal_counts_and_equal_steps(digits: jobs.Digits) -> None:
    for number, seen in enumerate(of(digits.events, "train")):
        count = ROWS if ARMS[number % len(ARMS)] == BASELINE else ROWS + ADDED
        assert (len(seen["images"]), len(seen["targets"]), seen["steps"]) == (count, count, 20)
        assert torch.allclose(seen["targets"].sum(1), torch.ones(count))


def test_weights_are_shared_within_a_repeat_and_new_in_the_next_batches_always_new(digits: jobs.Digits) -> None:
    trained = of(digits.events, "train")
    starts = [b"".join(tensor.numpy().tobytes() for tensor in seen["start"].values()) for seen in trained]
    of_repeat = [set(starts[repeat * 8 : repeat * 8 + 8]) for repeat in range(5)]
    assert [len(found) for found in of_repeat] == [1] * 5
    assert len(set.union(*of_repeat)) == 5
    assert len({seen["seed"] for seen in trained}) == 40


def test_real_images_are_redrawn_for_every_repeat(digits: jobs.Digits) -> None:
    trained = of(digits.events, "train")
    sets = [frozenset(keys(seen["images"][:ROWS])) for seen in trained]
    assert all(len(set(sets[repeat * 8 : repeat * 8 + 8])) == 1 for repeat in range(5))
    assert len(set(sets)) == 5
    for seen in trained:
        assert torch.bincount(seen["targets"][:ROWS].argmax(1)).tolist() == [3] * 10
    assert result_of(digits.run)["data"]["redrawn"] is True


def test_the_choice_is_the_best_mean_on_validation(digits: jobs.Digits) -> None:
    result = result_of(digits.run)
    means = {arm: float(np.mean(result["arms"][arm]["validation"])) for arm in ARMS}
    assert means[result["chosen"]] == max(means.values())
    assert means[result["best_synthetic"]] == max(means[arm] for arm in (*SYNTHETIC, MIX))
    assert means[result["best_control"]] == max(means[arm] for arm in CONTROLS)
    among = [seen["among"] for seen in of(digits.events, "choose")]
    assert among == [ARMS, (*SYNTHETIC, MIX), CONTROLS]


def test_choose_takes_the_first_of_equals_and_the_baseline_counts() -> None:
    flat = {arm: [0.5, 0.7] for arm in ARMS}
    assert outcome.choose(flat, ARMS) == BASELINE
    assert outcome.choose({**flat, "shift": [0.9, 0.4]}, ARMS) == "shift"
    assert outcome.choose({**flat, BASELINE: [0.1, 1.0], "steer": [0.9, 0.1]}, ("steer", "mix")) == "mix"


@pytest.mark.parametrize("favoured", ["mixup", "adversarial"])
def test_test_scores_cannot_move_the_choice(base: Path, finished: Path, ready: Path, monkeypatch, favoured) -> None:
    def rigged(experiment, repeat, arm, test):
        return test.labels if arm == favoured else (test.labels + 1 + (np.arange(len(test)) + repeat == 0)) % 3

    monkeypatch.setattr(outcome, "_predicted", rigged)
    assert jobs.resume(base, ready).code == 0
    honest, other = result_of(finished), result_of(ready)
    assert other["arms"][favoured]["test"] == [1.0] * 5 != honest["arms"][favoured]["test"]
    for choice in ("chosen", "best_synthetic", "best_control"):
        assert other[choice] == honest[choice]
    assert other["outputs"] == honest["outputs"]  # the same samples, the same model, byte for byte
