"""What a view is: how samples are shown to the discriminator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradtape.errors import InputError

Amount = float | Callable[[int], float]
"""A number, or a schedule from the position in steps to a number."""


class View(ABC):
    """How samples are shown to the discriminator, real and generated ones by the same law.

    A view does not know which side it shows, and showing changes nothing in it: between steps, ``observe`` and then
    ``advance`` do.

    Attributes:
        position: Steps taken so far; schedules are read there.
        images: Whether it shows images only, of shape (n, channels, height, width).
        packs: How many samples it makes one sample of; a view that packs must be the last.

    Examples:
        >>> class Mirror(View):
        ...     '''Half of the samples with their last axis reversed.'''
        ...
        ...     def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        ...         mirrored = uniform(x, random) < 0.5
        ...         return torch.where(mirrored, x.flip(-1), x)
        >>> Mirror()(torch.tensor([[1.0, 2.0]] * 4), torch.Generator().manual_seed(1))[:, 0]
        tensor([1., 2., 2., 1.])
    """

    images: ClassVar[bool] = False
    packs: int = 1
    position: int = 0

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return what the discriminator sees of samples, shape (n, ...); gradients flow through.

        Raises:
            InputError: Samples that cannot be shown so.
        """
        self.check(x.shape)
        return self.show(x, random)

    @abstractmethod
    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return what is seen of samples that have been checked."""

    def check(self, shape: torch.Size) -> None:
        """Refuse a batch that cannot be shown so, by its shape.

        Raises:
            InputError: Images are needed and the shape is not (n, channels, height, width).
        """
        if self.images and len(shape) != 4:
            raise InputError(
                f"{type(self).__name__} shows images, and samples of shape {tuple(shape)} are no images",
                remedy="give images of shape (n, channels, height, width), or use InstanceNoise, which shows anything",
            )

    def observe(self, real_logits: Tensor) -> None:
        """Take in the logits of the real samples, shape (n,), after a step."""
        del real_logits  # most views do not look

    def advance(self) -> None:
        """Go on to the next step."""
        self.position += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what the next view depends on besides the samples and the random stream."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.position = int(state["position"])

    def _settings(self) -> list[str]:
        """Return the settings as they are typed, for printing."""
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._settings())})"


class Setting:
    """A setting of at least 0, a number or a schedule, that is checked when it is made and when it is read."""

    def __init__(self, name: str, amount: Amount) -> None:
        self.name = name
        self.amount = amount
        self.at(0)

    def at(self, position: int) -> float:
        """Return the amount at a position."""
        amount = self.amount(position) if callable(self.amount) else self.amount
        if not 0 <= amount < float("inf"):
            where = f" at position {position} of its schedule" if callable(self.amount) else ""
            raise InputError(f"the {self.name}{where} is {amount}", remedy="give a finite number from 0 up")
        return amount

    def __repr__(self) -> str:
        return repr(self.amount)


def uniform(x: Tensor, random: torch.Generator) -> Tensor:
    """Return a number from U(0, 1) per sample, shape (n, 1, ...), of the type and on the device of ``x``."""
    draws = torch.rand(len(x), generator=random, device=random.device)
    return draws.to(x).reshape(-1, *[1] * (x.dim() - 1))
