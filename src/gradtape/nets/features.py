"""Networks that end in features, for a head and a critic to stand on."""

from __future__ import annotations

import math

from torch import nn

from gradtape.nets.images import Shape


class ImageFeatures(nn.Sequential):
    """Convolutions of 5x5 with batch normalisation, each halving the sides down to about 4x4, then one layer.

    Args:
        shape: Channels, height and width of an image.
        size: Number of features.
        width: Channels of the first convolution; each further one has twice as many, up to four times.

    Examples:
        >>> import torch
        >>> ImageFeatures((1, 16, 16))(torch.zeros(5, 1, 16, 16)).shape
        torch.Size([5, 128])
    """

    def __init__(self, shape: Shape, size: int = 128, width: int = 16) -> None:
        channels, *side = shape
        blocks: list[nn.Module] = []
        wide = width
        while not blocks or (max(side) >= 8 and min(side) >= 2):
            blocks += [nn.Conv2d(channels, wide, 5, padding=2), nn.BatchNorm2d(wide), nn.ReLU()]
            blocks += [nn.MaxPool2d(2, ceil_mode=True)]
            channels, wide = wide, min(2 * wide, 4 * width)
            side = [math.ceil(length / 2) for length in side]
        super().__init__(*blocks, nn.Flatten(), nn.Linear(channels * math.prod(side), size), nn.ReLU())


class TableFeatures(nn.Sequential):
    """Two hidden layers.

    Args:
        inputs: Numbers in a row.
        size: Number of features, and of the hidden layer before them.

    Examples:
        >>> import torch
        >>> TableFeatures(3)(torch.zeros(5, 3)).shape
        torch.Size([5, 64])
    """

    def __init__(self, inputs: int, size: int = 64) -> None:
        super().__init__(nn.Linear(inputs, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU())
