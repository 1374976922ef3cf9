"""Healthy trainings and planted failures of the calibration: a quick part of what docs/calibration.md publishes."""

import numpy as np
import pytest
import torch
from benchmarks.calibration import figures, healthy
from benchmarks.calibration.baselines import cusum, loss_z, spike_detection, turbulence, zclip
from benchmarks.calibration.healthy import HEALTHY, STEPS
from benchmarks.calibration.online import run
from benchmarks.calibration.planted import PLANTED
from benchmarks.calibration.slow import AT, SLOW, harmed

from gradtape.tracking import RULES, Finding

QUICK = (  # all of them are in the calibration
    "MLP, SGD with momentum",
    "branches that begin at zero, AdamW, warm-up",
    "convolutions, Adam, cosine to zero",
    "frozen backbone in the optimizer",
    "batches of two, SGD",
    "a few samples learnt by heart, AdamW",
    "regression to a floor of noise, SGD",
    "regression to zero loss, SGD",
    "regression to zero loss, Adam, loss not logged",
    "gradient scaler and float16, SGD with momentum",
)
BROKEN = (
    "a layer initialised 100 times too large",
    "all layers initialised 100 times too small",
    "saturated sigmoids at depth",
    "saturated tanh units",
    "a learning rate times 100, SGD",
    "a learning rate of 1e-13",
    "a learning rate that becomes zero",
    "a block that no optimizer holds",
    "a branch detached on the way",
    "a head that no loss reads",
    "NaN on the way back",
    "one corrupted batch",
    "float16 without a scaler",
    "all units of a layer dead",
    "inputs that are not normalised",
    "a loss a hundred million times too small, Adam",
    "a loss 10,000 times too large, SGD",
    "clipping at a ten-thousandth",
    "gradients never set to zero",
    "two losses that want the opposite",
    "updates that bfloat16 weights do not hold",
    "a learning rate ten thousand times too low",
    "a generator collapsed to two modes",
)


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", QUICK)
def test_a_healthy_training_raises_no_finding_at_any_time(name: str) -> None:
    record = run(HEALTHY[name], 0, STEPS, every=30)
    assert record.healthy
    assert record.alarms == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_planted_failure_is_named_placed_and_dated(name: str) -> None:
    failure = PLANTED[name]
    record = run(failure.twin, 0, failure.steps, failure.plant, failure.at)
    right = [alarm.finding for alarm in record.alarms if failure.right(alarm.finding)]
    assert right, [alarm.finding for alarm in record.alarms]
    assert all(alarm.said >= failure.at for alarm in record.alarms)  # nothing is said before there is a reason


def test_a_rate_growing_3_percent_a_step_is_heard_before_the_loss_triples() -> None:
    slow = SLOW["rate +3%, MLP, SGD"]
    record = run(slow.twin, 0, STEPS, slow.plant, AT, every=5)
    harm = harmed(record.losses)
    assert harm is not None
    ours = figures.lead(harm, [alarm.said for alarm in record.alarms])
    theirs = figures.lead(harm, np.flatnonzero(loss_z(record.series["model"][0])).tolist())
    assert ours >= max(theirs, 1)


def test_every_failure_is_planted_in_a_training_of_the_healthy_list_and_asks_for_a_rule_that_exists() -> None:
    assert len(HEALTHY) >= 20
    assert len(PLANTED) >= 25
    for failure in PLANTED.values():
        assert failure.twin in HEALTHY.values()
        assert failure.rule in RULES


def test_a_finding_is_right_only_with_rule_place_player_and_date() -> None:
    failure = PLANTED["a branch detached on the way"]
    right = Finding("no gradient", "model", "3.up.weight and 2 more", failure.at, "", "")
    assert failure.right(right)
    for wrong in (
        right._replace(rule="vanishing"),
        right._replace(player="critic"),
        right._replace(where="3.upper.weight"),
        right._replace(where="2.norm.weight, 3.up.weight"),
        right._replace(since_step=failure.at - 1),
        right._replace(since_step=failure.at + failure.within + 1),
    ):
        assert not failure.right(wrong)


def test_a_spoilt_training_differs_from_its_twin_only_from_the_planted_step_on() -> None:
    failure = PLANTED["one corrupted batch"]
    steps = failure.at + 1
    spoilt = run(failure.twin, 0, steps, failure.plant, failure.at, every=steps)
    twin = run(failure.twin, 0, steps, every=steps)
    assert spoilt.losses[: failure.at].tolist() == twin.losses[: failure.at].tolist()
    assert spoilt.losses[failure.at] > twin.losses[failure.at]


def test_a_training_that_does_not_learn_is_not_called_healthy() -> None:
    def still(seed: int) -> healthy.Training:
        training = healthy.mlp_sgd(seed)
        training.optimizer.param_groups[0]["lr"] = 0.0
        return training

    assert not run(still, 0, 60, every=60).healthy


def test_the_other_alarms_ring_where_their_definitions_say() -> None:
    flat = np.concatenate([np.tile([0.9, 1.1], 100), [1.5], np.tile([0.9, 1.1], 20)])
    assert np.flatnonzero(loss_z(flat)).tolist() == [200]  # five deviations of 0.1 above the mean of 1
    assert np.flatnonzero(loss_z(flat, limit=5.1)).tolist() == []
    assert np.flatnonzero(zclip(flat)).tolist() == [200]
    assert np.flatnonzero(spike_detection(np.array([1.0, 1.0, 2.9, 6.0, 1.0, np.nan]))).tolist() == [3, 5]
    assert np.flatnonzero(turbulence(np.array([1.0] * 10 + [4.0] + [1.0] * 10))).tolist() == list(range(10, 20))
    shifted = np.concatenate([np.tile([0.9, 1.1], 50), np.full(10, 1.2)])
    assert np.flatnonzero(cusum(shifted)).tolist() == [
        103,
        108,
    ]  # 2 deviations a step, less 0.5; then against a level that rose


def test_a_rate_carries_the_interval_of_counts() -> None:
    rate = figures.rate_of([0, 1, 0, 2])
    assert (rate.mean, rate.most, rate.quiet) == (0.75, 2, 0.5)
    assert rate.interval == pytest.approx((0.15467, 2.19182), abs=1e-4)  # 3 counts: 0.6187 to 8.7673, over 4
    assert figures.rate_of([0, 0]).interval == pytest.approx((0.0, 1.84444), abs=1e-4)


def test_a_lead_is_from_the_first_alarm_since_the_planting_to_the_harm() -> None:
    assert figures.lead(150, [20, AT + 10, AT + 20]) == 40
    assert figures.lead(150, [20, 170]) == 0
    assert figures.lead(150, []) == 0
