"""Each rule just below and just above its thresholds, on histories made by hand."""

import numpy as np
import pytest

from gradtape.tracking import RULES, Activations, Finding, History
from tests.tracking.histories import (
    EXAMPLES,
    SHAPES,
    column,
    from_step,
    game,
    generator,
    histogram,
    history,
    judging,
    looked_at,
    noise,
    only,
    read_every,
    runaway,
    settings,
)

STEP = np.arange(100)


def say(rule: str, given: History) -> list[Finding]:
    return RULES[rule](given)


def since(rule: str, given: History) -> tuple[str, int]:
    finding = only(RULES[rule](given))
    return finding.where, finding.since_step


def test_no_gradient_needs_twenty_steps_and_others_that_have_one() -> None:
    assert since("no gradient", history(grad_norm=column(np.where(STEP < 80, 0.3, np.nan), 2))) == ("1.weight", 80)
    assert say("no gradient", history(grad_norm=column(np.where(STEP < 81, 0.3, np.nan), 2))) == []
    assert since("no gradient", history(grad_norm=np.full((100, 6), np.nan))) == ("all parameters", 0)
    late = np.where(STEP < 80, 0.3, np.nan)[:, None] * np.ones(6)
    assert since("no gradient", history(grad_norm=late)) == ("all parameters", 80)
    short = np.where(STEP < 81, 0.3, np.nan)[:, None] * np.ones(6)
    assert say("no gradient", history(grad_norm=short)) == []
    assert say("no gradient", history(grad_norm=column(np.where(STEP % 10, np.nan, 0.3), 2))) == []  # now and then
    spoilt = history(grad_norm=column(np.nan, 2), nonfinite_count=column(3.0, 2, rest=0.0))
    assert say("no gradient", spoilt) == []  # a NaN gradient is another thing
    frozen = history(grad_norm=column(np.nan, 2), settings=settings(frozen=("1.weight",)))
    assert say("no gradient", frozen) == []
    assert (
        "was not before"
        in only(say("no gradient", history(grad_norm=column(np.where(STEP < 50, 0.3, np.nan), 2)))).evidence
    )


def test_a_frozen_parameter_has_a_gradient_and_stands_still_while_others_move() -> None:
    still = column(np.where(STEP < 80, 1e-3, 0.0), 2, rest=1e-3)
    assert since("frozen parameter", history(update_ratio=still)) == ("1.weight", 80)
    assert say("frozen parameter", history(update_ratio=still[:99], steps=99, loss=np.full(99, 1.0))) == []
    assert say("frozen parameter", history(update_ratio=still, grad_norm=column(0.0, 2))) == []
    assert say("frozen parameter", history(update_ratio=still, grad_norm=column(np.nan, 2))) == []
    assert say("frozen parameter", history(update_ratio=column(0.0, 2, rest=1e-7))) == []  # others have arrived as well
    half = settings(dtypes=("bfloat16",) * 6)
    assert say("frozen parameter", history(update_ratio=still, settings=half)) == []  # rounded away: another rule
    rates = column(0.0, 2, rest=0.1)
    assert "learning rate is 0" in only(say("frozen parameter", history(update_ratio=still, lr=rates))).evidence
    unheld = history(settings=settings(unheld=("3.weight", "3.bias")))
    assert since("frozen parameter", unheld) == ("3.weight, 3.bias", 0)


def test_initialisation_looks_at_the_gain_of_the_first_weights() -> None:
    root = 8.0  # of the 64 elements of 1.weight; its fan in is 8, so the gain is norm / sqrt(8)

    def first(norm: float) -> History:
        return history(weight_norm=column(norm, 2, rest=2.0))

    assert since("initialisation", first(21 * root / 8**0.5)) == ("1.weight", 0)
    assert say("initialisation", first(19 * root / 8**0.5)) == []
    small = history(weight_norm=np.full((100, 6), 0.055))
    assert only(say("initialisation", small)).where == "0.weight, 1.weight"  # gains of 0.019, two of three
    assert say("initialisation", history(weight_norm=np.full((100, 6), 0.058))) == []
    assert say("initialisation", first(0.01)) == []  # one alone is small on purpose, as output layers are
    assert say("initialisation", history(weight_norm=np.zeros((100, 6)))) == []
    embedding = ("0.weight", "emb.weight", "1.weight", "1.bias", "2.weight", "2.bias")
    tall = settings(shapes=((8, 4), (60, 900), *SHAPES[2:]))
    table = history(weight_norm=column(1.4 * (60 * 900) ** 0.5, 1, rest=2.0), settings=tall)._replace(
        parameters=embedding
    )
    assert say("initialisation", table) == []  # N(0, 1) and a width of 900: a gain of 30 or so
    larger = table._replace(measures={"weight_norm": column(1.6 * (60 * 900) ** 0.5, 1, rest=2.0)})
    assert only(say("initialisation", larger)).where == "emb.weight"


