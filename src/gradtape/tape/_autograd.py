"""What autograd knows of a tensor, and of where it came from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradtape.tape._node import Node


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


class Origins:
    """Tells from which nodes a tensor was computed that nobody saw being made, by autograd's graph."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], Node] = {}
        self._elsewhere: set[torch.autograd.graph.Node] = set()  # parts of the graph that lead to no node

    def add(self, node: Node) -> None:
        """Take note of where a node is in autograd's graph."""
        if node.edge is not None:
            self._nodes[id(node.edge.node), node.edge.output_nr] = node

    def of(self, tensor: Tensor) -> list[Node]:
        """Return the nodes that a tensor was computed from, in order."""
        function = grad_fn_of(tensor)
        pending = [] if function is None else [function]
        seen, found = {*pending, *self._elsewhere}, {}
        while pending:
            for following, number in pending.pop().next_functions:
                known = self._nodes.get((id(following), number))
                if known is not None:
                    found[known.position] = known
                elif following is not None and following not in seen:
                    seen.add(following)
                    pending.append(following)
        if not found:
            self._elsewhere = seen
        return [found[position] for position in sorted(found)]
