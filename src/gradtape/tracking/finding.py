"""A verdict in words."""

from __future__ import annotations

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
    """

    rule: str
    player: str
    where: str
    since_step: int
    evidence: str
    remedy: str
