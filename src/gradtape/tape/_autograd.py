"""What autograd knows of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge


def grad_fn_of(value: Tensor) -> torch.autograd.graph.Node | None:
    """Return what made a value, as far as autograd saw it."""
    try:
        return value.grad_fn
    except RuntimeError:  # of a view made without gradients, through which something with gradients was written
        return None


def edge_of(value: Tensor) -> GradientEdge | None:
    """Return where a gradient of the value arrives, if one can."""
    if not value.requires_grad:
        return None
    function = grad_fn_of(value)
    if function is not None:
        return GradientEdge(function, value.output_nr)
    try:
        with torch._C.DisableTorchFunction():
            return get_gradient_edge(value)
    except (
        AssertionError,
        AttributeError,
        RuntimeError,
    ):  # of parameters, made without gradients
        return None


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor's memory was overwritten."""
    return 0 if tensor.is_inference() else tensor._version
