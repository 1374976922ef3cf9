"""Sending a gradient back into the nodes of a tape and the leaves that it read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from gradtape.errors import TapeError
from gradtape.tape._node import Node


def send_back(
    nodes: Sequence[Node], leaves: Sequence[Tensor], loss: Tensor, retain_graph: bool, create_graph: bool
) -> None:
    """Add the gradient of ``loss`` to the ``grad`` of every node and leaf; see ``Tape.backward``."""
    if loss.numel() != 1:
        raise TapeError(f"the loss has shape {tuple(loss.shape)}", remedy="reduce it to a scalar first")
    edges_of = {node.position: node.edge for node in nodes if node.edge is not None}
    if not loss.requires_grad or not edges_of:
        raise TapeError("the loss has no gradient", remedy="record with gradients on and use a recorded value")
    edges = [*edges_of.values(), *map(get_gradient_edge, leaves)]
    keep = retain_graph or create_graph
    grads = torch.autograd.grad(loss, edges, retain_graph=keep, create_graph=create_graph, allow_unused=True)
    for position, grad in zip(edges_of, grads, strict=False):
        node = nodes[position]
        if grad is not None:
            node.grad = grad if node.grad is None else node.grad + grad
    for leaf, grad in zip(leaves, grads[len(edges_of) :], strict=True):
        if grad is not None:  # a copy: autograd may hand out one tensor twice, and clipping changes it in place
            leaf.grad = grad.clone() if leaf.grad is None else leaf.grad + grad
