"""The loop: so many steps, each reported and logged, with checkpoints from which it goes on exactly."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from gradtape.atomic import write_atomically
from gradtape.errors import RunError
from gradtape.tracking import Tracker
from gradtape.training.progress import Progress, Silent


class Stateful(Protocol):
    """Whatever a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Go back to a state."""


class Checkpoint(NamedTuple):
    """Where and how often a loop saves its state.

    Attributes:
        path: The file.
        every: Number of steps between two saves.
    """

    path: Path
    every: int = 500


class RandomState:
    """A ``torch.Generator`` as something a checkpoint can hold."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Set the generator's state."""
        self.generator.set_state(state_dict["state"])


class Loop:
    """Runs a step so many times.

    An interrupted loop that is made again with the same checkpoint goes on after the last save and ends in the same
    state, bit for bit, as one that was never interrupted, if ``state`` holds all that a step depends on.

    Args:
        step: ``step(number)`` trains once. It may return the number of the step to go on with, if that is not the next:
            an earlier one whose state it has gone back to, or ``steps`` to stop.
        steps: Number of steps.
        state: Name -> whatever changes from step to step: models, optimizers, schedules, random states.
        checkpoint: Where to save; None saves nothing.
        tracker: Its state is saved too, and what it has read is stored before.
        progress: Told of every step.
        work: What a step counts in the progress.
    """

    def __init__(
        self,
        step: Callable[[int], int | None],
        steps: int,
        state: Mapping[str, Stateful],
        *,
        checkpoint: Checkpoint | None = None,
        tracker: Tracker | None = None,
        progress: Progress | None = None,
        work: float = 1.0,
    ) -> None:
        self._step = step
        self._steps = steps
        self._state = dict(state) if tracker is None else {**state, "tracker": tracker}
        self._checkpoint = checkpoint
        self._tracker = tracker
        self._progress: Progress = progress or Silent()
        self._work = work

    def run(self) -> None:
        """Run the steps that are left."""
        number = furthest = self._load()
        self._progress.advance(number * self._work)
        while number < self._steps:
            asked = self._step(number)
            number = number + 1 if asked is None else asked
            if number > furthest:
                self._progress.advance((number - furthest) * self._work)
                furthest = number
            if self._checkpoint is not None and number % self._checkpoint.every == 0:
                self._save(number)

    def _save(self, done: int) -> None:
        assert self._checkpoint is not None
        if self._tracker is not None:
            self._tracker.flush()  # a resumed loop goes on after these steps and will not read them again
        buffer = io.BytesIO()
        torch.save({"done": done, "state": {name: held.state_dict() for name, held in self._state.items()}}, buffer)
        write_atomically(self._checkpoint.path, buffer.getvalue())

    def _load(self) -> int:
        if self._checkpoint is None or not self._checkpoint.path.exists():
            return 0
        try:
            saved = torch.load(self._checkpoint.path, weights_only=True)
            for name, held in self._state.items():
                held.load_state_dict(saved["state"][name])
            return int(saved["done"])
        except Exception as error:  # damaged bytes make torch.load raise almost anything
            raise RunError(
                f"the checkpoint {self._checkpoint.path} is damaged", remedy="delete it to start this training again"
            ) from error
