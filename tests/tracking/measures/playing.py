"""Run one measure over a few optimizer steps, as a player does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradtape.tracking.measures import Measure, Reading, local

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Grads = Sequence[Tensor | None]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.8, 0.9)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2),
    "radam": lambda p: torch.optim.RAdam(p, lr=1e-2),
}


class Played(NamedTuple):
    """The parts that a measure read at the last step, what it makes of them, and what it could see."""

    parts: Tensor
    numbers: np.ndarray
    before: list[Tensor]
    start: list[Tensor]
    after: list[Tensor]
    state: list[dict[str, Tensor]]


def play(kind: type[Measure], weights: Sequence[Tensor], steps: Sequence[Grads], make: Make) -> Played:
    """Take the steps with these gradients; the measure is read at the last."""
    parameters = [nn.Parameter(weight.clone()) for weight in weights]
    optimizer = make(parameters)
    start = [parameter.detach().clone() for parameter in parameters]
    groups = [optimizer.param_groups[0]] * len(parameters)
    measure = kind()
    for step, grads in enumerate(steps):
        for parameter, grad in zip(parameters, grads, strict=True):
            if grad is not None and parameter.grad is not None and parameter.grad.stride() == grad.stride():
                parameter.grad.copy_(grad)  # in place, as after zero_grad(set_to_none=False)
            else:
                parameter.grad = None if grad is None else grad.clone()
        seen = [None if p.grad is None else local(p.grad) for p in parameters]
        reading = Reading(parameters, [local(p) for p in parameters], seen, optimizer, groups, step)
        last = step == len(steps) - 1
        state = [
            {name: value.clone() for name, value in optimizer.state.get(p, {}).items() if isinstance(value, Tensor)}
            for p in parameters
        ]
        before = [parameter.detach().clone() for parameter in parameters]
        if step == 0:
            measure.begin(reading)
        if last:
            measure.before_step(reading)
        if step == len(steps) - 2 and measure.lead:
            measure.prepare(reading)
        optimizer.step()
        if last:
            parts = measure.after_step(reading)
    parts = parts.reshape(len(parameters), -1)
    after = [parameter.detach().clone() for parameter in parameters]
    return Played(parts, measure.finish(parts.double().numpy()), before, start, after, state)


def gradients(shapes: Sequence[tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Gradients over many magnitudes, a third of the elements and every fourth row exactly zero."""
    draws = torch.Generator().manual_seed(seed)
    found = []
    for shape in shapes:
        size = torch.randint(-8, 4, shape, generator=draws).double()
        grad = torch.randn(shape, generator=draws, dtype=torch.float64) * 2**size
        grad = grad * (torch.rand(shape, generator=draws) > 1 / 3)
        if len(shape) > 1:
            grad[::4] = 0
        found.append(grad.to(dtype))
    return found
