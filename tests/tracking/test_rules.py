"""Rules on histories made by hand: thresholds, dates, scale, and what must not be said."""

import math

import numpy as np
import pytest

from gradtape.tracking import RULES, judge
from gradtape.tracking.rules.exploding import exploding
from gradtape.tracking.rules.nonfinite import nonfinite
from gradtape.tracking.rules.updates import stalled
from gradtape.tracking.rules.vanishing import vanishing
from tests.tracking.histories import NAMES, column, growing, history, only


def test_a_healthy_history_has_no_finding() -> None:
    assert judge([history(), history(steps=3), history(steps=0, loss=np.zeros(0))]) == []


def test_vanishing_needs_the_share_and_the_window() -> None:
    below, above = 0.3 * 0.9e-4, 0.3 * 1.1e-4
    assert only(vanishing(history(grad_norm=column(below, 0)))).where == "0.weight"
    assert vanishing(history(grad_norm=column(above, 0))) == []
    assert vanishing(history(grad_norm=column(below, 1))) == []  # a bias has no size to compare with
    step = np.arange(100)
    finding = only(vanishing(history(grad_norm=column(np.where(step >= 80, below, 0.3), 0), first=7)))
    assert (finding.since_step, finding.where) == (87, "0.weight")
    assert "9e-05 of the strongest layer's" in finding.evidence
    assert vanishing(history(grad_norm=column(np.where(step >= 81, below, 0.3), 0))) == []


def test_a_layer_behind_which_others_learn_has_not_vanished() -> None:
    """As queries and keys of an attention that looks everywhere alike."""
    both = column(0.3 * 0.9e-4, 2)
    assert vanishing(history(grad_norm=both)) == []
    both[:, 0] = 0.3 * 0.9e-3  # the layer nearest the input does not learn either
    assert only(vanishing(history(grad_norm=both))).where == "1.weight"
    assert only(vanishing(history(grad_norm=column(0.3 * 0.9e-7, 2)))).where == "1.weight"
    assert vanishing(history(grad_norm=column(0.3 * 1.1e-7, 2))) == []


def test_a_layer_whose_gradient_has_grown_again_does_not_vanish() -> None:
    assert vanishing(history(grad_norm=column(np.where(np.arange(100) < 90, 1e-9, 0.3), 2))) == []


def test_a_layer_that_vanished_before_everything_became_nan_did_vanish() -> None:
    norms = column(1e-9, 2)
    norms[60:] = math.nan
    assert only(vanishing(history(grad_norm=norms))).since_step == 0


def test_vanishing_compares_gradients_with_their_weights() -> None:
    small = column(0.3e-5, 0)
    assert vanishing(history(grad_norm=small, weight_norm=column(2e-5, 0, rest=2.0))) == []
    assert only(vanishing(history(weight_norm=column(1e5, 0, rest=2.0)))).where == "0.weight"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_layer_without_a_finite_gradient_does_not_vanish(value: float) -> None:
    assert vanishing(history(grad_norm=column(value, 0))) == []
    assert vanishing(history(grad_norm=np.full((100, len(NAMES)), value))) == []


def test_a_gradient_or_weights_of_exactly_zero_do_not_vanish() -> None:
    assert vanishing(history(grad_norm=column(0.0, 0))) == []  # "dead layer"
    assert vanishing(history(weight_norm=column(0.0, 0, rest=2.0))) == []


def test_exploding_needs_the_growth_and_five_steps_of_it() -> None:
    finding = only(exploding(history(grad_norm=growing(101.0, 40), first=10)))
    assert (finding.since_step, finding.player) == (50, "net")
    assert exploding(history(grad_norm=growing(99.0, 40))) == []
    burst = growing(1.0, 0)
    burst[30:34] *= 1000
    assert exploding(history(grad_norm=burst)) == []  # four steps: an odd batch, not an explosion
    burst[34] *= 1000
    assert only(exploding(history(grad_norm=burst))).since_step == 30


def test_exploding_names_the_strongest_parameter_and_skips_those_without_gradient() -> None:
    norms = column(math.nan, 0)
    norms[60:, 3] = 1e6
    finding = only(exploding(history(grad_norm=norms)))
    assert (finding.where, finding.since_step) == ("1.bias", 60)
    norms[80:] = math.inf
    assert "1e+06 at step 60" in only(exploding(history(grad_norm=norms))).evidence


