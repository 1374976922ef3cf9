"""Tensors, and the tuples, lists, dicts, dataclasses and whatever pytree knows that they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


def tensors_in(tree: Any) -> list[Tensor]:
    """Return the tensors of a structure, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    found = []
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += [tensor for each in fields(leaf) for tensor in tensors_in(getattr(leaf, each.name))]
    return found


def with_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the same structure with other tensors in it."""

    def changed(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return change(leaf)
        if is_dataclass(leaf) and not isinstance(leaf, type):
            given = [each.name for each in fields(leaf) if each.init]
            return replace(leaf, **{name: with_tensors(change, getattr(leaf, name)) for name in given})
        return leaf

    return tree_map(changed, tree)


def dense(tensor: Tensor) -> Tensor:
    """Return a sparse tensor as a dense one, and any other as it is."""
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def norm_of(tensor: Tensor | None) -> float | None:
    """Return the 2-norm of a tensor's elements, and none for what holds no such numbers."""
    if tensor is None or tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return None
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return float(torch.linalg.vector_norm(dense(tensor.detach()), dtype=wide))
