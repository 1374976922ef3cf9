"""Memory that several tensors share: what becomes of one when another is overwritten."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradtape.tape._node import Call, Node


class Layout(NamedTuple):
    """Where in its memory a tensor lies."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype | None  # none where its bits are no numbers of a type, as after ``conj``

    @property
    def end(self) -> int:
        """The first element of the memory behind it."""
        last = sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        return 0 if 0 in self.size else self.offset + last + 1

    @property
    def folded(self) -> bool:
        """Whether several of its elements are one in memory, as after ``expand``."""
        return any(size > 1 and stride == 0 for size, stride in zip(self.size, self.stride, strict=True))


def layout_of(tensor: Tensor) -> Layout:
    """Return where a strided tensor lies."""
    lazy = tensor.is_conj() or tensor.is_neg()
    return Layout(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), None if lazy else tensor.dtype)


def memory_of(tensor: Tensor) -> int:
    """Return a number that tensors in the same memory share; 0 for one without memory of its own."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


class Memory:
    """Which nodes and arguments lie in the same memory, and what was written there."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._writes: defaultdict[int, list[tuple[int, Layout]]] = defaultdict(list)  # in place, in order
        self._kept: dict[int, int] = {}  # the last node that holds a value there
        self._given: set[int] = set()  # where arguments lie that are no nodes

    def hold(self, node: Node, value: Tensor) -> None:
        """Let a node hold its value."""
        node.held, memory = value, memory_of(value)
        node.shares, self._kept[memory] = self._kept.get(memory), node.position

    def give(self, call: Call) -> None:
        """Take note of the tensors among a call's arguments that are no nodes."""
        self._given.update(memory_of(each) for each in call.arguments if isinstance(each, Tensor))

    def is_given(self, tensor: Tensor) -> bool:
        """Return whether a call was given something in a tensor's memory that is no node."""
        return memory_of(tensor) in self._given

    def write(self, node: Node, result: Tensor) -> None:
        """Take note of an operation in place, and of what it returned."""
        if memory_of(result):
            self._writes[memory_of(result)].append((node.position, layout_of(result)))

    def written_since(self, node: Node, tensor: Tensor) -> list[tuple[int, Layout]]:
        """Return what was written into a tensor's memory under another name since its node."""
        if not self._writes:
            return []
        return [each for each in self._writes.get(memory_of(tensor), ()) if each[0] > node.position]

    def save(self, tensors: list[Tensor]) -> None:
        """Copy the values that an operation is about to overwrite, where a node or an earlier call holds them."""
        for tensor in tensors:
            memory = memory_of(tensor)
            position = self._kept.pop(memory, None) if memory else None
            while position is not None:
                node = self._nodes[position]
                node.held, position = None if node.held is None else node.held.detach().clone(), node.shares
            if memory in self._given:
                self._given.discard(memory)
                for call in {node.call for node in self._nodes if node.call is not None}:
                    call.arguments = [each.clone() if _lies_at(memory, each) else each for each in call.arguments]


def _lies_at(memory: int, argument: Any) -> bool:
    """Return whether an argument is a tensor in some memory; parameters are read as they are at any time."""
    return isinstance(argument, Tensor) and not argument.requires_grad and memory_of(argument) == memory


def overlaid(layouts: list[Layout], seen: list[bool], old: Tensor, *written: Tensor) -> Tensor:
    """Return ``old`` as it is after the others, in the same memory, were written one after the other.

    Autograd knows of the writes that it has ``seen``; past others, as through ``detach``, it goes back to ``old``.
    """
    known = [each for each in zip(layouts[1:], written, seen, strict=True) if each[2]]
    value = _overlaid([layouts[0], *(layout for layout, _, _ in known)], old, *(each for _, each, _ in known))
    if len(known) < len(written):
        value = value.clone()
        value.detach().copy_(_overlaid(layouts, old.detach(), *(each.detach() for each in written)))
    return laid_out(value, layouts[0])


def _overlaid(layouts: list[Layout], old: Tensor, *written: Tensor) -> Tensor:
    memory = old.new_zeros(max(layout.end for layout in layouts))
    places = torch.arange(len(memory), device=old.device)
    for value, layout in zip((old, *written), layouts, strict=True):
        # not as_strided_scatter: its derivative is wrong in torch 2.13
        memory = memory.scatter(0, _places(places, layout), value.flatten())
    return memory[_places(places, layouts[0])].view(layouts[0].size)


def laid_out(value: Tensor, layout: Layout) -> Tensor:
    """Return a value in the order in memory that a layout has, where each of its elements has a place of its own."""
    if value.stride() == layout.stride or layout.folded:
        return value
    return torch.empty_strided(layout.size, layout.stride, dtype=value.dtype, device=value.device).copy_(value)


def _places(places: Tensor, layout: Layout) -> Tensor:
    return places.as_strided(layout.size, layout.stride, layout.offset).flatten()
