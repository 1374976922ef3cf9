"""Did it help? Arms of an experiment against a baseline, paired over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradtape.errors import InputError
from gradtape.evidence._checks import level_of, vector
from gradtape.evidence._intervals import Interval, mean_interval, student
from gradtape.evidence._plain import fields_of


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Args:
        name: The arm's name.
        scores: (seeds,) score of each seed, in [0, 1].
        mean: The mean score with its interval over seeds, cut to [0, 1].
        gain: The paired gain over the baseline in points (100 times the score), ``None`` for the baseline itself.
    """

    name: str
    scores: tuple[float, ...]
    mean: Interval
    gain: Interval | None


@dataclass(frozen=True)
class Claim:
    """What may be said of an arm: ``helps`` and a sentence with the figures.

    ``helps`` is ``"yes"`` (the whole interval lies above 0), ``"hurts"`` (below 0), ``"no"`` (it covers 0) or
    ``"unknown"`` (every seed gave the very same gain, so the seeds say nothing about its certainty).
    """

    helps: Literal["yes", "no", "hurts", "unknown"]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)


@dataclass(frozen=True)
class Comparison:
    """Arms against a baseline over paired seeds; see ``compare``."""

    arms: tuple[Arm, ...]
    baseline: str
    chosen: str | None
    n: int
    level: float

    def arm(self, name: str) -> Arm:
        """Return the arm called ``name``.

        Raises:
            InputError: there is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise InputError(f"no arm is called {name!r}", remedy=f"give one of {', '.join(a.name for a in self.arms)}")

    def claim(self, arm: str | None = None) -> Claim:
        """Return what may be claimed of ``arm`` (by default the chosen one): no gain where the interval covers 0.

        Raises:
            InputError: no such arm, the baseline itself, or neither an arm nor a chosen one.
        """
        name = self.chosen if arm is None else arm
        if name is None:
            raise InputError("no arm was chosen", remedy="name the arm whose claim you want")
        gain = self.arm(name).gain
        if gain is None:
            raise InputError(f"{name!r} is the baseline", remedy="name another arm")
        level = f"{100 * self.level:.4g}%"
        figures = f"{gain} points over {self.baseline!r}, {self.n} paired seeds, {level} interval"
        if gain.covers(0.0):
            return Claim("no", f"No: {name!r} shows no gain that can be told from 0 ({figures}).")
        if gain.degenerate:
            return Claim(
                "unknown", f"Unknown: {name!r} gave the same gain with every seed, which is no test ({figures})."
            )
        if gain.high < 0.0:
            return Claim("hurts", f"It hurt: {name!r} lowered the score ({figures}).")
        rivals = len(self.arms) - 1
        caution = "" if name == self.chosen or rivals < 2 else f"; one of {rivals} arms, and not chosen beforehand"
        return Claim("yes", f"Yes: {name!r} raised the score ({figures}{caution}).")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold, with the claim of each arm."""
        claims = {arm.name: self.claim(arm.name).to_dict() for arm in self.arms if arm.gain is not None}
        return {**fields_of(self), "claims": claims}


def compare(
    scores: Mapping[str, Sequence[float]], baseline: str, chosen: str | None = None, level: float = 0.95
) -> Comparison:
    """Compare arms with a baseline, paired by position: the i-th score of each arm is of the same seed and split.

    ``gain = mean(100 (score - baseline score))`` in points, with Student's interval over seeds.

    Every arm has its own 95% interval. Of many arms that do nothing, one in forty still comes out as a gain, so name
    the arm that was chosen on validation data: its claim on test data is the only one that stands alone.

    Args:
        scores: Arm to one score per seed, each in [0, 1]; all arms hold the same number, >= 2.
        baseline: The arm that the others are compared with.
        chosen: The arm chosen without looking at these scores, if any.
        level: Confidence level in (0, 1).

    Returns:
        The comparison; ``claim(arm)`` says in words what may be claimed.

    Raises:
        InputError: no such baseline or chosen arm, unequal numbers of scores, fewer than two, or scores outside [0, 1].

    Examples:
        >>> found = compare({"real only": [0.90, 0.92, 0.91], "steer": [0.93, 0.94, 0.94]}, "real only", "steer")
        >>> print(found.claim().sentence)
        Yes: 'steer' raised the score (+2.7 [+1.2, +4.1] points over 'real only', 3 paired seeds, 95% interval).

    Source: Student (1908), The Probable Error of a Mean, Biometrika 6(1).
    """
    level = level_of(level)
    for role, name in (("baseline", baseline), ("chosen", chosen)):
        if name is not None and name not in scores:
            raise InputError(f"{role} {name!r} is no arm", remedy=f"give one of {', '.join(scores)}")
    values = {name: vector(found, f"scores of {name!r}", at_least=2) for name, found in scores.items()}
    base = values[baseline]
    arms = []
    for name, found in values.items():
        if found.size != base.size:
            raise InputError(
                f"{name!r} holds {found.size} scores and {baseline!r} {base.size}", remedy="give one score per seed"
            )
        if found.min() < 0.0 or found.max() > 1.0:
            raise InputError(f"scores of {name!r} lie outside [0, 1]", remedy="give shares, not percentages")
        mean = mean_interval(found, level)
        mean = replace(mean, low=max(0.0, mean.low), high=min(1.0, mean.high))
        gain = None if name == baseline else student(100.0 * (found - base), level, size=100.0)
        arms.append(Arm(name, tuple(found.tolist()), mean, gain))
    return Comparison(tuple(arms), baseline, chosen, base.size, level)
