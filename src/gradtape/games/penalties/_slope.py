"""How steep the discriminator is at points that it was not shown."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def steepness_off_one(discriminator: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return ``E (‖∇ₓ D(x)‖ - 1)²`` at the points, a scalar with its graph to the discriminator's weights."""
    points = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    # vector_norm has the gradient 0, and not nan, where the slope is 0
    steepness: Tensor = torch.linalg.vector_norm(slope.reshape(len(slope), -1), dim=1)
    return (steepness - 1).square().mean()


def uniform(shape: torch.Size | tuple[int, ...], like: Tensor, random: torch.Generator) -> Tensor:
    """Return numbers from U(0, 1), drawn where the stream lives, of the type and on the device of ``like``."""
    return torch.rand(shape, generator=random, device=random.device).to(like)