def test_nonfinite_names_the_first_step_and_the_parameter_nearest_the_output() -> None:
    counts = np.zeros((100, len(NAMES)))
    counts[37, :3] = (8, 2, 1)
    counts[40:42, :] = 5
    finding = only(nonfinite(history(nonfinite_count=counts, first=100)))
    assert (finding.since_step, finding.where) == (137, "1.weight")
    assert "11 infinite or NaN gradient elements in 3 of 6 parameters" in finding.evidence
    assert f"the loss was {np.linspace(2.0, 1.0, 100)[37]:.4g} at that step; 3 steps in all" in finding.evidence
    unlogged = history(nonfinite_count=counts, loss=np.full(100, np.nan))
    assert "the loss was not finite or not logged" in only(nonfinite(unlogged)).evidence


@pytest.mark.parametrize("ratio", [0.0, 1.1e-7])
def test_stalled_needs_every_layer(ratio: float) -> None:
    assert only(stalled(history(update_ratio=np.full((100, 6), ratio)))).since_step == 0
    assert stalled(history(update_ratio=column(1.3e-7, 4, rest=ratio))) == []
    assert only(stalled(history(update_ratio=column(1.3e-7, 5, rest=ratio)))).since_step == 0  # a bias that began at 0
    late = np.where(np.arange(100) < 70, 1e-3, ratio)[:, None] * np.ones((1, 6))
    assert only(stalled(history(update_ratio=late))).since_step == 70
    assert stalled(history(update_ratio=np.where(np.arange(100) < 81, 1e-3, ratio)[:, None] * np.ones((1, 6)))) == []


def test_weights_that_are_nan_do_not_stand_still() -> None:
    assert stalled(history(update_ratio=np.full((100, 6), np.nan))) == []
    assert stalled(history(update_ratio=column(math.nan, 2, rest=0.0))) == []


def still_from(since: int, steps: int = 100) -> np.ndarray:
    return np.where(np.arange(steps) < since, 1e-3, 1e-9)[:, None] * np.ones((1, 6))


def test_updates_that_cease_with_their_gradients_have_arrived() -> None:
    gradients = growing(1e-4, 60)
    falling, flat = np.linspace(2.0, 1.7, 100), np.full(100, 2.0)
    unlogged = np.full(100, np.nan)
    risen = np.where(np.arange(100) < 60, np.linspace(2.0, 1.0, 100), 2.0)
    for loss, expected in ((falling, []), (unlogged, []), (flat, []), (risen, [60])):
        found = stalled(history(update_ratio=still_from(60), grad_norm=gradients, loss=loss))
        assert [finding.since_step for finding in found] == expected
    found = stalled(history(update_ratio=still_from(60), loss=falling))  # the gradient is as strong as ever
    assert [finding.since_step for finding in found] == [60]


@pytest.mark.parametrize("steps", [400, 50_000])
def test_the_end_of_a_cosine_to_zero_is_not_stalled(steps: int) -> None:
    cosine = (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
    ratio = 1e-3 * cosine[:, None] * np.ones((1, 6))
    assert stalled(history(steps, update_ratio=ratio, loss=np.full(steps, np.nan))) == []


def test_findings_do_not_depend_on_the_scale_of_the_loss() -> None:
    norms = column(1e-6, 0)
    norms[50:, 4] = 1e3
    counts = np.zeros((100, 6))
    counts[99, 2] = 4

    def said(scale: float) -> list[tuple[str, str, int]]:
        scaled = history(
            grad_norm=scale * norms,
            nonfinite_count=counts,
            update_ratio=still_from(70),
            loss=scale * np.linspace(2.0, 1.0, 100),
        )
        return [(finding.rule, finding.where, finding.since_step) for finding in judge([scaled])]

    assert {"vanishing", "exploding", "stalled", "non-finite"} <= {rule for rule, _, _ in said(1.0)}
    for scale in (1e-12, 1e-4, 1e4, 1e12):
        assert said(scale) == said(1.0)


def test_findings_of_all_players_come_in_the_order_in_which_they_began() -> None:
    late = history(update_ratio=still_from(70))._replace(player="late")
    early = history(grad_norm=growing(2e3, 20))._replace(player="early")
    found = [(f.player, f.since_step) for f in judge([late, early]) if f.rule in ("stalled", "exploding")]
    assert found == [("early", 20), ("late", 70)]
    assert len(RULES) == len(set(RULES.values()))


def test_a_single_peak_is_an_explosion_if_it_is_high_enough() -> None:
    norms = np.ones((100, 6))
    norms[40] = 9.9e3
    assert exploding(history(grad_norm=norms)) == []
    norms[40] = 1.01e4
    assert only(exploding(history(grad_norm=norms))).since_step == 40
