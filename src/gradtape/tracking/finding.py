"""A verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """What a rule found.

    Attributes:
        rule: Name of the rule.
        player: The player whose series it was found in.
        where: The parameter or parameters, in words.
        since_step: The first step at which it held.
        evidence: The figures that made the rule speak.
        remedy: What to try, with a number.

    Examples:
        >>> print(Finding("stalled", "model", "all parameters", 40, "updates are 0", "raise the learning rate"))
        stalled since step 40 in model, all parameters: updates are 0; raise the learning rate
    """

    rule: str
    player: str
    where: str
    since_step: int
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.rule} since step {self.since_step} in {self.player}, {self.where}: {self.evidence}; {self.remedy}"
        )


def in_words(findings: Sequence[Finding]) -> list[str]:
    """Return three lines for each finding: what, where and since when; the evidence; the remedy."""
    lines = []
    for number, finding in enumerate(findings, 1):
        lines.append(f"{number}. {finding.rule} since step {finding.since_step:,}: {finding.where} of {finding.player}")
        lines += [f"   {finding.evidence}", f"   {finding.remedy}"]
    return lines
