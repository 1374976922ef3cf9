"""Where gradients point: against the gradient of the step before, and against the optimizer's momentum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from gradtape.tracking.measures._base import Reading
from gradtape.tracking.measures._reduce import GradientMeasure, Numbers, alike, table, widened

MOMENTA = ("exp_avg", "momentum_buffer")  # of Adam and its kin, of SGD and others


class PairMeasure(GradientMeasure):
    """A measure of gradients beside those of the step before; parts are <g, g'>, |g|² and |g'|²."""

    parts = 3
    lead = True

    def __init__(self) -> None:
        self._kept: dict[int, list[Tensor | None]] = {}

    def prepare(self, reading: Reading) -> None:
        """Copy the gradients."""
        self._kept = {step: grads for step, grads in self._kept.items() if step == reading.step - 1}
        self._kept[reading.step] = [None if grad is None else grad.detach().clone() for grad in reading.grads]

    def read(self, reading: Reading) -> Tensor:
        """Return the products with the copies of the step before, which are dropped; NaN without them."""
        before = self._kept.pop(reading.step - 1, [None] * len(reading.grads))
        return products(
            [
                (grad, None if grad is None else alike(old, grad))
                for grad, old in zip(reading.grads, before, strict=True)
            ]
        )

    def close(self) -> None:
        """Drop the copies."""
        super().close()
        self._kept = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the gradients that are kept for the next step."""
        return {"kept": self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up stored gradients."""
        self._kept = state["kept"]


class PreviousCosine(PairMeasure):
    """Cosine with the gradient of the step before, <g, g'> / (|g| |g'|); NaN where one of them is 0 or absent.

    Near 1 the steps agree and could be larger; near 0 noise rules; below 0 the steps go back and forth.
    """

    name = "previous_cosine"

    def finish(self, parts: Numbers) -> Numbers:
        """Divide."""
        return cosine(parts)


class MomentumCosine(GradientMeasure):
    """Cosine of the gradient with the momentum before the step: Adam's ``exp_avg``, SGD's ``momentum_buffer``.

    NaN before there is momentum, which is at the first step. Below 0 the step turns back.
    """

    name = "momentum_cosine"
    parts = 3

    @classmethod
    def applies(cls, optimizer: Optimizer) -> bool:
        """Return whether any group is set to keep momentum."""
        return any("betas" in group or group.get("momentum") for group in optimizer.param_groups)

    def read(self, reading: Reading) -> Tensor:
        """Return the products of gradients and momenta."""
        pairs: list[tuple[Tensor | None, Tensor | None]] = []
        for parameter, grad in zip(reading.parameters, reading.grads, strict=True):
            state = reading.optimizer.state.get(parameter, {})
            momentum = next((state[key] for key in MOMENTA if state.get(key) is not None), None)
            pairs.append((grad, None if grad is None else alike(momentum, grad)))
        return products(pairs)

    def finish(self, parts: Numbers) -> Numbers:
        """Divide."""
        return cosine(parts)


def products(pairs: list[tuple[Tensor | None, Tensor | None]]) -> Tensor:
    """Return <a, b>, |a|² and |b|² of each pair."""

    def read(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        a, b = widened(a), widened(b)
        return torch.dot(a, b), torch.dot(a, a), torch.dot(b, b)

    return table(pairs, read, width=3)


def cosine(parts: Numbers) -> Numbers:
    """Return the cosines from <a, b>, |a|² and |b|²; NaN where a norm is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt(parts[:, 1]) * np.sqrt(parts[:, 2])
        return np.where(size == 0, np.nan, np.clip(parts[:, 0] / size, -1, 1))
