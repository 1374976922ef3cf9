"""Descent: a node's value moved by gradients of a cost, for steering and for inversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from gradtape.errors import InputError, TapeError
from gradtape.tape._node import Node
from gradtape.tape._surroundings import warn

Cost = Callable[[Tensor], Tensor]


def descend(
    value: Tensor, cost: Cost, updater: torch.optim.Optimizer, steps: int, tell: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield where ``value`` was and its cost there, after each update, when it may be moved further, and at the end."""
    started = False
    met: list[tuple[Tensor, Tensor]] = []  # several in an update, where the optimizer tries before it moves

    def evaluate() -> Any:
        nonlocal started
        costs = cost(value)  # optimizers turn gradients on for this
        total = costs.sum()
        value.grad = torch.autograd.grad(total, value, allow_unused=True)[0] if total.requires_grad else None
        if value.grad is None:
            remedy = "record with gradients on, and use an objective that can be differentiated"
            raise TapeError("no gradient of the objective comes back to the node", remedy=remedy)
        if tell and not started and not value.grad.any():
            warn("the gradient of the objective is 0 where the search starts, so nothing moves: start elsewhere")
        started = True
        met.append((value.detach().clone(), costs.detach()))
        return total.detach()

    for _ in range(steps):
        met.clear()
        updater.step(evaluate)
        yield met[0]
    with torch.no_grad():
        met.append((value.detach().clone(), cost(value)))
    yield met[-1]


def movable(node: Node) -> Tensor:
    """Return a copy of a node's value, which must be of numbers that have a gradient."""
    what = f"node {node.name!r} holds {node.dtype}, which no gradient can move"
    refuse(not node.value.is_floating_point(), what, "use a node behind it, such as the embeddings of token ids")
    refuse(node.value.numel() == 0, f"node {node.name!r} has shape {node.shape}", "use one with elements")
    return node.value.detach().clone()


def judged(made: Any, samples: torch.Size) -> Tensor:
    """Return what an objective made: one number per sample, or a scalar."""
    is_tensor = isinstance(made, Tensor)
    fine = is_tensor and (made.shape == samples or made.numel() == 1)
    what = f"the objective has shape {tuple(made.shape)}" if is_tensor else f"the objective is a {type(made).__name__}"
    refuse(not fine, what, f"return a scalar, or one number per sample, {tuple(samples)}")
    return cast(Tensor, made if made.shape == samples else made.reshape(()))


def refuse(wrong: bool, what: str, remedy: str) -> None:
    """Raise an InputError where something is wrong."""
    if wrong:
        raise InputError(what, remedy=remedy)
