"""The way of numbers from a step to the store."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradtape.runs import SeriesStore
from gradtape.tracking._combine import Parts
from gradtape.tracking._ring import Ring
from gradtape.tracking.history import channel_of


class Sender:
    """Puts a player's numbers on their way; they are stored when they have come from where they were computed.

    Args:
        player: The player's name.
        store: Where numbers go; None on a process that only takes part in combining them.
    """

    def __init__(self, player: str, store: SeriesStore | None) -> None:
        self._player = player
        self._store = store
        self._process = os.getpid()
        self._ring = Ring()

    def send(self, step: int, combined: Sequence[Parts]) -> None:
        """Put the parts of a step on their way as one vector."""

        def store(numbers: npt.NDArray[np.float64]) -> None:
            begin = 0
            for parts in combined:
                end = begin + parts.tensor.numel()
                finished = parts.measure.finish(numbers[begin:end].reshape(len(parts.tensor), -1))
                begin = end
                self.append(parts.name, parts.columns, step, np.asarray(finished).reshape(-1))

        if combined:
            device = combined[0].tensor.device
            kind = torch.float64 if device.type == "cpu" else torch.float32
            self._ring.put(torch.cat([parts.tensor.reshape(-1).to(device, kind) for parts in combined]), store)

    def put(self, name: str, columns: list[str], step: int, numbers: Tensor) -> None:
        """Put the numbers of one channel on their way."""
        self._ring.put(numbers.detach().reshape(-1), lambda found: self.append(name, columns, step, found))

    def append(self, name: str, columns: list[str], step: int, numbers: npt.NDArray[np.floating]) -> None:
        """Store the numbers of one channel."""
        if self._store is not None and os.getpid() == self._process:  # a child by fork trains on its own
            with np.errstate(over="ignore"):  # the store keeps 32-bit numbers: what is larger is infinite
                row = numbers.astype(np.float32)
            self._store.channel(channel_of(self._player, name), columns).append(step, row)

    def note(self, name: str, value: object) -> None:
        """Keep a fact about the player."""
        if self._store is not None:
            self._store.note(channel_of(self._player, name), value)

    def drain(self) -> None:
        """Wait for numbers on their way."""
        self._ring.drain()
