"""What unlearning costs and what it brings: accuracy against disparity, in figures and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape import seeding
from gradtape.adaptation._unlearning_game import Goal
from gradtape.errors import InputError
from gradtape.evidence import Interval

_DRAWS = 400
_LEVEL = 0.95
IN_WORDS = {"demographic_parity": "demographic-parity difference", "equalised_odds": "equalised-odds difference"}


class TradeOff(NamedTuple):
    """What one strength costs and brings, measured on rows that the predictor was not trained on.

    Attributes:
        strength: The weight of the adversary's loss; 0 is the plain predictor.
        accuracy: Share of right predictions.
        disparity: The largest difference between two groups, as ``disparity`` measures it.
    """

    strength: float
    accuracy: Interval
    disparity: Interval

    def __str__(self) -> str:
        return f"strength {self.strength:g}: accuracy {self.accuracy:.3f}, disparity {self.disparity:.3f}"


def disparity(y: ArrayLike, predicted: ArrayLike, attribute: ArrayLike, goal: Goal, seed: int = 0) -> Interval:
    """Return how far apart the groups are, with a bootstrap interval.

    Demographic parity: ``max_g P(ŷ = c | g) - min_g P(ŷ = c | g)``. Equalised odds: the same of ``P(ŷ = c | y = c, g)``
    and of ``P(ŷ = c | y ≠ c, g)``, whichever is larger. With more than two classes c, the largest of all. The value is
    fairlearn's; it cannot be negative, so chance alone lifts it above 0, small groups most of all.

    Args:
        y: True classes, (n,).
        predicted: Predicted classes, (n,).
        attribute: Group of each row, (n,).
        goal: "demographic_parity" or "equalised_odds".
        seed: Seed of the draws.

    Returns:
        The interval; values in [0, 1].

    Raises:
        InputError: fairlearn is not installed.

    Examples:
        >>> f"{disparity([0, 1] * 50, [0] * 50 + [0, 1] * 25, [0] * 50 + [1] * 50, 'demographic_parity').mean:.2f}"
        '0.50'

    Source: Hardt, Price and Srebro, Equality of Opportunity in Supervised Learning, NeurIPS 2016.
    """
    truth, said, group = (np.asarray(values) for values in (y, predicted, attribute))
    classes = np.unique(np.concatenate([truth, said]))
    measure = _fairlearn(goal)
    asked = classes[1:] if len(classes) == 2 else classes
    value = max(float(measure(truth == c, said == c, sensitive_features=group)) for c in asked)
    names, g = np.unique(group, return_inverse=True)
    table = np.zeros((len(names), len(classes), len(classes)))
    np.add.at(table, (g, np.searchsorted(classes, truth), np.searchsorted(classes, said)), 1)
    random = np.random.default_rng(seeding.derive(seed, "unlearning", "disparity"))
    drawn = random.multinomial(len(truth), table.ravel() / len(truth), _DRAWS).reshape(_DRAWS, *table.shape)
    low, high = np.quantile(of_table(drawn, goal), [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2]).tolist()
    return Interval(value, min(low, value), max(high, value), len(truth), _LEVEL, "percentile bootstrap")


def of_table(table: NDArray[Any], goal: Goal) -> NDArray[np.float64]:
    """Return the disparity (...) of counts (..., groups, true classes, predicted classes)."""
    said, true = table.sum(axis=-2), table.sum(axis=-1)
    everyone = said.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # a group that was not drawn has no rate
        if goal == "demographic_parity":
            rates = said / everyone
        else:
            hit = np.diagonal(table, axis1=-2, axis2=-1)
            rates = np.concatenate([hit / true, (said - hit) / (everyone - true)], axis=-1)
    apart = np.fmax.reduce(rates, axis=-2) - np.fmin.reduce(rates, axis=-2)
    found: NDArray[np.float64] = np.fmax.reduce(apart, axis=-1)
    return found


def _fairlearn(goal: Goal) -> Any:
    try:
        metrics = import_module("fairlearn.metrics")
    except ImportError:
        raise InputError(
            "fairlearn, which measures the disparity, is not installed", remedy="pip install 'gradtape[fairness]'"
        ) from None
    odds = goal == "equalised_odds"
    return metrics.equalized_odds_difference if odds else metrics.demographic_parity_difference


def picture(rows: Sequence[TradeOff], chosen: TradeOff, goal: Goal) -> str:
    """Return an SVG: accuracy against disparity, a point with both intervals for each strength, the chosen one full."""
    right = 1.06 * max(row.disparity.high for row in rows) or 1.0
    bottom, top = min(row.accuracy.low for row in rows), max(row.accuracy.high for row in rows)
    bottom, top = bottom - 0.06 * (top - bottom), top + 0.06 * (top - bottom)

    def x(value: float) -> float:
        return round(80 + 540 * value / right, 1)

    def y(value: float) -> float:
        return round(350 - 290 * (value - bottom) / (top - bottom), 1)

    parts = []
    for mark in _marks(0.0, right):
        parts.append(f'<path class="g" d="M{x(mark)} 60V350"/><text x="{x(mark)}" y="370" class="m">{mark:g}</text>')
    for mark in _marks(bottom, top):
        parts.append(f'<path class="g" d="M80 {y(mark)}H620"/><text x="72" y="{y(mark) + 4}" class="e">{mark:g}</text>')
    path = " ".join(f"{x(row.disparity.mean)},{y(row.accuracy.mean)}" for row in rows)
    parts.append(f'<polyline class="c" points="{path}"/>')
    for row in rows:
        along, up = row.disparity, row.accuracy
        at_x, at_y = x(along.mean), y(up.mean)
        parts.append(
            f'<path class="i" d="M{x(along.low)} {at_y}H{x(along.high)}M{at_x} {y(up.low)}V{y(up.high)}"/>'
            f'<circle cx="{at_x}" cy="{at_y}" r="6" class="{"p f" if row == chosen else "p"}">'
            f"<title>{row}</title></circle>"
            f'<text x="{at_x + 9}" y="{at_y + 17}">{f"{row.strength:g}" if row.strength else "plain"}</text>'
        )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="660" height="420" viewBox="0 0 660 420" role="img">
<title>Accuracy against {IN_WORDS[goal]} by strength</title>
<style>text{{font:13px system-ui,sans-serif;fill:#3c4653}}.m{{text-anchor:middle}}.e{{text-anchor:end}}
.t{{font-weight:600}}.g{{stroke:#e3e7ec}}.c{{fill:none;stroke:#00796b;stroke-width:2}}.i{{stroke:#9fb4b1;fill:none}}
.p{{fill:#fff;stroke:#00796b;stroke-width:2}}.f{{fill:#00796b}}</style><rect width="660" height="420" fill="#fff"/>
<text x="80" y="28" class="t">Accuracy against {IN_WORDS[goal]}</text>
<text x="80" y="46">by strength, on {chosen.accuracy.n:,} validation rows; the full point is the chosen one</text>
{"".join(parts)}
<text x="350" y="400" class="m">{IN_WORDS[goal]}</text>
<text transform="translate(24 205) rotate(-90)" class="m">accuracy</text></svg>
"""


def _marks(low: float, high: float) -> list[float]:
    """Return round numbers from low to high, about five."""
    rough = (high - low) / 5
    size = 10 ** np.floor(np.log10(rough))
    step = size * min((1, 2, 5, 10), key=lambda factor: abs(factor * size - rough))
    first = np.ceil(low / step)
    return [round(float(k * step), 10) for k in np.arange(first, np.floor(high / step) + 1)]
