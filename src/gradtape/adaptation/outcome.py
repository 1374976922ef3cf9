"""What came of an adaptation: every candidate, what was chosen, and whether it helped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradtape.evidence import Interval, mean_interval, proportion


class Candidate(NamedTuple):
    """A method at a strength, stopped at a step.

    Attributes:
        method: Its name.
        strength: λ at the end of its ramp; None for a method without.
        step: The step.
        scores: Validator -> score, higher is better.
        accuracy: On target labels, looked at when everything was chosen: a share, or minus the mean absolute error of
            a regression; None without labels. Of at most 2,000 rows, spread evenly.
    """

    method: str
    strength: float | None
    step: int
    scores: dict[str, float]
    accuracy: float | None = None


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        name: ``source only``, ``chosen``, ``oracle``.
        method: Its method.
        strength: λ at the end of its ramp.
        step: Where it stopped.
        accuracy: With its interval; None without target labels.
    """

    name: str
    method: str
    strength: float | None
    step: int
    accuracy: Interval | None


class Verdict(NamedTuple):
    """Whether adaptation helps.

    Attributes:
        kind: ``helps``, ``does not help``, or ``unknown`` without target labels.
        sentence: In words.
    """

    kind: Literal["helps", "does not help", "unknown"]
    sentence: str


@dataclass(frozen=True)
class Outcome:
    """What came of an adaptation.

    Attributes:
        candidates: All of them, methods in the order tried, steps in their order.
        source: Index of source only, at its last step.
        chosen: Index of what was chosen.
        oracle: Index of the best on target labels, None without.
        select: What chose: a validator, several, or None for the method as asked.
        table: Source only, chosen, and oracle where there are labels.
        gain: Chosen minus source only, paired over the target's rows; None without labels.
        verdict: Whether it helps.
        label_shift: What was found about the prevalence of classes, or None.
        course: Name -> figures of the chosen method over ``step``.
        band: Where the critic's accuracy should lie: low, high and a sentence; None without a critic.
        balance: Per layer of the features: norms of both gradients, and their cosine.
        confusion: Of the target if labels were given, else of the source kept from training.
        findings: Of the tracker.
    """

    candidates: list[Candidate]
    source: int
    chosen: int
    oracle: int | None
    select: str | None
    table: list[Row]
    gain: Interval | None
    verdict: Verdict
    label_shift: dict[str, Any] | None
    course: dict[str, list[float]]
    band: dict[str, Any] | None
    balance: list[dict[str, Any]]
    confusion: dict[str, Any] | None
    findings: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        plain = asdict(self)
        plain["candidates"] = [each._asdict() for each in self.candidates]
        plain["table"] = [
            {**row._asdict(), "accuracy": None if row.accuracy is None else row.accuracy.to_dict()}
            for row in self.table
        ]
        plain["gain"] = None if self.gain is None else self.gain.to_dict()
        plain["verdict"] = self.verdict._asdict()
        return plain


def right(answers: NDArray[Any], labels: NDArray[Any], *, regression: bool) -> NDArray[np.float64]:
    """Return how right each answer is: 1 or 0, or minus the absolute error."""
    if regression:
        return np.asarray(-np.abs(np.asarray(answers, float) - np.asarray(labels, float)))
    return np.asarray(answers == labels, dtype=float)


def figure(scores: NDArray[np.float64], *, regression: bool) -> Interval:
    """Return the mean with its interval: Wilson's for shares, Student's for errors."""
    return mean_interval(scores) if regression else proportion(int(scores.sum()), len(scores))


def verdict(gain: Interval | None, chosen: str, *, regression: bool, aside: str) -> Verdict:
    """Say whether adaptation helps; no claim where the interval covers 0."""
    if gain is None:
        said = "whether it helps is not known: no labels of the target were given to measure on"
        return Verdict("unknown", said + aside)
    unit = "" if regression else " points"
    factor = 1 if regression else 100
    by = f"{gain.mean * factor:+.3g}{unit} [{gain.low * factor:+.3g}, {gain.high * factor:+.3g}], n = {gain.n:,}"
    if chosen == "source":
        return Verdict("does not help", f"source only was chosen: adaptation is not used here{aside}")
    if gain.low > 0:
        return Verdict("helps", f"{chosen} helps over source only, by {by}")
    how = "is worse than source only" if gain.high < 0 else "is not shown to help over source only"
    return Verdict("does not help", f"{chosen} {how} ({by}){aside}")
