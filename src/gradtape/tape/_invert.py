"""Inversion: an input that yields a wanted value at a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gradtape.errors import InputError


class Inverted(NamedTuple):
    """An input found for a wanted node value.

    Attributes:
        input: The best input met, sample by sample, of the recorded input's shape.
        missing: Per sample, the squared distance to the wanted value as a share of that at the start: 0 is reached.
    """

    input: Tensor
    missing: Tensor


def invert(
    start: Tensor,
    run: Callable[[Tensor], Tensor],
    recorded: Tensor,
    wanted: Tensor,
    steps: int,
    lr: float,
    smoothness: float,
    bounds: tuple[float, float] | None,
) -> Inverted:
    """Find an input for ``wanted`` from ``start``; see ``Tape.invert``."""
    if steps < 1 or not lr > 0 or smoothness < 0:
        raise InputError(
            f"steps is {steps}, lr {lr}, smoothness {smoothness}",
            remedy="give at least 1 step, a step size above 0 and a smoothness of at least 0",
        )
    if smoothness and start.dim() != 4:
        raise InputError(f"the input has shape {tuple(start.shape)}", remedy="smoothness needs (n, c, h, w)")
    wanted = wanted.detach()
    distance = _per_sample(recorded.detach() - wanted)
    distance = torch.where(distance > 0, distance, torch.ones_like(distance))
    x = start.detach().clone().requires_grad_()
    updater = torch.optim.Adam([x], lr=lr)
    best, best_cost = x.detach().clone(), torch.full_like(distance, torch.inf)
    best_missing = torch.ones_like(distance)
    with torch.enable_grad():
        for step in range(steps + 1):
            missing = _per_sample(run(x) - wanted) / distance
            cost = missing + smoothness * _total_variation(x) if smoothness else missing
            better = cost.detach() < best_cost
            best[better], best_cost[better] = x.detach()[better], cost.detach()[better]
            best_missing[better] = missing.detach()[better]
            if step < steps:
                (x.grad,) = torch.autograd.grad(cost.sum(), x)
                updater.step()
                if bounds is not None:
                    x.data.clamp_(*bounds)
    return Inverted(best, best_missing)


def _per_sample(difference: Tensor) -> Tensor:
    return difference.flatten(1).square().sum(1)


def _total_variation(x: Tensor) -> Tensor:
    across = (x[..., 1:] - x[..., :-1]).abs().flatten(1).mean(1)
    return across + (x[..., 1:, :] - x[..., :-1, :]).abs().flatten(1).mean(1)