def test_inputs_are_measured_by_the_first_layers_gradients() -> None:
    for size, expected in ((29, 0), (31, 1), (9_900, 1), (10_100, 0)):  # the fan in is 4, so its root is 2
        assert len(say("unnormalised inputs", history(grad_norm=column(0.3 * 2 * size, 0)))) == expected
    assert "about 31" in only(say("unnormalised inputs", history(grad_norm=column(0.3 * 2 * 31, 0)))).evidence
    assert say("unnormalised inputs", history(grad_norm=column(0.3 * 2 * 31, 2))) == []  # not the first layer


def test_gradients_below_eps() -> None:
    adam = settings("Adam")  # eps 1e-8; the smallest layer has 32 elements, the largest 64
    low = np.full((100, 6), 0.9e-9 * 32**0.5)
    assert since("underflow", history(grad_norm=low, settings=adam)) == ("all parameters", 0)
    assert say("underflow", history(grad_norm=np.full((100, 6), 1.1e-9 * 64**0.5), settings=adam)) == []
    assert say("underflow", history(grad_norm=low)) == []  # SGD has no eps
    one = history(grad_norm=column(1e-10, 2), settings=adam)
    assert since("underflow", one) == ("1.weight", 0)
    assert say("underflow", history(grad_norm=column(1e-10, 1), settings=adam)) == []  # a bias before a norm
    assert say("underflow", history(grad_norm=column(0.0, 2), settings=adam)) == []
    late = from_step(80, 0.3, 1e-10)
    assert say("underflow", history(grad_norm=late, settings=adam, loss=np.linspace(2, 0, 100))) == []  # it has arrived
    assert since("underflow", history(grad_norm=late, settings=adam, loss=np.full(100, 2.0) + STEP)) == (
        "all parameters",
        80,
    )


def test_gradients_that_float16_has_cut_off() -> None:
    cut = {"-24": 0.3, "-22": 0.05, "-20": 0.05}
    assert since("underflow", history(**histogram(0.6, cut))) == ("all parameters", 7)
    assert say("underflow", history(**histogram(0.49, {**cut, "-18": 0.11}))) == []
    thin = {"-24": 0.001, "-22": 0.004, "-20": 0.016, "-18": 0.379}  # as silenced units leave it
    assert say("underflow", history(**histogram(0.6, thin))) == []
    assert say("underflow", history(**histogram(0.6, {"<-40": 0.4}))) == []  # below what the bins tell apart
    few = history(
        **histogram(0.97, {"-24": 0.03}), settings=settings(shapes=((1, 4), (1,), (1, 1), (1,), (1, 1), (1,)))
    )
    assert say("underflow", few) == []


def test_a_dead_layer_by_its_bias_for_fifty_steps() -> None:
    def dead(share: float, steps: int = 100) -> History:
        return history(zero_units=read_every(8, column(np.where(100 - steps <= STEP, share, 0.0), 3, rest=0.0)))

    assert since("dead layer", dead(0.76)) == ("1.weight", 7)
    assert "76% of the units (6 of 8)" in only(say("dead layer", dead(0.76))).evidence
    assert say("dead layer", dead(0.74)) == []
    assert since("dead layer", dead(0.9, 61)) == ("1.weight", 39)
    assert say("dead layer", dead(0.9, 60)) == []
    embedding = history(zero_units=read_every(8, column(0.99, 2, rest=0.0)))  # rows alone: words that the batch has not
    assert say("dead layer", embedding) == []


def test_a_layer_whose_whole_gradient_is_zero_is_dead() -> None:
    norms = np.full((100, 6), 0.3)
    norms[80:, :4] = 0.0
    assert since("dead layer", history(grad_norm=norms)) == ("1.weight, 0.weight", 80)  # nearest the output first
    assert say("dead layer", history(99, grad_norm=norms[:99], loss=np.ones(99))) == []
    assert say("dead layer", history(grad_norm=np.zeros((100, 6)))) == []  # nothing learns: "stalled"
    assert say("dead layer", history(grad_norm=column(0.0, 4))) == []  # its bias learns


