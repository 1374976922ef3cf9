"""Several samples at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.games.views._base import View


class Packing(View):
    """Show m samples together as one with m times the channels: samples that lack variety give themselves away.

    ``(n, c, ...) -> (n / m, m · c, ...)``, neighbours together. The discriminator takes m · c channels or features and
    judges n / m packs. It must be the last view.

    Args:
        m: Samples per pack, at least 1; 2 to 4 are usual.

    Raises:
        InputError: m below 1; a batch that does not come out even; samples without channels.

    Examples:
        >>> Packing(2)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.Generator())
        tensor([[1., 2., 3., 4.]])

    Source: Lin et al., PacGAN: The Power of Two Samples in Generative Adversarial Networks, NeurIPS 2018.
    """

    def __init__(self, m: int = 2) -> None:
        if m < 1:
            raise InputError(f"m of Packing is {m}", remedy="give a whole number from 1 up")
        self.packs = m

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the packs."""
        return x.reshape(len(x) // self.packs, self.packs * x.shape[1], *x.shape[2:])

    def check(self, shape: torch.Size) -> None:
        """Refuse a batch that cannot be packed."""
        if len(shape) < 2:
            raise InputError(
                f"Packing({self.packs}) puts channels together, and samples of shape {tuple(shape)} have none",
                remedy="give samples of shape (n, channels, ...)",
            )
        if shape[0] % self.packs:
            raise InputError(
                f"Packing({self.packs}) cannot pack {shape[0]} samples",
                remedy=f"use a batch size that is a multiple of {self.packs}",
            )

    def _settings(self) -> list[str]:
        return [str(self.packs)]
