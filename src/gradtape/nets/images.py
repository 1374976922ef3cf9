"""Reference networks for small images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]


class ImageClassifier(nn.Sequential):
    """A small convolutional classifier: a first convolution, halving ones down to about 4x4, then two layers.

    The first convolution halves too where the shorter side is at least 16 pixels, which keeps large images quick.

    Args:
        shape: Channels, height and width of an image.
        classes: Number of classes.
        width: Channels of the first convolution; each halving doubles them, up to four times as many.

    Examples:
        >>> ImageClassifier((1, 8, 8), 10)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, shape: Shape, classes: int, width: int = 16) -> None:
        channels, *side = shape
        stride = 2 if min(side) >= 16 else 1
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.ReLU()]
        wide, side = width, [math.ceil(length / stride) for length in side]
        while min(side) >= 8:
            narrow, wide = wide, min(2 * wide, 4 * width)
            blocks += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU()]
            side = [math.ceil(length / 2) for length in side]
        super().__init__()
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(nn.Linear(wide * math.prod(side), 64), nn.ReLU(), nn.Linear(64, classes))


class ImageGenerator(nn.Module):
    """A class-conditional generator: latent and class to an image in (0, 1), through two hidden layers.

    Args:
        shape: Channels, height and width of an image.
        classes: Number of classes.
        latent: Size of z, and of a class's embedding.
        width: Size of the hidden layers.

    Examples:
        >>> ImageGenerator((1, 8, 8), 10, latent=32)(torch.zeros(5, 32), torch.arange(5)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, shape: Shape, classes: int, latent: int, width: int = 128) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(classes, latent)
        self.body = nn.Sequential(
            nn.Linear(2 * latent, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, math.prod(shape)),
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return images for latents (n, latent) and labels (n,)."""
        flat: Tensor = self.body(torch.cat([z, self.embedding(labels)], dim=1))
        return flat.sigmoid().view(-1, *self.shape)


class ImageDiscriminator(nn.Module):
    """A projection discriminator for small images, without coupling between the samples of a batch.

    Args:
        shape: Channels, height and width of an image.
        classes: Number of classes.
        width: Size of the hidden layers.

    Source: Miyato and Koyama, cGANs with Projection Discriminator, ICLR 2018.
    """

    def __init__(self, shape: Shape, classes: int, width: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
        )
        self.output = nn.Linear(width, 1)
        self.embedding = nn.Embedding(classes, width)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits, shape (n,), for images (n, c, h, w) and labels (n,)."""
        hidden: Tensor = self.body(images)
        projection = (hidden * self.embedding(labels)).sum(1) / math.sqrt(hidden.shape[1])
        logits: Tensor = self.output(hidden).squeeze(1) + projection
        return logits
