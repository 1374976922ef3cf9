"""How far the weights have gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradtape.tracking.measures._base import Measure, Reading
from gradtape.tracking.measures._reduce import Numbers, alike, table, widened


class Distance(Measure):
    """2-norm of the weights after the step minus those that the measure first saw, |w - w0|.

    It keeps one copy of the weights, in their own type and on their device, also while tracking pauses. The sum of the
    updates' norms over it tells a walk from a journey.
    """

    name = "distance"
    dear = True
    _start: list[Tensor] | None = None

    def begin(self, reading: Reading) -> None:
        """Copy the weights."""
        self._start = [weight.detach().clone() for weight in reading.weights]

    def before_step(self, reading: Reading) -> None:
        """Copy the weights, if that was not done before."""
        if self._start is None:
            self.begin(reading)

    def after_step(self, reading: Reading) -> Tensor:
        """Return the squared distances; NaN where a parameter has changed its shape."""

        def read(weight: Tensor, start: Tensor) -> tuple[Tensor, ...]:
            difference = widened(weight) - start
            return (torch.dot(difference, difference),)

        pairs: list[tuple[Tensor | None, Tensor | None]] = []
        for index, weight in enumerate(reading.weights):
            start = self._moved(index, weight.device)
            pairs.append((weight.detach(), alike(start, weight)))
        with torch.no_grad():
            return table(pairs, read)

    def _moved(self, index: int, device: torch.device) -> Tensor | None:
        if self._start is None:
            return None
        if self._start[index].device != device:
            self._start[index] = self._start[index].to(device)
        return self._start[index]

    def state_dict(self) -> dict[str, Any]:
        """Return the copy."""
        return {} if self._start is None else {"start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Measure from the stored copy."""
        self._start = state.get("start")

    def finish(self, parts: Numbers) -> Numbers:
        """Take the root."""
        return np.sqrt(parts[:, 0])
