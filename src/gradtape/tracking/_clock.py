"""What reading costs, and how long steps take."""

from __future__ import annotations

import time
from types import TracebackType


class Clock:
    """Adds up the seconds spent on each thing in a step."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._last = 0.0

    def of(self, what: str) -> _Timed:
        """Count the block's time towards ``what``."""
        return _Timed(self._spent, what)

    def add(self, what: str, seconds: float) -> None:
        """Count time that was taken elsewhere towards ``what``."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def step(self) -> tuple[dict[str, float], float] | None:
        """Return what the step's readings cost and how long it took since the last call; None at the first."""
        now, spent, last = time.perf_counter(), self._spent, self._last
        self._spent, self._last = {}, now
        return (spent, now - last) if last else None

    def restart(self) -> None:
        """Do not count the time until the next step."""
        self._last = 0.0


class _Timed:
    """A block whose time is counted; a generator would cost several times as much."""

    __slots__ = ("_began", "_spent", "_what")

    def __init__(self, spent: dict[str, float], what: str) -> None:
        self._spent, self._what = spent, what

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._spent[self._what] = self._spent.get(self._what, 0.0) + time.perf_counter() - self._began
