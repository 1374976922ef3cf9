"""Several transformations as one."""

from __future__ import annotations

from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.transforms._base import Transform
from gradtape.transforms._places import Gradients, Place


class _Chain(Transform):
    def __init__(self, members: list[Transform]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        for member in members_of(self):
            grads = member.rule(grads, place)
        return grads

    def forward(self, x: Tensor) -> Tensor:
        for member in reversed(members_of(self)):  # the last one applied is the first that a gradient meets
            x = member(x)
        return x

    def step(self) -> None:
        for member in members_of(self):
            member.step()

    def prepare(self, place: Place) -> None:
        for member in members_of(self):
            member.prepare(place)

    def check_tensor(self) -> None:
        for member in members_of(self):
            member.check_tensor()

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.members))})"


def members_of(transform: Transform) -> list[Transform]:
    """Return the transformations that a chain is made of; a single one is its only member."""
    if not isinstance(transform, _Chain):
        return [transform]
    return [member for member in transform.members if isinstance(member, Transform)]


def chain(*members: Transform) -> Transform:
    """Compose transformations: the gradient passes the first, then the second, and so on.

    Args:
        members: One transformation or more; a chain among them is taken apart.

    Returns:
        A transformation; with one member, that member.

    Raises:
        InputError: Nothing to compose, or something that is no transformation.

    Examples:
        >>> import torch
        >>> from gradtape.transforms import Reverse, Scale
        >>> both = chain(Scale(2.0), Reverse(0.5))
        >>> both
        chain(Scale(factor=2.0), Reverse(strength=0.5))
        >>> both.gradient(torch.ones(2))
        tensor([-1., -1.])
    """
    flat: list[Transform] = []
    for member in members:
        if not isinstance(member, Transform):
            raise InputError(f"chain() was given a {type(member).__name__}", remedy="give it transformations only")
        flat.extend(members_of(member))
    if not flat:
        raise InputError("chain() was given nothing to compose", remedy="give it one transformation or more")
    return flat[0] if len(flat) == 1 else _Chain(flat)
