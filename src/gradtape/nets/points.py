"""Reference networks for points: samples that are a row of numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.nets.layers import Condition, FourierFeatures

_TOLD = 16  # features of a condition in the generator
_START = 0.4  # deviation of the first points: with less, a far cluster is found late; with more, gaps stay full
_SPREAD = 0.2  # of a component's latents at first, beside components that lie 1 apart


class PointGenerator(nn.Module):
    """A generator of points whose latents are a mixture, so that it can leave gaps between clusters.

    A continuous function of one Gaussian joins all that it makes by bridges. Here the first number of z chooses one of
    many components, ``k = ⌊K Φ(z₀)⌋``, and the others move it: ``μₖ + σₖ z``, both learnt.

    Args:
        dimensions: Numbers of a point.
        latent: Size of z, at least 2.
        width: Size of the three hidden layers.
        components: K, the number of components, all equally likely; at least 2.
        condition: What is told of each point: a number of classes, or a ``Condition``; None tells nothing.

    Examples:
        >>> PointGenerator(2)(torch.zeros(5, 64)).shape
        torch.Size([5, 2])

    Source: Gurumurthy, Sarvadevabhatla and Babu, DeLiGAN, CVPR 2017.
    """

    def __init__(
        self,
        dimensions: int,
        latent: int = 64,
        width: int = 128,
        components: int = 256,
        condition: Condition | int | None = None,
    ) -> None:
        super().__init__()
        if min(dimensions, latent - 1, width, components - 1) < 1:
            raise InputError(
                f"dimensions, latent, width and components are {dimensions}, {latent}, {width} and {components}",
                remedy="give at least 2 for latent and components, and at least 1 for the others",
            )
        self.components = components
        self.centre = nn.Parameter(torch.randn(components, latent - 1))
        self.spread = nn.Parameter(torch.full((components, latent - 1), _SPREAD))
        self.condition = Condition.of(condition, _TOLD)
        told = _TOLD if self.condition is not None else 0
        self.body = _perceptron(latent - 1 + told, dimensions, width)
        self._spread_out(torch.cat([self.centre, torch.zeros(components, told)], dim=1))

    @torch.no_grad()
    def _spread_out(self, centres: Tensor) -> None:
        """Scale the last layer so that the components' centres are made into points of mean 0 and deviation 0.4.

        A generator that begins as one spot is pulled to the nearest cluster whole, and far ones are never found.
        """
        first, last = self.body(centres), self.body[-1]
        assert isinstance(last, nn.Linear)
        deviation = first.std(dim=0).clamp(min=1e-6) / _START
        last.weight /= deviation[:, None]
        last.bias.copy_((last.bias - first.mean(dim=0)) / deviation)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return points (n, dimensions) for latents (n, latent)."""
        share = torch.special.ndtr(z[:, 0])
        component = (share * self.components).long().clamp(0, self.components - 1)
        moved = self.centre[component] + self.spread[component] * z[:, 1:]
        if self.condition is not None:
            moved = torch.cat([moved, self.condition(condition)], dim=1)
        points: Tensor = self.body(moved)
        return points


class PointDiscriminator(nn.Module):
    """A discriminator of points, each by itself; random Fourier features let it see fine structure.

    Args:
        dimensions: Numbers of a point, each of about unit variance.
        width: Size of the three hidden layers.
        features: Number of random directions; each gives a sine and a cosine.
        condition: Likewise; joined by projection.

    Examples:
        >>> PointDiscriminator(2)(torch.zeros(5, 2)).shape
        torch.Size([5])

    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, NeurIPS 2020.
    """

    def __init__(
        self, dimensions: int, width: int = 128, features: int = 64, condition: Condition | int | None = None
    ) -> None:
        super().__init__()
        self.features = FourierFeatures(dimensions, features)
        self.condition = Condition.of(condition, width)
        self.body = _perceptron(dimensions + 2 * features, width, width)[:-1]
        self.output = nn.Linear(width, 1)

    def forward(self, points: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return logits (n,) for points (n, dimensions)."""
        hidden: Tensor = self.body(self.features(points))
        logits: Tensor = self.output(hidden).squeeze(1)
        if self.condition is not None:
            logits = logits + (hidden * self.condition(condition)).sum(1) / math.sqrt(hidden.shape[1])
        return logits


def _perceptron(inputs: int, outputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (inputs, width, width):
        layers += [nn.Linear(size, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