def test_zeros_of_half_precision_are_no_dead_layer() -> None:
    cut = histogram(0.9, {"-24": 0.09, "-22": 0.01})
    assert say("dead layer", history(grad_norm=column(0.0, 2) * column(0.0, 3, rest=1.0), **cut)) == []


def test_saturated_needs_nine_tenths_in_five_readings_and_no_output() -> None:
    def outputs(values: object, modules: tuple[str, ...] = ("1", "3", "(output)")) -> History:
        matrix = read_every(16, np.asarray(values) * np.ones((100, len(modules))))
        return history(activations={"saturation": Activations(modules, matrix)})

    assert since("saturated", outputs([0.91, 0.0, 0.0])) == ("1", 15)
    assert say("saturated", outputs([0.89, 0.0, 0.0])) == []
    assert say("saturated", outputs([0.0, 0.99, 0.99])) == []  # an output may be sure of itself
    late = np.where(STEP[:, None] > 40, [[0.95, 0, 0]], [[0.1, 0, 0]])
    assert say("saturated", outputs(late)) == []  # four readings


def test_clipped_to_less_than_a_hundredth() -> None:
    assert since("clipped", history(raw_grad_norm=np.full((100, 6), 0.3 * 101))) == ("all parameters", 0)
    assert say("clipped", history(raw_grad_norm=np.full((100, 6), 0.3 * 99))) == []
    assert since("clipped", history(raw_grad_norm=from_step(80, 0.3, 31)))[1] == 80
    assert say("clipped", history(raw_grad_norm=from_step(81, 0.3, 31))) == []


def test_violent_updates_without_gain() -> None:
    flat = np.full(100, 2.0)
    for ratio, expected in ((0.16, [50]), (0.14, [])):
        violent = history(update_ratio=from_step(50, 1e-3, ratio), loss=flat)
        assert [f.since_step for f in say("learning rate too high", violent)] == expected
    gaining = history(update_ratio=from_step(50, 1e-3, 0.16), loss=np.linspace(2, 1, 100))
    assert say("learning rate too high", gaining) == []
    unknown = np.full(100, np.nan)
    assert say("learning rate too high", history(update_ratio=from_step(50, 1e-3, 0.49), loss=unknown)) == []
    assert since("learning rate too high", history(update_ratio=from_step(50, 1e-3, 0.51), loss=unknown))[1] == 50


def test_a_loss_that_gives_back_half_of_what_it_gained() -> None:
    def risen(to: float, for_steps: int = 60, size: float = 0.01) -> History:
        loss = np.concatenate([np.linspace(2, 1, 60), np.full(for_steps, to)])
        return history(60 + for_steps, loss=loss + noise(60 + for_steps, size))

    assert 68 <= since("learning rate too high", risen(1.6))[1] <= 72  # the median of 20 steps passes in the middle
    assert say("learning rate too high", risen(1.4)) == []
    assert say("learning rate too high", risen(1.6, 25)) == []  # too short
    assert say("learning rate too high", risen(1.6, size=1.5)) == []  # within the noise
    still = risen(1.9)._replace(measures={"update_ratio": np.zeros((120, 6))})
    assert say("learning rate too high", still) == []  # nothing moves: not the learning rate
    assert say("learning rate too high", risen(1.9)._replace(rivals=(history(),))) == []  # the loss of a game


def test_successive_gradients_against_each_other() -> None:
    def turning(cosine: float, slope: float = 0.0) -> History:
        read = read_every(8, np.full((100, 6), cosine))
        return history(previous_cosine=read, loss=2 + slope * STEP)

    assert (
        since(
            "learning rate too high",
            history(previous_cosine=read_every(8, from_step(40, 0.1, -0.81)), loss=STEP * 0 + 2.0),
        )[1]
        == 47
    )
    assert say("learning rate too high", turning(-0.81, slope=-0.01)) == []
    assert (
        say(
            "learning rate too high",
            history(previous_cosine=read_every(8, from_step(40, 0.1, -0.79)), loss=STEP * 0 + 2.0),
        )
        == []
    )


