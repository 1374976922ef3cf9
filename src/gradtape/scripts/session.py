"""A program that is tracked without knowing it: its run folder, its players, the verdict."""

from __future__ import annotations

import json
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gradtape.errors import GradtapeError
from gradtape.runs import Run, next_path
from gradtape.scripts.importing import after_import
from gradtape.scripts.program import Ending, Program

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from gradtape.tracking import Tracker

MOST_PLAYERS = 64
_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))


class Session:
    """Tracks every optimizer that a program makes, from its first step on.

    All that this says goes to standard error. Of several processes, such as those of ``torchrun``, each reads and that
    of rank 0 alone has the run folder and speaks. Nothing that goes wrong in here ends the program.

    Args:
        program: What is run.
        arguments: Its arguments.
        run: The folder to make; the next ``runs/track-NAME-001`` without one.
        budget: Share of the step time that reading may take.

    Raises:
        RunError: The folder exists, or cannot be made.
    """

    def __init__(self, program: Program, arguments: Sequence[str], run: Path | None, budget: float | None) -> None:
        self._program = program
        self._arguments = list(arguments)
        self._budget = budget
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._run = self._begin(run) if rank() == 0 else None
        self._tracker: Tracker | None = None
        self._players: list[str] = []
        self._seen: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._handle: Any = None
        self._failure: str | None = None
        self._over = False
        self._ending = Ending(1, RuntimeError("it ended without a word"))

    def run(self) -> Ending:
        """Run the program; afterwards, when all of it is over, ``close``."""
        after_import("torch.optim.optimizer", self._listen)
        os.register_at_fork(after_in_child=self._forked)
        self._ending = self._program.run(self._arguments)
        return self._ending

    @property
    def interrupted(self) -> bool:
        """Whether the program of this very process ended by Ctrl-C."""
        return isinstance(self._ending.error, KeyboardInterrupt) and os.getpid() == self._process

    def close(self, *, as_json: bool = False) -> None:
        """Store what was read, say what was found, and leave no trace."""
        if os.getpid() != self._process:  # a child that came out of the program by fork
            return
        found: list[dict[str, Any]] = []
        try:
            lines, found = self._judged()
        except Exception as error:
            lines = [f"nothing can be said of it ({_sentence(error)})"]
        self._stop()
        if self._run is None:
            return
        try:
            ended = self._ending.error
            self._run.__exit__(None if ended is None else type(ended), ended, None)
        except Exception as error:
            lines.append(_sentence(error))
        if as_json:
            content = {"run": str(self._run.path), "players": self._players, "findings": found, "verdict": lines}
            _say(json.dumps(content, sort_keys=True, ensure_ascii=False))
        else:
            for line in [*lines, f"see it again with: gradtape diagnose {self._run.path}"]:
                _say(f"gradtape: {line}")

    def _begin(self, path: Path | None) -> Run:
        path = path if path is not None else next_path("runs", f"track-{self._program.name}")
        settings = {"script": self._program.name, "arguments": self._arguments, "budget": self._budget}
        run = Run.create(path, command="track", settings=settings)
        _say(f"gradtape: tracking {self._program.name} into {run.path}")
        return run

    def _listen(self, module: ModuleType) -> None:
        hook = lambda *what: self._step(*what)  # noqa: E731, PLW0108 - torch marks it, and a method takes no marks
        untraced = sys.modules["torch"]._disable_dynamo(hook)  # a step that is compiled breaks here and goes on
        self._handle = module.register_optimizer_step_pre_hook(untraced)

    def _step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        """Take an optimizer in before its first step; its own hooks run after this one, so that this step is read."""
        if self._over or optimizer in self._seen:
            return
        self._seen.add(optimizer)
        try:
            with self._lock:  # threads may train side by side
                self._take_in(optimizer)
        except Exception as error:
            self._give_up(error)

    def _take_in(self, optimizer: Optimizer) -> None:
        from gradtape.tracking import Tracker
        from gradtape.tracking.discovery import discover, inside_another

        if inside_another(optimizer):
            return
        if len(self._players) == MOST_PLAYERS:
            _say(f"gradtape: {MOST_PLAYERS} optimizers are tracked; further ones are not")
            self._over = True
            return
        name, model = discover(optimizer, self._players)
        if self._tracker is None:
            store = None if self._run is None else self._run.series
            self._tracker = Tracker(store, None, budget=self._budget, on_error=self._give_up)
        self._tracker.add(name, model, optimizer)
        self._players.append(name)

    def _give_up(self, error: Exception) -> None:
        """Stop reading; hooks stay until the end, as this may be called from one of them."""
        self._over = True
        if self._failure is None:
            self._failure = _sentence(error)
            if self._run is not None:
                _say(f"gradtape: tracking ends here, the script goes on: {self._failure}")

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        if self._tracker is not None:
            try:
                self._tracker.close()
            except Exception as error:
                self._failure = self._failure or _sentence(error)

    def _forked(self) -> None:
        """In a child that came by fork, such as a worker of a DataLoader: nothing is read and nothing stored."""
        if self._handle is not None:
            self._handle.remove()
        if self._tracker is not None:
            self._tracker.pause()

    def _judged(self) -> tuple[list[str], list[dict[str, Any]]]:
        if self._tracker is None:
            why = self._failure or (
                "a torch.optim.Optimizer must step in this process; processes that the script starts are not seen: "
                "start several with torchrun ... -m gradtape track SCRIPT.py"
            )
            return [f"nothing was tracked: no optimizer stepped; {why}"], []
        lines = self._tracker.verdict().splitlines()
        if self._failure:
            lines.append(f"tracking ended early: {self._failure}")
        return lines, [finding._asdict() for finding in self._tracker.findings]


def rank() -> int:
    """Return this process's number among those that were started together, 0 for one that is alone."""
    for own, all_of_them in _RANKS:
        if own in os.environ and os.environ.get(all_of_them, "1") != "1":
            return int(os.environ[own])
    return 0


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, GradtapeError) else f"{type(error).__name__}: {error}"


def _say(line: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # closed, or never there
        print(line, file=sys.stderr, flush=True)
