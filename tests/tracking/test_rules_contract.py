"""What every rule promises: to speak of its example, in words, of nothing it cannot know, at any scale of the loss."""

import time
import warnings

import numpy as np
import pytest

from gradtape.tracking import RULES, Activations, Finding, History, Settings, judge
from gradtape.tracking.measures import MEASURES
from gradtape.tracking.rules.underflow import BINS, HISTOGRAM
from tests.tracking.histories import EXAMPLES, NAMES, histogram, history, settings

GRADIENTS = ("grad_norm", "raw_grad_norm", "grad_max", "grad_mean")


def scaled(given: History, factor: float) -> History:
    """What would have been read if the loss were ``factor`` times as large, and the optimizer set accordingly."""
    measures = {name: values * factor if name in GRADIENTS else values for name, values in given.measures.items()}
    shift = round(np.log2(factor) / 2)
    named = [f"grad_histogram / {name}" for name in BINS]
    if named[0] in measures:
        moved = np.roll(np.stack([measures[name] for name in named]), shift, axis=0)
        measures |= dict(zip(named, moved, strict=True))
    known = given.settings
    adaptive = known.optimizer == "Adam"
    return given._replace(
        measures=measures,
        loss=given.loss * factor,
        lr=given.lr if adaptive else given.lr / factor,
        settings=known._replace(eps=tuple(eps * factor for eps in known.eps)),
        logged={name: values * factor if "loss" in name else values for name, values in given.logged.items()},
        reversals={
            name: {field: values * factor if field == "arriving" else values for field, values in passed.items()}
            for name, passed in given.reversals.items()
        },
        rivals=tuple(scaled(rival, factor) for rival in given.rivals),
    )


def said(rule: str, given: History) -> list[tuple[str, str, str, int]]:
    return [(f.rule, f.player, f.where, f.since_step) for f in RULES[rule](given)]


def test_every_rule_has_an_example_and_its_name() -> None:
    assert list(EXAMPLES) == list(RULES)
    assert len(RULES) == len(set(RULES.values())) == 25
    for rule in RULES.values():
        assert (rule.__doc__ or "").startswith(("Find ", "Warn "))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_speaks_of_its_example_in_words(rule: str) -> None:
    given = EXAMPLES[rule]()
    found = RULES[rule](given)
    assert [finding.rule for finding in found] == [rule]
    (finding,) = found
    assert isinstance(finding, Finding)
    assert finding.player == given.player
    assert finding.where
    assert finding.since_step in given.steps
    assert any(letter.isdigit() for letter in finding.evidence)
    assert finding.remedy
    assert "nan" not in finding.evidence + finding.remedy
    assert finding in judge([given, *given.rivals])


@pytest.mark.parametrize("factor", [1e-4, 1e4, 4.0**-7, 4.0**7, 32.0, 1 / 32])  # 32: summed over a batch, not averaged
@pytest.mark.parametrize("rule", RULES)
def test_no_rule_depends_on_the_scale_of_the_loss(rule: str, factor: float) -> None:
    given = EXAMPLES[rule]()
    assert said(rule, scaled(given, factor)) == said(rule, given) != []
    for adam in (False, True):
        healthy = history(settings=settings("Adam" if adam else "SGD"))
        assert said(rule, scaled(healthy, factor)) == []


@pytest.mark.parametrize("factor", [4.0**-7, 4.0**-3, 4.0**5])
def test_what_float16_cuts_off_is_seen_at_any_scale(factor: float) -> None:
    given = history(**histogram(0.9, {"-24": 0.06, "-22": 0.03, "-18": 0.01}))
    assert said("underflow", scaled(given, factor)) == said("underflow", given) != []


