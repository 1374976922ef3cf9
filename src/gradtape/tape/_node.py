"""What a tape holds: nodes, which are intermediate results, and the calls that made them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from gradtape.errors import TapeError

_LEAVES = {Tensor, nn.Parameter, int, float, str, bool, type(None), torch.dtype, torch.device, torch.memory_format}


@dataclass(eq=False, slots=True, weakref_slot=True)
class Node:
    """One intermediate result.

    Attributes:
        name: Path of the module whose output it is (``features.3``; ``features.3:2`` at the module's second use),
            else operation and ordinal (``relu_2`` for the second relu), else ``input``.
        position: Place in the order of computation, from 0.
        op: Name of the operation, ``input`` for what came from outside.
        module: Path of the module in which the operation ran, empty for the model itself.
        shape: Shape of the value; ``(n, -1)`` for a nested tensor of n parts.
        dtype: Type of the value's elements.
        source: The user's line that ran the operation, ``file.py:12``.
        parents: Nodes it was computed from.
        grad: Gradient of the losses given to ``Tape.backward``, summed; None before, or where none flows.
    """

    name: str
    position: int
    op: str
    module: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    source: str = ""
    parents: tuple[Node, ...] = ()
    grad: Tensor | None = None
    call: Call | None = None
    edge: GradientEdge | None = None
    held: Tensor | None = None
    is_view: bool = False
    learns: bool = False
    shares: int | None = None
    later: list[weakref.ref[Node]] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether the tape holds the value."""
        return self.held is not None

    @property
    def value(self) -> Tensor:
        """The result, as the computation left it, with its autograd history.

        Raises:
            TapeError: It was not kept.
        """
        if self.held is None:
            raise TapeError(
                f"the value of node {self.name!r} was not kept", remedy="record with a keep that selects it"
            )
        return self.held

    @property
    def children(self) -> list[Node]:
        """Nodes computed from it, as long as the tape is there."""
        return [child for each in self.later if (child := each()) is not None]

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the operation was given, positional and by keyword, with nodes in place of their values."""
        if self.call is None:
            return self.parents, {}
        nodes = {parent.position: parent for parent in self.parents}
        given = [nodes[each.position] if isinstance(each, Ref) else each for each in self.call.arguments]
        args, kwargs = self.call.given(given)
        return tuple(args), kwargs

    @property
    def memory(self) -> int:
        """Bytes of the value's elements; a view counts them too, a nested tensor counts 0."""
        return max(0, torch.Size(self.shape).numel()) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"Node({self.name!r}, op={self.op!r}, shape={self.shape})"


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands in a call's arguments for the value of the node at ``position``."""

    position: int


@dataclass(eq=False, slots=True)
class Call:
    """One operation: what it takes to run it again.

    Attributes:
        function: The torch function.
        arguments: Its arguments, flat, with a ``Ref`` in place of a node's value.
        form: How many of them are positional, and the names of the others; or their structure, where they are nested.
        in_place: Whether it overwrites one of its arguments.
        with_grad: Whether gradients were on.
        autocast: Device type and type of an autocast region that it ran in.
        draws: The random generators that it drew from, and their states before.
        results: Positions of the nodes that it returned.
        read: What it told Python of a tensor's elements, such as ``.item()``; None for all that returns tensors.
    """

    function: Callable[..., Any]
    arguments: list[Any]
    form: tuple[int, tuple[str, ...]] | TreeSpec
    in_place: bool = False
    with_grad: bool = True
    autocast: tuple[str, torch.dtype] | None = None
    draws: Sequence[tuple[torch.Generator, Tensor]] = ()
    results: tuple[int, ...] = ()
    read: Any = None

    @staticmethod
    def flattened(
        args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], tuple[int, tuple[str, ...]] | TreeSpec]:
        """Return the leaves of a call's arguments, and their form."""
        flat = [*args, *kwargs.values()]
        return (flat, (len(args), tuple(kwargs))) if all(map(_is_leaf, flat)) else tree_flatten((args, kwargs))

    def given(self, leaves: list[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return positional and keyword arguments with these leaves."""
        if isinstance(self.form, TreeSpec):
            args, kwargs = tree_unflatten(leaves, self.form)
            return args, kwargs
        count, names = self.form
        return leaves[:count], dict(zip(names, leaves[count:], strict=True))

    def reads(self) -> list[int]:
        """Return the positions of the nodes among its arguments."""
        return [argument.position for argument in self.arguments if isinstance(argument, Ref)]


def _is_leaf(argument: Any) -> bool:
    return type(argument) in _LEAVES