def test_a_learning_rate_too_low_moves_little_and_gains_nothing() -> None:
    def slow(ratio: float, steps: int = 100, gain: float = 0.0) -> History:
        ratios = np.full((steps, 6), ratio)
        return history(steps, update_ratio=ratios, loss=np.linspace(2, 2 * (1 - gain), steps))

    assert since("learning rate too low", slow(0.9e-5)) == ("all parameters", 0)
    assert "multiply the learning rate by 100," in only(say("learning rate too low", slow(0.9e-5))).remedy
    for healthy in (slow(1.1e-5), slow(0.9e-5, 99), slow(0.9e-5, gain=0.08), slow(1e-8)):
        assert say("learning rate too low", healthy) == []
    assert len(say("learning rate too low", slow(0.9e-5, gain=0.04))) == 1
    warming = history(update_ratio=np.linspace(1e-7, 9e-6, 100)[:, None] * np.ones((1, 6)), loss=np.full(100, 2.0))
    assert say("learning rate too low", warming) == []


def test_a_layer_beside_the_others() -> None:
    assert since("update too large", history(update_ratio=column(0.051, 2, rest=1e-3))) == ("1.weight", 0)
    assert say("update too large", history(update_ratio=column(0.049, 2, rest=1e-3))) == []
    assert say("update too large", history(update_ratio=column(0.051, 2, rest=3e-3))) == []  # 17 times the others
    fresh = column(2 / (STEP + 1), 2, rest=1e-3)  # begins at zero, in a warm-up
    assert say("update too large", history(update_ratio=fresh)) == []
    assert since("update too small", history(update_ratio=column(0.9e-6, 2, rest=1e-3))) == ("1.weight", 0)
    assert say("update too small", history(update_ratio=column(1.1e-6, 2, rest=1e-3))) == []
    assert say("update too small", history(update_ratio=column(0.0, 2, rest=1e-3))) == []  # frozen


def test_weights_that_shrink_step_by_step() -> None:
    def shrinking(rate: float) -> History:
        norms = column(2 * rate ** np.maximum(STEP - 50, 0), 2, rest=2.0)
        return history(weight_norm=norms, settings=settings()._replace(weight_decay=decay))

    decay = (0.1,) * 6
    assert since("update too large", shrinking(0.95)) == ("1.weight", 64)  # 0.95^14 < 0.5
    assert say("update too large", shrinking(0.97)) == []
    decay = (0.0,) * 6  # what shrinks is not decay
    assert say("update too large", shrinking(0.95)) == []
    assert say("update too large", history(weight_norm=column(np.where(STEP < 50, 2, 0.1), 2, rest=2.0))) == []


def test_updates_that_half_precision_does_not_hold() -> None:
    half = settings(dtypes=("bfloat16",) * 6)
    limit = 2.0**-7 / 8
    assert since("update too small", history(update_ratio=np.full((100, 6), 0.9 * limit), settings=half)) == (
        "all parameters",
        0,
    )
    assert say("update too small", history(update_ratio=np.full((100, 6), 1.1 * limit), settings=half)) == []
    assert say("update too small", history(update_ratio=np.full((100, 6), 0.9 * limit))) == []


def test_a_gradient_that_nobody_expected() -> None:
    def peak(times: float, at: int = 70) -> History:
        return history(grad_norm=np.where(at == STEP, times, 1.0)[:, None] * np.full((100, 6), 0.3))

    assert since("loss spike ahead", peak(7.8)) == ("all parameters", 70)  # 7.8^2 = 61
    assert say("loss spike ahead", peak(7.7)) == []
    assert say("loss spike ahead", peak(100, at=49)) == []  # too early to know
    assert say("loss spike ahead", peak(20)._replace(rivals=(history(),))) == []
    assert len(say("loss spike ahead", peak(25)._replace(rivals=(history(),)))) == 1


def test_a_learning_rate_that_grows_without_end() -> None:
    def rates(curve: np.ndarray) -> History:
        return history(len(curve), lr=1e-3 * curve[:, None] * np.ones((1, 6)), loss=np.linspace(2, 1, len(curve)))

    step = np.arange(200)
    assert since("loss spike ahead", rates(1.03 ** np.maximum(step - 50, 0))) == ("all parameters", 110)
    assert since("loss spike ahead", rates(1.012**step))[1] == 60
    assert say("loss spike ahead", rates(1.011**step)) == []
    for warm_up in (step + 1.0, 1 + 12 * (1 - np.cos(np.pi * np.minimum(step, 180) / 180)), np.minimum(step + 1, 60.0)):
        assert say("loss spike ahead", rates(warm_up)) == []


