"""What is around an operation: random generators, autocast, compilation, and the user's line that asked for it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_STEADY = {
    "linear",
    "conv1d",
    "conv2d",
    "batch_norm",
    "layer_norm",
    "relu",
    "relu_",
    "gelu",
    "silu",
    "softmax",
    "matmul",
}
_STEADY |= {"add", "add_", "sub", "mul", "div", "truediv", "view", "reshape", "transpose", "permute", "getitem", "cat"}

_NOT_THE_USERS = (os.path.dirname(torch.__file__), os.path.dirname(__file__), contextlib.__file__)

States = Sequence[tuple[torch.Generator, Tensor]]


def random_states(op: str, arguments: Iterable[Any]) -> States:
    """Return the generators that an operation may draw from, given to it or torch's own, and their states."""
    if op in _STEADY:  # looking takes as long as a small operation
        return ()
    generators = [argument for argument in arguments if isinstance(argument, torch.Generator)]
    if torch.cuda.is_initialized():
        generators += torch.cuda.default_generators
    return [(generator, generator.get_state()) for generator in (torch.default_generator, *generators)]


def drawn(before: States) -> States:
    """Return those of the generators whose state is another now, with their states before."""
    return tuple((generator, state) for generator, state in before if not torch.equal(state, generator.get_state()))


def set_states(states: States) -> States:
    """Put generators into the given states and return the states they were in."""
    before = [(generator, generator.get_state()) for generator, _ in states]
    for generator, state in states:
        generator.set_state(state)
    return before


def autocast_region() -> tuple[str, torch.dtype] | None:
    """Return device type and type of the autocast region around, if there is one."""
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            return device, torch.get_autocast_dtype(device)
    return None


class _Eager(AbstractContextManager[None]):
    """While it is entered, by however many threads, compiled code runs as plain Python, where a tape can see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stance = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if (
                self._inside == 1 and "torch._dynamo" in sys.modules
            ):  # else nothing is compiled, and importing it is slow
                self._stance.enter_context(torch.compiler.set_stance("force_eager"))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stance.close()


eager = _Eager()  # one for the process, as torch's own stance is


def user_line() -> str:
    """Return file and line of the user's code that is running, ``file.py:12``."""
    frame = sys._getframe(1)
    while _is_ours(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def warn(message: str) -> None:
    """Warn at the user's line."""
    file, _, line = user_line().rpartition(":")
    warnings.warn_explicit(message, UserWarning, file, int(line))


@lru_cache(4096)
def _is_ours(file: str) -> bool:
    return file.startswith(_NOT_THE_USERS)
