"""Comparing two tapes: where a fork, or another run of the model, has other values."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gradtape.tape._node import Node
from gradtape.tape._trees import dense


class Difference(NamedTuple):
    """How far a node's values on two tapes lie apart.

    Attributes:
        name: The node.
        distance: 2-norm of the difference.
        share: That over the 2-norm of the first tape's value; inf where it is 0.
    """

    name: str
    distance: float
    share: float


class Comparison(NamedTuple):
    """What ``Tape.compare`` found.

    Attributes:
        differences: The nodes whose values differ, in the order of computation.
        same: How many nodes have equal values, bit for bit.
        unmatched: Names of nodes that are not on both tapes with a value of the same shape.
    """

    differences: tuple[Difference, ...]
    same: int
    unmatched: tuple[str, ...]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        counts = f"{len(self.differences)} nodes differ, {self.same} are the same, {len(self.unmatched)} have no match"
        return "\n".join([counts, *(f"{each.name}: off by {each.share:.2g} of its size" for each in self.differences)])


def compare(mine: list[Node], theirs: list[Node]) -> Comparison:
    """Compare the values of two tapes, node by node of the same name; see ``Tape.compare``."""
    others = {node.name: node for node in theirs}
    differences, unmatched, same = [], [], 0
    for node in mine:
        other = others.pop(node.name, None)
        if node.held is None or other is None or other.held is None or other.shape != node.shape:
            unmatched.append(node.name)
            continue
        old, new = dense(node.held.detach()), dense(other.held.detach())
        if bool(((old == new) | ((old != old) & (new != new))).all()):
            same += 1
            continue
        kind = torch.complex128 if node.dtype.is_complex else torch.float64
        size, distance = (float(torch.linalg.vector_norm(each)) for each in (old.to(kind), new.to(kind) - old.to(kind)))
        differences.append(Difference(node.name, distance, distance / size if size else float("inf")))
    return Comparison(tuple(differences), same, (*unmatched, *others))