def test_growing_updates_and_a_rising_loss() -> None:
    def grown(times: float, rise: float) -> History:
        loss = np.r_[np.linspace(2, 1, 100), np.linspace(1, 1 + rise, 100)] + noise(200, 0.05)
        return history(200, update_ratio=from_step(80, 1e-3, times * 1e-3, 200), loss=loss)

    where, step = since("loss spike ahead", grown(2.1, 0.8))
    assert where == "all parameters"
    assert 110 <= step <= 135
    assert say("loss spike ahead", grown(1.9, 0.8)) == []
    assert say("loss spike ahead", grown(2.1, 0.0)) == []


def test_weights_that_explode() -> None:
    def heavy(rate: float, most: float) -> History:
        grown = np.minimum(rate ** np.arange(400.0), most)
        return history(400, weight_norm=2 * column(grown, 2, rest=1.0, steps=400))

    where, step = since("exploding", heavy(1.02, 1e9))
    assert where == "1.weight"
    assert 170 < step < 178  # 1.02^172 = 30
    assert say("exploding", heavy(1.02, 29.0)) == []
    assert say("exploding", heavy(1.012, 1e9)) == []  # it takes 58 steps to double
    assert (
        say("exploding", history(400, weight_norm=column(np.arange(400) * 0.5, 2, rest=2.0, steps=400))) == []
    )  # from 0


def test_a_loss_too_sensitive_to_a_layer_from_the_start() -> None:
    def sensitive(times: float) -> History:
        return history(grad_norm=column(times * 2.0 * 8 / 2.0, 2), settings=settings())  # loss 2, 64 elements, norm 2

    assert since("exploding", sensitive(2.1)) == ("1.weight", 0)
    assert say("exploding", sensitive(1.9)) == []


def test_a_gradient_that_explodes_after_it_had_fallen() -> None:
    norms = np.r_[np.full(5, 1.0), np.full(65, 0.11), np.full(30, 12.0)]
    found = only(say("exploding", history(grad_norm=norms[:, None] * np.ones((1, 6)))))
    assert found.since_step == 70
    lower = np.where(norms == 12, 9.9, norms)  # less than 10 times the first
    assert say("exploding", history(grad_norm=lower[:, None] * np.ones((1, 6)))) == []


def test_conflicting_losses_need_a_cosine_and_five_readings_and_equals() -> None:
    def pair(cosine: float, **changes: object) -> History:
        return history(conflicts={"a | b": read_every(8, column(cosine, 2, rest=0.1))}, **changes)

    assert since("conflicting losses", pair(-0.31)) == ("1.weight", 7)
    assert say("conflicting losses", pair(-0.29)) == []
    late = column(np.where(STEP < 70, 0.1, -0.9), 2, rest=0.1)
    assert say("conflicting losses", history(conflicts={"a | b": read_every(8, late)})) == []
    for share, expected in ((0.19, 0), (0.21, 1)):
        logged = {"loss/a": np.full(100, 1.0), "loss/b": np.full(100, share)}
        assert len(say("conflicting losses", pair(-0.9, logged=logged))) == expected
    reversal = EXAMPLES["no-op adversary"]().reversals
    assert say("conflicting losses", pair(-0.9, reversals=reversal)) == []


@pytest.mark.parametrize(
    ("cosine", "gain", "ratio", "speaks"),
    [(0.04, 0.0, 1e-3, 1), (0.06, 0.0, 1e-3, 0), (-0.06, 0.0, 1e-3, 0), (0.04, 0.2, 1e-3, 0), (0.04, 0.0, 0.9e-4, 0)],
)
def test_noisy_gradients(cosine: float, gain: float, ratio: float, speaks: int) -> None:
    loss = np.linspace(2, 2 - 2 * gain, 400) + noise(400, 0.1)
    read = read_every(16, np.full((400, 6), cosine))
    found = say("noisy gradient", history(400, loss=loss, previous_cosine=read, update_ratio=np.full((400, 6), ratio)))
    assert len(found) == speaks
    for finding in found:
        assert "batches 32 times as large" in finding.remedy  # (1 - 0.04) / 0.04 = 24


