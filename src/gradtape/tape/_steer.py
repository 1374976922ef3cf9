"""Steering: a node's value moved by gradients of an objective of the output."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms import Transform


class Steered(NamedTuple):
    """Where steering led.

    Attributes:
        value: The node's value at the end, of the node's shape.
        path: Its values along the way, shape (steps + 1, *node's shape); the first is the recorded one.
        objective: The objective along the way, shape (steps + 1,).
        output: The model's output at the end.
    """

    value: Tensor
    path: Tensor
    objective: Tensor
    output: Any


def steer(
    start: Tensor,
    run: Callable[[Tensor], Any],
    objective: Callable[[Any], Tensor],
    steps: int,
    lr: float,
    through: Transform | None,
    optimizer: Callable[..., torch.optim.Optimizer],
) -> Steered:
    """Move ``start`` by gradients of ``objective(run(value))``; see ``Tape.steer``."""
    if steps < 1 or not lr > 0:
        raise InputError(f"steps is {steps} and lr {lr}", remedy="give at least 1 step and a step size above 0")
    size = start.detach().square().mean().sqrt().item() or 1.0
    if not math.isfinite(size):
        raise InputError("the node's value is not finite", remedy="look at what the model does to this input first")
    value = start.detach().clone().requires_grad_()
    updater = optimizer([value], lr=lr * size)
    if through is not None:
        if not isinstance(through, Transform):
            raise InputError(
                f"through is a {type(through).__name__}", remedy="give a transformation, such as gt.Clip(1)"
            )
        through.fresh().on(updater)  # its own schedule and memory: steering twice gives the same twice
    path, objectives = [value.detach().clone()], []
    with torch.enable_grad():
        for _ in range(steps):
            cost = _scalar(objective(run(value)))
            objectives.append(cost.detach())
            (grad,) = torch.autograd.grad(cost, value)
            value.grad = grad
            updater.step()
            path.append(value.detach().clone())
    with torch.no_grad():
        output = run(value)
        objectives.append(_scalar(objective(output)))
    return Steered(value.detach(), torch.stack(path), torch.stack(objectives), output)


def _scalar(cost: Tensor) -> Tensor:
    if cost.numel() != 1:
        raise InputError(
            f"the objective has shape {tuple(cost.shape)}", remedy="return a scalar, such as a sum over the samples"
        )
    return cost.reshape(())
