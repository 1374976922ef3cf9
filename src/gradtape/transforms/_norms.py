"""Norms of gradients, together or apart."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradtape.transforms._places import Gradients

Per = Literal["all", "tensor", "sample"]
"""What has a norm of its own: all gradients together, each tensor, or each entry of each tensor's first dimension."""


def norms(grads: Gradients, per: Per) -> dict[int, Tensor]:
    """Return the 2-norm that goes with each gradient, of a shape that broadcasts against it."""
    if per == "sample":
        return {key: rows_norm(grad) for key, grad in grads.items()}
    each = {key: torch.linalg.vector_norm(grad, dtype=widest(grad)) for key, grad in grads.items()}
    if per == "tensor" or not each:
        return each
    first = next(iter(each.values())).device
    total = torch.linalg.vector_norm(torch.stack([norm.to(first) for norm in each.values()]))
    return {key: total.to(norm.device) for key, norm in each.items()}


def rows_norm(x: Tensor) -> Tensor:
    """Return the 2-norm of each entry of the first dimension, shape (n, 1, 1, ...); of a scalar, its size."""
    if x.dim() < 2:
        return x.abs()
    norm: Tensor = torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True, dtype=widest(x))
    return norm


def wide(x: Tensor) -> torch.dtype:
    """Return a type in which sums of values like ``x`` lose little: at least 32 bits."""
    return torch.promote_types(x.dtype, torch.float32)


def widest(x: Tensor) -> torch.dtype:
    """Return a type in which squares of values like ``x`` neither overflow nor vanish, where the device has one."""
    return wide(x) if x.device.type == "mps" else torch.promote_types(x.dtype, torch.float64)


def times(grad: Tensor, factor: Tensor) -> Tensor:
    """Return the product in the gradient's own type."""
    return (grad * factor).to(grad.dtype)
