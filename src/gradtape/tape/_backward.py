"""Sending a gradient back into the nodes of a tape and the leaves that it read."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradtape.errors import TapeError
from gradtape.tape._node import Node

FREED = "call backward with retain_graph=True, or record with persistent=True"


def send_back(nodes: Sequence[Node], loss: Tensor, retain_graph: bool, create_graph: bool) -> None:
    """Add the gradient of ``loss`` to the ``grad`` of every kept node and of every leaf; see ``Tape.backward``."""
    if loss.numel() != 1:
        raise TapeError(f"the loss has shape {tuple(loss.shape)}", remedy="reduce it to a scalar first")
    if not loss.requires_grad:
        raise TapeError("the loss has no gradient", remedy="record with gradients on and use a recorded value")
    arrived: list[Node] = []
    nodes_at: defaultdict[torch.autograd.graph.Node, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.edge is not None and node.kept:
            nodes_at[node.edge.node].append(node)
    hooks = [function.register_prehook(_collecting(here, arrived)) for function, here in nodes_at.items()]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph", UserWarning)
            loss.backward(retain_graph=retain_graph or create_graph, create_graph=create_graph)
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise TapeError("autograd's graph of this tape was freed", remedy=FREED) from None
    finally:
        for hook in hooks:
            hook.remove()
    if nodes_at and not arrived:
        raise TapeError("the loss does not depend on any kept node", remedy="use a loss of this tape's values")


def _collecting(nodes: list[Node], arrived: list[Node]) -> Callable[[tuple[Tensor | None, ...]], None]:
    def hook(grads: tuple[Tensor | None, ...]) -> None:
        for node in nodes:
            grad = None if node.edge is None else grads[node.edge.output_nr]
            if grad is not None:
                arrived.append(node)
                node.grad = grad if node.grad is None else node.grad + grad

    return hook
