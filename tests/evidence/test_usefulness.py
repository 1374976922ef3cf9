import json
import subprocess
import sys

import numpy as np
import pytest

from gradtape.errors import InputError
from gradtape.evidence import compare, mean_interval, paired_gain

BASE = [0.90, 0.92, 0.88, 0.91, 0.89]


def shifted(*points):
    return [b + p / 100 for b, p in zip(BASE, points, strict=True)]


def test_gain_is_paired_and_in_points():
    found = compare({"real": BASE, "a": shifted(1, 2, 3, 2, 1), "b": [0.5, 0.6, 0.7, 0.8, 0.9]}, "real", "a")
    gain = found.arm("a").gain
    expected = paired_gain(shifted(1, 2, 3, 2, 1), BASE)
    assert gain.mean == pytest.approx(1.8)
    assert (gain.low, gain.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert (gain.n, gain.level, found.n) == (5, 0.95, 5)
    assert found.arm("real").gain is None
    assert found.arm("real").mean == mean_interval(BASE)
    unpaired_half = mean_interval(BASE).high - mean_interval(BASE).mean
    assert gain.high - gain.mean < 100 * unpaired_half  # what both share cancels


@pytest.mark.parametrize(
    ("points", "helps", "opening"),
    [
        ((1, 2, 3, 2, 1), "yes", "Yes: 'arm' raised the score (+1.8 [+0.8, +2.8] points over 'real', 5 paired seeds"),
        ((1, -2, 3, -2, 1), "no", "No: 'arm' shows no gain that can be told from 0 (+0.2 ["),
        ((-1, -2, -3, -2, -1), "hurts", "It hurt: 'arm' lowered the score (-1.8 [-2.8, -0.8] points over"),
        ((0, 0, 0, 0, 0), "no", "No: 'arm'"),
        ((1, 1, 1, 1, 1), "unknown", "Unknown: 'arm' gave the same gain with every seed"),
    ],
)
def test_claims(points, helps, opening):
    claim = compare({"real": BASE, "arm": shifted(*points)}, "real", "arm").claim()
    assert claim.helps == helps
    assert claim.sentence.startswith(opening)
    assert "5 paired seeds, 95% interval" in claim.sentence


def test_a_gain_that_was_not_chosen_beforehand_is_marked():
    scores = {"real": BASE, "a": shifted(1, 2, 3, 2, 1), "b": shifted(1, 2, 2, 2, 1), "c": shifted(0, 1, -1, 0, 1)}
    found = compare(scores, "real", "b")
    assert "one of 3 arms, and not chosen beforehand" in found.claim("a").sentence
    assert "one of 3" not in found.claim("b").sentence
    assert found.claim() == found.claim("b")
    assert "one of" not in compare({"real": BASE, "a": scores["a"]}, "real").claim("a").sentence


def test_claims_err_at_the_stated_rate():
    rng = np.random.default_rng(0)
    verdicts = [
        compare({"real": base, "arm": base + rng.normal(0, 0.01, 5)}, "real", "arm").claim().helps
        for base in rng.uniform(0.4, 0.6, (600, 5))
    ]
    assert 0.005 <= verdicts.count("yes") / 600 <= 0.045
    assert 0.005 <= verdicts.count("hurts") / 600 <= 0.045


def test_mean_intervals_stay_inside_the_scale():
    arm = compare({"real": [0.99, 1.0], "x": [0.0, 0.02]}, "real")
    assert arm.arm("real").mean.high == 1.0
    assert arm.arm("x").mean.low == 0.0
    assert arm.level == 0.95


def test_level_reaches_intervals_and_words():
    found = compare({"real": BASE, "arm": shifted(1, 2, 3, 2, 1)}, "real", "arm", level=0.999)
    assert "99.9% interval" in found.claim().sentence
    assert found.arm("arm").gain.level == 0.999
    assert found.claim().helps == "no"


def test_plain_values_survive_json():
    found = compare({"real": BASE, "arm": shifted(1, 2, 3, 2, 1)}, "real", "arm")
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["arms"][0]["gain"] is None
    assert plain["arms"][1]["scores"] == shifted(1, 2, 3, 2, 1)
    assert plain["claims"]["arm"]["helps"] == "yes"
    assert (plain["baseline"], plain["chosen"], plain["n"]) == ("real", "arm", 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare({"a": BASE}, "real"), "baseline 'real' is no arm"),
        (lambda: compare({"real": BASE}, "real", "b"), "chosen 'b' is no arm"),
        (lambda: compare({"real": BASE, "a": BASE[:4]}, "real"), "'a' holds 4 scores and 'real' 5"),
        (lambda: compare({"real": [0.5], "a": [0.5]}, "real"), "scores of 'real' holds 1 values"),
        (lambda: compare({"real": BASE, "a": [91.0] * 5}, "real"), r"outside \[0, 1\]"),
        (lambda: compare({"real": BASE, "a": BASE}, "real").claim(), "no arm was chosen"),
        (lambda: compare({"real": BASE, "a": BASE}, "real").claim("real"), "'real' is the baseline"),
        (lambda: compare({"real": BASE, "a": BASE}, "real").claim("x"), "no arm is called 'x'"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_room_needs_no_torch_and_pays_for_no_scipy_on_import():
    code = "import sys; import gradtape.evidence; print([m for m in ('torch', 'scipy', 'sklearn') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
