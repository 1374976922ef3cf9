"""Saying how far a job is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(Protocol):
    """Told of every stage and of the work done in it."""

    def stage(self, name: str) -> None:
        """Say what is done now."""

    def advance(self, work: float) -> None:
        """Say that so much of the job's total work is done."""


class Silent:
    """A progress that says nothing."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def advance(self, work: float) -> None:
        """Say nothing."""


class RichProgress:
    """A progress bar with the time left, on standard error; a line per stage where that is no terminal."""

    @classmethod
    @contextmanager
    def show(cls, total: float) -> Iterator[RichProgress]:
        """Show a bar for a job of ``total`` work while the context lasts."""
        console = Console(stderr=True)
        bar = Bar(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        with bar:
            yield cls(console, bar, total)

    def __init__(self, console: Console, bar: Bar, total: float) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task("starting", total=total)

    def stage(self, name: str) -> None:
        """Show the stage's name."""
        if self._console.is_terminal:
            self._bar.update(self._task, description=name)
        else:
            self._console.print(name, highlight=False, soft_wrap=True)

    def advance(self, work: float) -> None:
        """Move the bar."""
        self._bar.advance(self._task, work)
