"""Steering: a node's value moved by gradients of an objective of what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradtape.tape._descent import descend, judged, movable, refuse
from gradtape.tape._node import Node
from gradtape.transforms import Transform


class Steered(NamedTuple):
    """Where steering led.

    Attributes:
        value: The node's value at the end, of the node's shape.
        path: Its values along the way, shape (steps + 1, *node's shape); the first is the recorded one.
        objective: The objective along the way, shape (steps + 1,), or (steps + 1, n) with one per sample.
        output: What the objective was given at the end: the model's output, or the value at ``at``.
    """

    value: Tensor
    path: Tensor
    objective: Tensor
    output: Any

    def __repr__(self) -> str:
        start, end = (float(self.objective[at].sum()) for at in (0, -1))
        return f"Steered({len(self.path) - 1} steps, objective {start:.4g} to {end:.4g})"


def steer(
    node: Node,
    run: Callable[[Tensor], Any],
    objective: Callable[[Any], Tensor],
    steps: int,
    lr: float,
    through: Transform | None,
    optimizer: Callable[..., torch.optim.Optimizer],
) -> Steered:
    """Move the node's value by gradients of ``objective(run(value))``; see ``Tape.steer``."""
    refuse(not isinstance(steps, int) or steps < 1, f"steps is {steps!r}", "give a whole number of at least 1")
    refuse(not 0 < lr < math.inf, f"lr is {lr}", "give a step size above 0")
    value = movable(node).requires_grad_()
    size = value.detach().square().mean().sqrt().item() or 1.0
    refuse(not math.isfinite(size), f"node {node.name!r} is not finite", "look at what the model does to this input")
    updater = optimizer([value], lr=lr * size)
    if through is not None:
        is_one = isinstance(through, Transform)
        refuse(not is_one, f"through is a {type(through).__name__}", "give a transformation, such as gt.Clip(1)")
        searching = bool(updater.defaults.get("line_search_fn"))
        refuse(searching, f"a line search knows nothing of {through!r}", "leave line_search_fn or through out")
        through.fresh().on(updater)  # its own schedule and memory: steering twice gives the same twice
    output: Any = None

    def cost(value: Tensor) -> Tensor:
        nonlocal output
        output = run(value)
        return judged(objective(output), value.shape[:1])

    path, objectives = [], []
    for step, (place, costs) in enumerate(descend(value, cost, updater, steps)):
        finite = bool(costs.isfinite().all())
        remedy = "give a smaller lr" if step else "look at the objective and at what it is given"
        refuse(not finite, f"the objective is not finite at step {step} of {steps}", remedy)
        path.append(place)
        objectives.append(costs)
    return Steered(place, torch.stack(path), torch.stack(objectives), output)
