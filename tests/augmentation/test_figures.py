"""The figures: recomputed from the scores, and what is claimed of them in words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from gradtape.augmentation import outcome
from gradtape.augmentation.experiment import ARMS, BASELINE, CONTROLS, SYNTHETIC, TITLES
from gradtape.augmentation.job import _result
from gradtape.data import ImageSet, SealedTest, from_arrays
from tests.augmentation import jobs
from tests.augmentation.jobs import result_of

N = 200  # test images of the crafted outcomes: a score is a multiple of half a percent


@pytest.fixture(scope="module")
def sealed_data() -> ImageSet:
    return from_arrays(np.zeros((N, 4, 4), dtype=np.uint8), np.arange(N) % 4)


def weigh_up(scores: dict[str, list[float]], data: ImageSet, monkeypatch, best: str = "steer", chosen: str = "steer"):
    """What `measure` makes of such test scores; validation likes `best`, and `chosen` of all arms."""

    def predicted(experiment, repeat, arm, test):
        right = np.arange(N) < round(scores[arm][repeat] * N)
        return np.where(right, test.labels, (test.labels + 1) % 4)

    monkeypatch.setattr(outcome, "_predicted", predicted)
    settings = SimpleNamespace(repeats=len(scores[BASELINE]), added=4)
    validation = {arm: [0.5] * settings.repeats for arm in ARMS}
    validation[best] = [0.6] * settings.repeats
    validation[chosen] = [0.7] * settings.repeats
    return outcome.measure(SimpleNamespace(settings=settings, rows=lambda _: range(40)), validation, SealedTest(data))


def crafted(gains: list[float], arm: str = "steer") -> dict[str, list[float]]:
    base = [0.5, 0.52, 0.48, 0.55, 0.5][: len(gains)]
    return dict.fromkeys(ARMS, base) | {arm: [b + g for b, g in zip(base, gains, strict=True)]}


def test_gains_are_students_intervals_of_paired_differences(digits: jobs.Digits) -> None:
    arms = result_of(digits.run)["arms"]
    base = np.array(arms[BASELINE]["test"])
    assert len(base) == 5
    assert arms[BASELINE]["gain"] is None
    for name in ARMS[1:]:
        difference = 100 * (np.array(arms[name]["test"]) - base)
        low, high = stats.t.interval(0.95, 4, loc=difference.mean(), scale=stats.sem(difference))
        gain = arms[name]["gain"]
        assert (gain["mean"], gain["low"], gain["high"]) == pytest.approx((difference.mean(), low, high), abs=1e-9)
        assert (gain["n"], gain["level"]) == (5, 0.95)


def test_test_scores_are_those_of_the_predictions(sealed_data, monkeypatch) -> None:
    result = weigh_up(crafted([0.1, 0.12, 0.09, 0.11, 0.1]), sealed_data, monkeypatch)
    assert result["arms"]["steer"]["test"] == pytest.approx([0.6, 0.64, 0.57, 0.66, 0.6])
    assert result["arms"][BASELINE]["test"] == pytest.approx([0.5, 0.52, 0.48, 0.55, 0.5])


@pytest.mark.parametrize(
    ("gains", "helped", "answer"),
    [
        ([0.1, 0.12, 0.09, 0.11, 0.1], "yes", "Yes. They raised test accuracy: 160 synthetic images ("),
        ([0.1, -0.1, 0.02, 0.05, -0.03], "no", "No. They changed test accuracy by no more than chance might: 160 "),
        ([0.0] * 5, "no", "No. They changed test accuracy by no more than chance might: 160 "),
        ([-0.1, -0.12, -0.09, -0.11, -0.1], "hurts", "No. They lowered test accuracy: 160 "),
        ([0.1] * 5, "unknown", "It cannot be told. Every repeat gave the same change in test accuracy: 160 "),
    ],
)
def test_the_verdict_says_what_the_interval_allows(sealed_data, monkeypatch, gains, helped, answer) -> None:
    result = weigh_up(crafted(gains), sealed_data, monkeypatch)
    verdict = result["verdict"]
    assert verdict["helped"] == helped
    assert verdict["sentence"].startswith(answer)
    gain = result["arms"]["steer"]["gain"]
    assert f"{100 * np.mean(gains):+.1f} points, 95% interval {gain['low']:+.1f} to" in verdict["sentence"]
    assert "5 repeats" in verdict["sentence"]
    assert verdict["beyond_control"]["helped"] == helped  # the controls score as the baseline does here


def test_no_claim_where_the_interval_covers_zero(sealed_data, monkeypatch) -> None:
    draws = np.random.default_rng(3)
    seen = set()
    for _ in range(60):
        gains = (np.rint(draws.normal(draws.normal(0, 0.04), 0.03, 5) * N) / N).tolist()
        verdict = weigh_up(crafted(gains), sealed_data, monkeypatch)["verdict"]
        points = 100 * np.array(gains)
        low, high = stats.t.interval(0.95, 4, loc=points.mean(), scale=stats.sem(points))
        expected = "yes" if low > 0 else "hurts" if high < 0 else "no"
        assert verdict["helped"] == expected
        assert verdict["sentence"].startswith("Yes.") == (low > 0)
        assert verdict["sentence"].startswith("No.") == (low <= 0)
        seen.add(expected)
    assert seen == {"yes", "no", "hurts"}


def test_the_verdict_is_about_the_best_synthetic_arm_and_the_advice_about_the_chosen_one(sealed_data, monkeypatch):
    scores = crafted([0.1, 0.12, 0.09, 0.11, 0.1], "shift") | {"steer": [0.4, 0.41, 0.4, 0.42, 0.4]}
    result = weigh_up(scores, sealed_data, monkeypatch, best="steer", chosen="shift")
    assert (result["chosen"], result["best_synthetic"], result["best_control"]) == ("shift", "steer", "shift")
    assert result["verdict"]["helped"] == "hurts"
    assert result["verdict"]["beyond_control"]["helped"] == "hurts"
    assert TITLES["steer"] in result["verdict"]["sentence"]
    advice = result["verdict"]["advice"]
    assert advice.startswith("Validation chose shift (pixel shifts): 61.4% on test; a gain, +10.4 points, 95% ")


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([0.1, -0.1, 0.02, 0.05, -0.03], "% on test; no gain that can be told from chance, "),
        ([-0.1, -0.12, -0.09, -0.11, -0.1], "% on test; a loss, -10.4 points, 95% interval "),
        ([0.1] * 5, "% on test; no gain that can be told from chance, "),
    ],
)
def test_the_advice_claims_no_more_than_the_interval_of_the_chosen_arm(sealed_data, monkeypatch, gains, words) -> None:
    assert words in weigh_up(crafted(gains), sealed_data, monkeypatch)["verdict"]["advice"]


def test_the_advice_where_nothing_is_best(sealed_data, monkeypatch) -> None:
    result = weigh_up(crafted([0.1, 0.12, 0.09, 0.11, 0.1]), sealed_data, monkeypatch, chosen=BASELINE)
    assert result["chosen"] == BASELINE
    assert result["verdict"]["advice"] == (
        "Validation chose to add nothing: train on the real images alone, 51.0% on test."
    )
    assert result["verdict"]["helped"] == "yes"  # still said, of the best synthetic arm


def test_classes_recombine_to_the_total(digits: jobs.Digits) -> None:
    result = result_of(digits.run)
    rows, arms = result["per_class"], result["arms"]
    assert [row["name"] for row in rows] == [str(digit) for digit in range(10)]
    n = np.array([row["n"] for row in rows])
    assert n.sum() == result["data"]["test"] == 719
    real, best = np.mean(arms[BASELINE]["test"]), np.mean(arms[result["best_synthetic"]]["test"])
    assert np.average([row["real"] for row in rows], weights=n) == pytest.approx(real)
    assert np.average([row["best_synthetic"] for row in rows], weights=n) == pytest.approx(best)
    gains = [row["gain"]["mean"] for row in rows]
    assert np.average(gains, weights=n) == pytest.approx(100 * (best - real))
    assert all(row["gain"]["low"] <= row["gain"]["mean"] <= row["gain"]["high"] for row in rows)


def test_the_table_is_in_one_order_with_the_means(digits: jobs.Digits) -> None:
    result = result_of(digits.run)
    table = _result(digits.run, result, None).table
    assert [row["arm"] for row in table] == list(ARMS)
    assert ARMS == ("real", "adversarial", "steer", "interpolate", "mix", "repeat", "shift", "mixup")
    kinds = ["baseline", *["synthetic"] * (len(SYNTHETIC) + 1), *["control"] * len(CONTROLS)]
    assert [row["kind"] for row in table] == kinds
    for row in table:
        arm = result["arms"][row["arm"]]
        assert (row["validation"], row["test"]) == pytest.approx((np.mean(arm["validation"]), np.mean(arm["test"])))
        if row["arm"] == BASELINE:
            assert (row["gain"], row["low"], row["high"]) == (None, None, None)
        else:
            assert (row["gain"], row["low"], row["high"]) == tuple(arm["gain"][k] for k in ("mean", "low", "high"))
