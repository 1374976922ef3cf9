"""The moving average of a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradtape.errors import InputError


class MovingAverage:
    """Keeps ``average ← decay · average + (1 - decay) · source``, parameter by parameter; buffers are the source's own.

    Buffers hold batch-norm's statistics: an average of weights with the statistics of the start makes rubbish. The
    decay begins small, ``(1 + t) / (10 + t)`` at step t, so that the initial weights are soon forgotten.

    Args:
        average: The module that holds the average.
        source: The module that is averaged, of the same structure.
        decay: Per step, in [0, 1).

    Raises:
        InputError: The decay is out of range.
    """

    def __init__(self, average: nn.Module, source: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"ema is {decay}", remedy="give a number from 0 up to, and without, 1")
        self._average, self._source, self._decay = average, source, decay

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the source, after its step of that number, from 0."""
        mine: list[Tensor] = [*self._average.parameters()]
        theirs: list[Tensor] = [*self._source.parameters()]
        if mine:
            torch._foreach_lerp_(mine, theirs, 1 - min(self._decay, (1 + step) / (10 + step)))
        for buffer, source in zip(self._average.buffers(), self._source.buffers(), strict=True):
            buffer.copy_(source)
