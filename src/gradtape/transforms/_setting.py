"""One setting of a transformation: a number, a tensor, or a schedule with its position."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._base import Transform, written_down

Value = float | Tensor | Callable[[int], float]
"""What a setting may be: a number, a 0-d tensor that is read at each use, or a schedule from position to number."""

_IDLE_CALLS = 500  # uses of a schedule that nobody moves, before a warning


class Setting:
    """A number, a 0-d tensor, or a schedule at a position.

    Compiled code must not be compiled again for every value, so it reads the value from a tensor; elsewhere a plain
    number is cheaper and more exact. A new value is a new tensor: what was computed with the old one keeps it.
    """

    def __init__(self, name: str, value: Value, at_least: float) -> None:
        self.name = name
        self.at_least = at_least
        self.schedule: Callable[[int], float] | None = None
        self.position = 0
        self.idle_calls = 0
        self.set(value)

    def set(self, value: Value) -> None:
        """Take another number, tensor or schedule."""
        if isinstance(value, Tensor):
            self._check_tensor(value)
            self.live, self.tensor, self.schedule = True, value, None
        elif callable(value):
            number = self._checked(value(self.position), self.position)
            self.schedule = value
            self._hold(number)
        else:
            self._hold(self._checked(value))
            self.schedule = None

    def move_to(self, position: int) -> None:
        """Go to a position of the schedule; positions count from 0."""
        if self.schedule is None:
            raise InputError(f"{self.name} has no schedule to move along", remedy="give a schedule, or set its value")
        if position != int(position) or position < 0:
            raise InputError(f"the position of {self.name} is {position}", remedy="give a whole number from 0 up")
        self._hold(self._checked(self.schedule(position), position))
        self.position, self.idle_calls = position, 0

    def read(self, dtype: torch.dtype = torch.float32) -> float | Tensor:
        """Return the value to compute with now, for tensors of this type."""
        if self.live:
            if self.tensor.device.type == "cpu" and not written_down():  # elsewhere a look would wait for the device
                self._check_tensor(self.tensor)
            return self.tensor.detach()
        if torch.compiler.is_compiling():
            return self.double if dtype in (torch.float64, torch.complex128) else self.tensor
        return self.number

    def now(self) -> float | Tensor:
        """Return the value as users see it: their own tensor, or a number."""
        return self.tensor if self.live else self.number

    @contextmanager
    def held_at(self, number: float) -> Iterator[None]:
        """Be this number for a while, whatever it is otherwise."""
        kept = self.__dict__.copy()
        self._hold(number)
        self.schedule = None
        try:
            yield
        finally:
            self.__dict__.update(kept)

    def noted(self) -> None:
        """Count a use; warn when a schedule is used and used and never moved."""
        if torch.compiler.is_compiling():
            return
        self.idle_calls += 1
        if self.idle_calls == _IDLE_CALLS and self.position == 0:
            warnings.warn(
                f"{self.name} follows {self.schedule!r} and is still at position {self.position} after {_IDLE_CALLS} "
                "uses: call step() after each optimizer step, or follow(optimizer) once",
                stacklevel=4,
            )

    def _hold(self, number: float) -> None:
        self.live = False  # a flag of its own: compiled code that looked at the number would be compiled for it
        self.number = number
        # of 32 bits where that will do: a float64 number makes torch.compile capture its graph twice
        self.tensor = torch.tensor(number, dtype=torch.float32, device="cpu")
        self.double = torch.tensor(number, dtype=torch.float64, device="cpu")

    def _checked(self, value: Any, position: int | None = None) -> float:
        where = "" if position is None else f" at position {position} of its schedule"
        return checked_number(self.name + where, value, self.at_least)

    def _check_tensor(self, value: Tensor) -> None:
        check_scalar(self.name, value)
        if torch.compiler.is_compiling():
            return
        try:
            number = float(value.detach())
        except RuntimeError:  # inside torch.func.vmap it has no single value
            return
        self._checked(number)


def checked_number(name: str, value: Any, at_least: float = -math.inf) -> float:
    """Return the value as a number; refuse what is none, is not finite, or is out of range."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if callable(value) and not isinstance(value, Tensor):
        raise InputError(f"{name} is {value!r}", remedy="a function takes a number; give the schedule to the class")
    if not (math.isfinite(number) and number >= at_least):
        wanted = "a finite number" if at_least == -math.inf else f"a finite number of at least {at_least}"
        raise InputError(f"{name} is {value!r}", remedy=f"give {wanted}")
    return number


def check_choice(name: str, value: str, choices: Any) -> None:
    """Refuse what is not one of a Literal's values."""
    if value not in get_args(choices):
        raise InputError(f"{name} is {value!r}", remedy=f"use one of {', '.join(map(repr, get_args(choices)))}")


def check_scalar(name: str, value: Tensor) -> None:
    """Refuse a tensor that has dimensions."""
    if value.is_complex():
        raise InputError(f"{name} is complex", remedy="give a real number")
    if value.dim() != 0:
        raise InputError(f"{name} has shape {tuple(value.shape)}", remedy="give a number or a tensor of no dimension")


class Scheduled(Transform):
    """A transformation with one setting, which may follow a schedule."""

    def __init__(self, name: str, value: Value, *, at_least: float = -math.inf) -> None:
        super().__init__()
        self._setting = Setting(name, value, at_least)

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """The schedule, if there is one."""
        return self._setting.schedule

    @property
    def position(self) -> int:
        """Where on the schedule the value is, in steps from 0; may be set by hand."""
        return self._setting.position

    @position.setter
    def position(self, position: int) -> None:
        self._setting.move_to(position)

    def step(self) -> None:
        """Move the schedule on by one, if there is one; in eval mode it stays where it is."""
        if self.training and self._setting.schedule is not None:
            self._setting.move_to(self._setting.position + 1)

    def _state(self) -> dict[str, Tensor]:
        return {} if self.schedule is None else {"position": torch.tensor(self.position)}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        if self.schedule is not None:
            self._setting.move_to(int(state["position"]))

    def _shown(self) -> str:
        shown = self._setting.schedule or self._setting.now()
        return f"{self._setting.name}={shown.item() if isinstance(shown, Tensor) else shown}"


def setting(doc: str) -> Any:
    """Return the property under which users read and set the setting; ``doc`` says what it is."""

    def read(self: Scheduled) -> float | Tensor:
        return self._setting.now()

    def write(self: Scheduled, value: Value) -> None:
        self._setting.set(value)

    return property(read, write, doc=doc)
