"""Memory that several tensors share: what becomes of one when another is overwritten."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