def test_the_bins_that_are_read_are_those_that_are_measured() -> None:
    (fields,) = [measure.fields for measure in MEASURES if measure.name == HISTOGRAM]
    assert [field for field in fields if field not in ("zero", "nonfinite")] == list(BINS)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_nothing_of_what_it_cannot_know(rule: str) -> None:
    empty = History("net", NAMES, np.arange(300), {}, np.full(300, np.nan))
    unread = {name: np.full((300, 6), np.nan) for name in ("grad_norm", "weight_norm", "update_ratio", "update_norm")}
    for given in (
        empty,
        empty._replace(measures=unread),
        empty._replace(measures=unread, settings=settings("Adam"), lr=np.full((300, 6), np.nan)),
        empty._replace(activations={"spread": Activations((), np.zeros((300, 0)))}, rivals=(empty,)),
        empty._replace(loss=np.linspace(2, 1, 300)),
        empty._replace(parameters=(), settings=Settings()),
        history(0, loss=np.zeros(0)),
        history(1),
    ):
        assert RULES[rule](given) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_copes_with_any_prefix_and_says_nothing_too_early(rule: str) -> None:
    given = EXAMPLES[rule]()
    for end in (0, 1, 2, 5, 10, 19, 20, 21, 50, len(given.steps) - 1):
        for finding in RULES[rule](given.until(end)):
            assert finding.since_step <= end


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_copes_with_a_single_parameter(rule: str) -> None:
    alone = History(
        "net",
        ("weight",),
        np.arange(100),
        {
            "grad_norm": np.full((100, 1), 0.3),
            "weight_norm": np.full((100, 1), 2.0),
            "update_ratio": np.full((100, 1), 1e-3),
            "update_norm": np.full((100, 1), 2e-3),
            "nonfinite_count": np.zeros((100, 1)),
        },
        np.linspace(2, 1, 100),
    )
    assert RULES[rule](alone) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_copes_with_infinities(rule: str) -> None:
    given = EXAMPLES[rule]()
    spoilt = {name: values.copy() for name, values in given.measures.items()}
    for values in spoilt.values():
        values[70:75] = np.inf
        values[75:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RULES[rule](given._replace(measures=spoilt))


def test_findings_come_by_their_first_step_and_then_causes_first() -> None:
    both = history(update_ratio=np.full((100, 6), 1e-9), settings=settings(unheld=("3.weight",)))
    assert [(f.rule, f.since_step) for f in judge([both])] == [("frozen parameter", 0), ("stalled", 0)]
    late = history(grad_norm=np.where(np.arange(100) < 40, 0.3, 60.0)[:, None] * np.ones((1, 6)))
    assert [f.player for f in judge([late._replace(player="b"), both._replace(player="a")])][:2] == ["a", "a"]


def test_each_player_is_judged_knowing_its_rivals() -> None:
    winner = EXAMPLES["player too strong"]()
    alone = winner._replace(rivals=())
    loser = winner.rivals[0]
    assert [f.rule for f in judge([alone])] == []
    assert ("player too strong", "discriminator") in [(f.rule, f.player) for f in judge([alone, loser])]


def test_all_rules_together_are_fast() -> None:
    steps, size = 20_000, 200
    random = np.random.default_rng(0)
    values = random.lognormal(0, 0.5, (steps, size))
    names = tuple(f"{i // 2}.{'bias' if i % 2 else 'weight'}" for i in range(size))
    read = np.full((steps, size), np.nan)
    read[::16] = 0.1
    measures = {
        "grad_norm": values,
        "raw_grad_norm": values,
        "nonfinite_count": np.zeros((steps, size)),
        "weight_norm": 20 + 0.01 * values,
        "update_norm": 0.02 * values,
        "update_ratio": 1e-3 * values,
        **dict.fromkeys(("zero_units", "previous_cosine", "adam_surprise", "grad_histogram / zero"), read),
    }
    shapes = tuple((64,) if i % 2 else (64, 64) for i in range(size))
    given = History(
        "net",
        names,
        np.arange(steps),
        measures,
        2 * np.exp(-np.arange(steps) / 5000) + 0.05 * random.standard_normal(steps),
        lr=np.full((steps, size), 1e-3),
        settings=Settings("Adam", eps=(1e-8,) * size, dtypes=("float32",) * size, shapes=shapes),
    )
    began = time.process_time()
    assert judge([given]) == []
    assert time.process_time() - began < 1.5
