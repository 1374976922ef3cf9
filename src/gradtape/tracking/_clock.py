"""What reading costs, and how long steps take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds spent on each thing in a step."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._last = 0.0

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Count the block's time towards ``what``."""
        began = time.perf_counter()
        yield
        self._spent[what] = self._spent.get(what, 0.0) + time.perf_counter() - began

    def step(self) -> tuple[dict[str, float], float] | None:
        """Return what the step's readings cost and how long it took since the last call; None at the first."""
        now, spent, last = time.perf_counter(), self._spent, self._last
        self._spent, self._last = {}, now
        return (spent, now - last) if last else None

    def restart(self) -> None:
        """Do not count the time until the next step."""
        self._last = 0.0