def test_a_player_that_has_won() -> None:
    assert since("player too strong", game(0.5, 155.0))[1] in (49, 50)  # a median of 20 passes in the middle
    assert say("player too strong", game(0.5, 145.0)) == []
    assert since("player too strong", game(0.04, 0.04))[1] in (49, 50)  # a loss that saturates
    assert say("player too strong", game(0.06, 0.04)) == []
    loser = game(0.04, 0.04)
    turned = loser.rivals[0]._replace(rivals=(loser,))
    assert say("player too strong", turned) == []  # the generator has not won there
    for ratio, expected in ((0.051, 1), (0.049, 0)):
        assert len(say("player too strong", game(1.0, 1.0, update_ratio=from_step(40, 1e-3, ratio)))) == expected


def test_mode_collapse_by_the_spread_of_the_outputs() -> None:
    for after, expected in ((0.89, 1), (0.91, 0)):
        found = say("mode collapse", generator(np.r_[np.full(9, 1.0), after]))
        assert [f.since_step for f in found] == [159] * expected
    wavering = np.r_[np.tile([0.9, 1.1], 5), 0.8]
    assert say("mode collapse", generator(wavering)) == []  # two of its own deviations
    slow = np.r_[np.full(9, 1.0), np.geomspace(0.97, 0.3, 60), np.full(5, 0.3)]
    assert len(say("mode collapse", generator(slow))) == 1
    collapsed = generator(np.r_[np.full(10, 1.0), 0.1])
    assert say("mode collapse", collapsed._replace(rivals=())) == []
    assert say("mode collapse", collapsed._replace(player="critic")) == []


