"""Samples under noise."""

from __future__ import annotations

import torch
from torch import Tensor

from gradtape.games.views._base import Amount, Setting, View


class InstanceNoise(View):
    """Add Gaussian noise to every sample, so that both sides overlap however far apart they are.

    ``x + N(0, std²)``

    Args:
        std: Standard deviation of each element, at least 0, in the units of the data: a number, or a schedule that
            falls to 0, such as ``schedules.linear(0.5, 0, total_steps=2000)``.

    Raises:
        InputError: A standard deviation that is negative or not finite.

    Examples:
        >>> from gradtape.transforms import schedules
        >>> view = InstanceNoise(schedules.linear(0.5, 0, total_steps=2))
        >>> for _ in range(2):
        ...     view.advance()
        >>> view(torch.ones(3, 1), torch.Generator()).flatten()
        tensor([1., 1., 1.])

    Source: Sønderby et al., Amortised MAP Inference for Image Super-resolution, ICLR 2017; Arjovsky and Bottou, Towards
    Principled Methods for Training Generative Adversarial Networks, ICLR 2017.
    """

    def __init__(self, std: Amount = 0.1) -> None:
        self._std = Setting("std of InstanceNoise", std)

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the samples with noise."""
        std = self._std.at(self.position)
        if std == 0:
            return x
        return x + std * torch.randn(x.shape, generator=random, device=random.device).to(x)

    def _settings(self) -> list[str]:
        return [repr(self._std)]
