"""When dear measures are read: every so many steps, more rarely where they would cost more than their budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

BASE, SIZES = "base", "sizes"  # what is read at every step, and the norms of weights and updates
DEAR_INTERVAL = 16  # steps between two readings of a dear measure, to begin with
SIZES_WIDEST, DEAR_WIDEST = 16, 128
SHORT = 0.01  # seconds: shorter steps are read in full, for their training is over in minutes
_RECONSIDER = 32  # steps
_SIZES_SHARE = 0.7  # of what the budget leaves, for weights and updates; the rest is for the dear ones

Intervals = tuple[int, int]
"""Steps between two readings of the sizes, and of each dear measure."""


class Schedule:
    """Says at which steps what is read.

    Gradient norms are read at every step. Norms of weights and updates are, if the budget allows, and at every second,
    fourth, ... step where it does not; dear measures at every 16th or more rarely, each in its turn, so that no step
    has more than its share.

    Args:
        dear: Names of the dear measures.
        budget: Share of the step time that reading may take, in (0, 1]; None keeps the intervals as they are.
    """

    def __init__(self, dear: Sequence[str], budget: float | None) -> None:
        self.dear = list(dear)
        self.sizes_interval = 1
        self.dear_interval = DEAR_INTERVAL
        self.share = math.nan
        self._budget = budget
        self._cost: dict[str, float] = {}
        self._once: set[str] = set()
        self._step_time = 0.0
        self._steps = 0

    def sizes_due(self, step: int) -> bool:
        """Whether weights and updates are read at a step."""
        return step % self.sizes_interval == 0

    def dear_due(self, step: int) -> list[str]:
        """Return the dear measures that are read at a step."""
        n, every = len(self.dear), self.dear_interval
        return [name for index, name in enumerate(self.dear) if (step - index * every // n) % every == every - 1]

    def stepped(self, spent: Mapping[str, float], seconds: float) -> Intervals | None:
        """Take note of a step: what each reading cost, and the time from its beginning to the next.

        Returns:
            The intervals that fit the budget, every now and then; None in between.
        """
        for name, cost in spent.items():
            known = self._cost.get(name, cost)
            if name in self._once:  # the first reading is cold: the second counts
                self._once.remove(name)
                known = min(known, cost)
            elif name not in self._cost:
                self._once.add(name)
            self._cost[name] = known + 0.2 * (min(cost, 4 * known) - known)  # one reading may be interrupted
        known = self._step_time or seconds
        self._step_time = known + 0.1 * (min(seconds, 4 * known) - known)
        self._steps += 1
        return None if self._budget is None or self._steps % _RECONSIDER else self._fitting(self._budget)

    def said(self) -> str:
        """Return in words what is read more rarely than it would be without a budget; empty if nothing is."""
        rare = {"weights and updates": (self.sizes_interval, 1), "dear measures": (self.dear_interval, DEAR_INTERVAL)}
        wide = [f"{what} every {found} steps" for what, (found, least) in rare.items() if found > least]
        if not wide or self._budget is None:
            return ""
        if self.share > 1.1 * self._budget:
            why = f"and reading still takes {self.share:.1%} of the step time, where {self._budget:.1%} is allowed"
        else:
            why = f"to stay within {self._budget:.1%} of the step time"
        return f"read {' and '.join(wide)}, {why}"

    def _fitting(self, budget: float) -> Intervals:
        left = (budget if self._step_time > SHORT else math.inf) * self._step_time - self._cost.get(BASE, 0.0)
        cost = self._cost.get(SIZES, 0.0)
        sizes = _interval(cost, _SIZES_SHARE * left, 1, SIZES_WIDEST)
        dear_cost = sum(self._cost.get(name, 0.0) for name in self.dear)
        dear = _interval(dear_cost, left - cost / sizes, DEAR_INTERVAL, DEAR_WIDEST)
        self.share = (self._cost.get(BASE, 0.0) + cost / sizes + dear_cost / dear) / self._step_time
        return sizes, dear


def _interval(cost: float, allowed: float, least: int, widest: int) -> int:
    """Return the smallest power of two, from ``least`` to ``widest``, at which a cost is within what is allowed."""
    found = least
    while found < widest and cost > allowed * found:
        found *= 2
    return found
