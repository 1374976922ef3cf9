"""Numbers on their way from an accelerator, which is never waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Then = Callable[[npt.NDArray[np.float64]], None]
_SLOTS = 64  # steps that may be under way before the oldest is waited for


class Ring:
    """Hands the numbers of a tensor to a function as soon as they are there, in order.

    On a CPU that is at once. On an accelerator the tensor is copied into pinned memory and an event is recorded behind
    the copy; numbers are handed on at a later call that finds the event passed.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Tensor, Then]] = deque()
        self._free: list[Tensor] = []

    def put(self, numbers: Tensor, then: Then) -> None:
        """Have ``then`` called with the numbers of a 1-d tensor, as float64."""
        if numbers.device.type == "cpu":
            then(numbers.detach().double().numpy())
            return
        buffer = self._buffer(numbers)
        buffer.copy_(numbers.detach(), non_blocking=True)
        module = torch.get_device_module(numbers.device)
        event = module.Event()
        if hasattr(module, "current_stream"):  # that of the tensor's device, which need not be the current one
            event.record(module.current_stream(numbers.device))
        else:
            event.record()
        self._waiting.append((event, buffer, then))
        while self._waiting and (len(self._waiting) > _SLOTS or self._waiting[0][0].query()):
            self._hand_on()

    def drain(self) -> None:
        """Wait for everything under way."""
        while self._waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        event, buffer, then = self._waiting.popleft()
        event.synchronize()
        then(buffer.double().numpy().copy())
        self._free.append(buffer)

    def _buffer(self, like: Tensor) -> Tensor:
        for index, buffer in enumerate(self._free):
            if buffer.shape == like.shape and buffer.dtype == like.dtype:
                return self._free.pop(index)
        self._free = self._free[-_SLOTS:]
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=like.device.type == "cuda")