def test_coverage_that_was_and_is_gone_is_a_collapse_that_the_spread_does_not_show() -> None:
    def covering(coverage: list[float] | np.ndarray) -> History:
        read = looked_at(np.asarray(coverage), every=300 // len(coverage))
        return generator(np.full(20, 1.0))._replace(
            steps=np.arange(300), measures={}, logged={"coverage": read}, activations={}
        )

    best = [0.1, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8]  # three quarters of it are 0.6
    finding = only(say("mode collapse", covering([*best, 0.59, 0.59, 0.59])))
    assert finding.since_step == 239
    assert "80%" in finding.evidence
    assert "59%" in finding.evidence
    assert say("mode collapse", covering([*best, 0.59, 0.59, 0.61])) == []
    assert say("mode collapse", covering([*best, 0.7, 0.59, 0.59])) == []  # two readings are too few
    assert say("mode collapse", covering([*best, 0.61, 0.61, 0.61])) == []
    assert (
        say("mode collapse", covering([0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])) == []
    )  # one reading is none
    low = np.array([*best, 0.59, 0.59, 0.59]) * 0.29 / 0.8
    assert say("mode collapse", covering(low)) == []  # what is hardly covered comes and goes
    assert len(say("mode collapse", covering(low * 0.31 / 0.29))) == 1
    assert say("mode collapse", covering([*best, 0.1, 0.1, 0.1])._replace(rivals=())) == []


def test_memorisation_is_a_share_of_the_gap_in_five_readings_beyond_their_error() -> None:
    def learnt(share: float | np.ndarray, **more: np.ndarray) -> History:
        held_out = looked_at(3.0 - 4.0 * np.asarray(share))
        return judging(training=looked_at(3.0), held_out=held_out, generated=looked_at(-1.0), **more)

    assert say("memorisation", learnt(0.19)) == []
    finding = only(say("memorisation", learnt(0.21)))
    assert (finding.since_step, finding.player) == (14, "discriminator")
    assert only(say("memorisation", learnt(np.r_[np.zeros(15), np.full(5, 0.5)]))).since_step == 239
    assert say("memorisation", learnt(np.r_[np.zeros(16), np.full(4, 0.5)])) == []
    assert say("memorisation", learnt(np.r_[np.full(19, 0.5), 0.15])) == []  # it is over
    assert say("memorisation", learnt(-0.5)) == []
    assert len(say("memorisation", learnt(0.5, logit_error=looked_at(0.49)))) == 1  # 2 is more than 4 times that
    assert say("memorisation", learnt(0.5, logit_error=looked_at(0.51))) == []
    wavering = (-1.0) ** np.arange(20)  # without an error the scatter of the readings counts
    assert len(say("memorisation", learnt(0.5 + 0.03 * wavering))) == 1
    assert say("memorisation", learnt(0.5 + 0.08 * wavering)) == []
    copied = judging(training=looked_at(2.0), held_out=looked_at(1.0), generated=looked_at(2.5))
    assert len(say("memorisation", copied)) == 1  # generated ones are as good as what was learnt by heart
    assert say("memorisation", learnt(0.5)._replace(logged={"held_out": looked_at(0.0)})) == []


def test_a_game_diverges_when_its_logits_grow_and_grow_beyond_all_losses() -> None:
    def apart(gap: np.ndarray) -> History:
        return judging(real=gap / 2, fake=-gap / 2)

    step = np.arange(300)
    finding = only(say("diverging game", apart(runaway(3.0))))
    assert finding.since_step in range(128, 140)  # a hundred steps before it was too much
    late = np.where(step < 200, 1.02**step / 60, 0) + np.where(step < 200, 0, 1000.0)
    assert only(say("diverging game", apart(late))).since_step == 200
    assert say("diverging game", apart(runaway(3.0, at_100=100 / 2.9**3))) == []  # just below a hundred, in the end
    assert len(say("diverging game", apart(runaway(3.0, at_100=110 / 2.9**3)))) == 1
    assert len(say("diverging game", apart(-runaway(3.0)))) == 1  # generated samples above real ones
    assert say("diverging game", apart(np.where(step < 150, 1.0, 500.0))) == []  # a jump, and it stays there
    assert say("diverging game", apart(500.0 * (1 - np.exp(-step / 20)))) == []  # a distance that is found out
    rising = np.minimum(runaway(3.0), 120.0)
    assert len(say("diverging game", apart(rising))) == 1
    assert say("diverging game", apart(np.where(step < 275, rising, 59.0))) == []  # it came back
    assert len(say("diverging game", apart(np.where(step < 275, rising, 61.0)))) == 1
    drifting = judging(real=runaway(3.0), fake=runaway(3.0) - 1)
    assert say("diverging game", drifting) == []  # only their difference means something


def test_a_game_gets_nowhere_when_ten_looks_are_no_better_and_hardly_anything_is_covered() -> None:
    def looked(quality: np.ndarray, coverage: float | np.ndarray = 0.05) -> History:
        n = len(quality)
        logged = {"quality": looked_at(quality, 300 // n), "coverage": looked_at(np.zeros(n) + coverage, 300 // n)}
        return history(300, logged=logged)._replace(player="generator")

    assert only(say("diverging game", looked(np.full(10, 1.5)))).since_step == 29
    assert say("diverging game", looked(np.full(10, 1.5)).until(298)) == []  # nine readings
    start = [1.6, 1.5, 1.4, 1.0, 0.9]  # their median is 1.5, of which 95 % are 1.425
    assert only(say("diverging game", looked(np.r_[start, np.full(5, 1.43)]))).since_step == 179
    assert say("diverging game", looked(np.r_[start, np.full(5, 1.42)])) == []
    assert say("diverging game", looked(np.r_[start, np.full(4, 1.6), 1.42])) == []
    assert say("diverging game", looked(np.r_[start, 1.42, np.full(4, 1.6)])) == []
    assert say("diverging game", looked(np.full(10, 0.1), 0.11)) == []  # it was good, and is
    assert len(say("diverging game", looked(np.full(10, 0.1), 0.09))) == 1


def test_overfit_needs_a_rise_and_a_training_loss_that_falls() -> None:
    def validated(rise: float, loss: np.ndarray | None = None, name: str = "val_loss", sign: float = 1.0) -> History:
        curve = sign * np.r_[np.linspace(2, 1, 50), np.linspace(1, 1 + rise, 50)]
        read = read_every(5, curve[:, None])[:, 0]
        return history(logged={name: read}, loss=np.linspace(2, 1, 100) if loss is None else loss)

    where, step = since("overfit", validated(0.3))
    assert where == "all parameters"
    assert 44 <= step <= 54
    assert f"stop at step {step}" in only(say("overfit", validated(0.3))).remedy
    assert say("overfit", validated(0.08)) == []
    assert say("overfit", validated(0.3, loss=np.r_[np.linspace(2, 1, 50), np.full(50, 1.2)])) == []
    assert len(say("overfit", validated(0.3, name="val_accuracy", sign=-1.0))) == 1
    rising = read_every(5, np.linspace(0.1, 0.9, 100)[:, None])[:, 0]
    assert say("overfit", history(logged={"val_accuracy": rising})) == []
    shaky = np.r_[np.linspace(2, 1, 50), np.full(50, 1.05)] + noise(100, 0.2)
    assert say("overfit", history(logged={"val_loss": shaky})) == []
