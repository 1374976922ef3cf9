"""Convolutional players for images from 4x4 to 256x256, of any side and with or without a condition."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from gradtape.errors import InputError
from gradtape.nets.layers import Condition

Shape = tuple[int, int, int]
_SLOPE = 0.2


class ConvGenerator(nn.Module):
    """Latents, and conditions if any, to images in (-1, 1): a linear layer, then convolutions that double the side.

    It begins with a side below 8, and each doubling is cut to the side needed: 7, 14, 28, or 8, 15, 30.
    Nothing couples the samples of a batch.

    Args:
        shape: Channels, height and width of an image.
        latent: Size of z.
        width: Channels at full size; each halving doubles them, up to four times as many.
        condition: None, a number of classes, or a ``Condition``; it is encoded as wide as z and goes in beside it.

    Raises:
        InputError: A shape or a width that cannot be used; a condition missing, or not asked for.

    Examples:
        >>> ConvGenerator((3, 30, 20), latent=16, width=4, condition=10)(torch.zeros(2, 16), torch.tensor([3, 4])).shape
        torch.Size([2, 3, 30, 20])

    Source: Radford et al., Unsupervised Representation Learning with DCGAN, ICLR 2016, without its batch norm.
    """

    def __init__(
        self, shape: Shape, latent: int = 64, width: int = 24, condition: Condition | int | None = None
    ) -> None:
        super().__init__()
        self._sides = _halvings(shape, width, below=8)[::-1]
        self.shape, self.latent = tuple(shape), latent
        depth = len(self._sides) - 1
        channels = [width * min(2**level, 4) for level in range(depth, -1, -1)]
        self.condition = Condition.of(condition, latent)
        self.input = nn.Linear(latent * (1 if condition is None else 2), channels[0] * math.prod(self._sides[0]))
        self.blocks = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1) for wide, narrow in pairwise(channels)
        )
        self.output = nn.Conv2d(channels[-1], shape[0], 3, padding=1)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return images (n, c, h, w) for latents (n, latent) and labels (n,) or attributes (n, k)."""
        if self.condition is not None:
            z = torch.cat([z, self.condition(condition)], dim=1)
        elif condition is not None:
            raise _unasked("generator")
        start: Tensor = leaky_relu(self.input(z), _SLOPE)
        hidden = start.view(len(z), -1, *self._sides[0]).contiguous(memory_format=torch.channels_last)
        for block, (height, width) in zip(self.blocks, self._sides[1:], strict=True):
            hidden = leaky_relu(block(hidden)[:, :, :height, :width], _SLOPE)
        images: Tensor = self.output(hidden).tanh().contiguous()
        return images


class ConvDiscriminator(nn.Module):
    r"""Images to logits: convolutions that halve the side, a hidden layer, and a reading of it.

    With ``join="projection"`` a condition $c$ adds $\langle h, e(c) \rangle / \sqrt{|h|}$ to the reading of the hidden
    features $h$; with ``"concatenation"`` its features join those of the image before the hidden layer. There is no
    normalisation over the batch: a sample's logit does not depend on its batch mates, as penalties per sample need.

    Args:
        shape: Channels, height and width of an image.
        width: Channels after the first convolution; each halving doubles them, up to four times as many.
        condition: None, a number of classes, or a ``Condition``.
        join: ``"projection"`` or ``"concatenation"``.
        hidden: Size of the hidden layer.

    Raises:
        InputError: A shape, a width or a way to join that cannot be used; a condition missing, or not asked for.

    Examples:
        >>> ConvDiscriminator((1, 28, 28), width=4, condition=10)(torch.zeros(2, 1, 28, 28), torch.tensor([3, 4])).shape
        torch.Size([2])

    Source: Radford et al., DCGAN, ICLR 2016; Miyato and Koyama, cGANs with Projection Discriminator, ICLR 2018; without
    batch norm as in Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017.
    """

    def __init__(
        self,
        shape: Shape,
        width: int = 32,
        condition: Condition | int | None = None,
        join: Literal["projection", "concatenation"] = "projection",
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if join not in ("projection", "concatenation"):
            raise InputError(f"join is {join!r}", remedy="use 'projection' or 'concatenation'")
        sides = _halvings(shape, width, below=5)
        channels = [shape[0], *(width * min(2**level, 4) for level in range(len(sides) - 1))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(channels):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        self.join = join
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.condition = Condition.of(condition, hidden)
        joined = hidden if condition is not None and join == "concatenation" else 0
        self.hidden = nn.Linear(channels[-1] * math.prod(sides[-1]) + joined, hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return logits (n,) for images (n, c, h, w) and labels (n,) or attributes (n, k)."""
        if self.condition is None and condition is not None:
            raise _unasked("discriminator")
        asked = None if self.condition is None else self.condition(condition)
        found: Tensor = self.features(x)
        if asked is not None and self.join == "concatenation":
            found = torch.cat([found, asked], dim=1)
        found = leaky_relu(self.hidden(found), _SLOPE)
        logits: Tensor = self.output(found).squeeze(1)
        if asked is not None and self.join == "projection":
            logits = logits + (found * asked).sum(1) / math.sqrt(found.shape[1])
        return logits


def _halvings(shape: Shape, width: int, below: int) -> list[tuple[int, int]]:
    """Return the sizes from the whole image down, halved and rounded up until the shorter side is below ``below``."""
    if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < 4:
        raise InputError(
            f"{tuple(shape)} is no shape of an image", remedy="give (channels, height, width) with sides of at least 4"
        )
    if width < 1:
        raise InputError(f"width is {width}", remedy="give at least 1")
    sides = [(shape[1], shape[2])]
    while min(sides[-1]) >= below:
        height, across = sides[-1]
        sides.append((math.ceil(height / 2), math.ceil(across / 2)))
    return sides


def _unasked(player: str) -> InputError:
    return InputError(
        f"a condition for a {player} that was built without one", remedy="build it with condition=, or leave it away"
    )
