"""What a tape holds: nodes, which are intermediate results, and the calls that made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


@dataclass(eq=False)
class Node:
    """One intermediate result.

    Attributes:
        name: Path of the module whose output it is (``features.3``; ``features.3:2`` at the module's second use),
            else operation and ordinal (``relu_2`` for the second relu), else ``input``.
        position: Place in the order of computation, from 0.
        op: Name of the operation, ``input`` for what came from outside.
        module: Path of the module in which the operation ran, empty for the model itself.
        value: The result, as the computation left it, with its autograd history.
        source: The user's line that ran the operation, ``file.py:12``.
        parents: Nodes it was computed from.
        children: Nodes computed from it.
        grad: Gradient of the losses given to ``Tape.backward``, summed; None before, or where none flows.
    """

    name: str
    position: int
    op: str
    module: str
    value: Tensor
    source: str = ""
    parents: tuple[Node, ...] = ()
    children: list[Node] = field(default_factory=list)
    grad: Tensor | None = None
    call: Call | None = None
    edge: GradientEdge | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.value.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the value's elements."""
        return self.value.dtype

    @property
    def memory(self) -> int:
        """Bytes of the value's elements; a view counts them too."""
        return self.value.numel() * self.value.element_size()

    def __repr__(self) -> str:
        return f"Node({self.name!r}, op={self.op!r}, shape={self.shape})"


@dataclass(frozen=True)
class Ref:
    """Stands in a call's arguments for the value of the node at ``position``."""

    position: int


@dataclass(eq=False)
class Call:
    """One operation: what it takes to run it again.

    Attributes:
        function: The torch function.
        arguments: Its arguments, flat, with a ``Ref`` in place of a node's value.
        rebuild: Makes ``(args, kwargs)`` of the flat arguments.
        in_place: Whether it overwrites one of its arguments.
        with_grad: Whether gradients were on.
        autocast: Device type and type of an autocast region that it ran in.
        random_state: The random state before the operation, where it drew.
        results: Positions of the nodes that it returned.
    """

    function: Callable[..., Any]
    arguments: list[Any]
    rebuild: Callable[[list[Any]], tuple[tuple[Any, ...], dict[str, Any]]]
    in_place: bool
    with_grad: bool
    autocast: tuple[str, torch.dtype] | None
    random_state: Tensor | None = None
    results: list[int] = field(default_factory=list)

    def reads(self) -> list[int]:
        """Return the positions of the nodes among its arguments."""
        return [argument.position for argument in self.arguments if isinstance(argument, Ref)]
