"""What tests of penalties and views are given: discriminators, batches, and what was judged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradtape.games import InstanceNoise, Judged, View
from gradtape.seeding import generator as random_stream


def smooth(inputs: int = 3) -> nn.Module:
    """A discriminator with curvature, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, 1), nn.Flatten(0)).double()


def linear(weight: list[float]) -> nn.Module:
    """``D(x) = w · x``, whose slope is w wherever one looks."""
    layer = nn.Linear(len(weight), 1, bias=False).double()
    layer.weight.data = torch.tensor([weight], dtype=torch.float64)
    return nn.Sequential(layer, nn.Flatten(0))


def batch(n: int = 8, shape: tuple[int, ...] = (3,), seed: int = 1) -> tuple[Tensor, Tensor]:
    """Real and generated samples."""
    draws = torch.Generator().manual_seed(seed)
    real = torch.randn(n, *shape, generator=draws, dtype=torch.float64)
    return real, 2 * torch.randn(n, *shape, generator=draws, dtype=torch.float64) - 1


def judged(
    discriminator: nn.Module, real: Tensor, fake: Tensor, position: int = 0, seed: int = 0, sides: str = "real fake"
) -> Judged:
    """What the discriminator says of a batch, with the slopes of the named sides."""
    shown = {"real": real.clone().requires_grad_(), "fake": fake.clone().requires_grad_()}
    logits = {side: discriminator(x) for side, x in shown.items()}
    slopes = {
        side: torch.autograd.grad(logits[side].sum(), shown[side], create_graph=True)[0] for side in sides.split()
    }
    return Judged(discriminator, real, fake, logits, slopes, position, random_stream(seed, "penalty"))


class Shift(View):
    """Add a number: a view without chance."""

    def __init__(self, by: float) -> None:
        self.by = by

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        return x + self.by


NEEDS: dict[str, dict[str, Any]] = {"consistency": {"view": InstanceNoise(0.3)}}
"""What a penalty needs to be shown points."""
