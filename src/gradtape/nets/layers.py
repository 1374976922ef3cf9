"""Layers for the networks of a game: statistics of the batch, Fourier features, and encoders of a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.seeding import generator as random_stream


class MinibatchStdDev(nn.Module):
    r"""Append how much the samples of a group differ, as one more channel (or feature), so that a collapse is seen.

    $$s = \operatorname{mean}_{j}\sqrt{\operatorname{var}_{i \in \text{group}}(x_{ij}) + 10^{-8}}$$

    Groups are made of samples that follow one another. It couples the samples of a batch: real and fake samples have to
    be in different groups, and a gradient penalty per sample becomes one per group.

    Args:
        group: Samples per group, >= 2; a smaller batch is one group.

    Raises:
        InputError: ``group`` below 2, or a batch that is no multiple of it.

    Examples:
        >>> MinibatchStdDev(group=2)(torch.tensor([[0.0], [2.0], [5.0], [5.0]]))[:, 1].round(decimals=3).tolist()
        [1.0, 1.0, 0.0, 0.0]

    Source: Karras et al., Progressive Growing of GANs, ICLR 2018.
    """

    couples_samples = True  # read by the step, which must know

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        if group < 2:
            raise InputError(f"group is {group}", remedy="give at least 2 samples per group")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (n, c, ...) with one channel more: (n, c + 1, ...)."""
        n = len(x)
        size = min(self.group, n)
        if n % size:
            raise InputError(f"a batch of {n} is no multiple of the group of {size}", remedy="change one of them")
        deviation = (x.reshape(n // size, size, -1).var(1, unbiased=False) + 1e-8).sqrt().mean(1)
        shown = deviation.repeat_interleave(size).view(n, 1, *(1 for _ in x.shape[2:]))
        return torch.cat([x, shown.expand(n, 1, *x.shape[2:])], dim=1)


class MinibatchDiscrimination(nn.Module):
    r"""Append how close each sample is to the others of its batch, by learned projections.

    $$o_{ib} = \sum_{j \ne i} e^{-\lVert (x_i T)_b - (x_j T)_b \rVert_1}$$

    It couples the samples of a batch: real and fake samples have to be judged in batches of their own.

    Args:
        inputs: Features per sample.
        kernels: Features appended.
        size: Dimensions in which a kernel measures the distance.

    Raises:
        InputError: A size below 1.

    Examples:
        >>> MinibatchDiscrimination(3, kernels=2)(torch.zeros(5, 3))[0].tolist()
        [0.0, 0.0, 0.0, 4.0, 4.0]

    Source: Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016.
    """

    couples_samples = True  # read by the step, which must know

    def __init__(self, inputs: int, kernels: int = 16, size: int = 8) -> None:
        super().__init__()
        if min(inputs, kernels, size) < 1:
            raise InputError(
                f"inputs, kernels and size are {inputs}, {kernels} and {size}", remedy="give at least 1 of each"
            )
        self.kernels, self.size = kernels, size
        self.project = nn.Linear(inputs, kernels * size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (n, inputs) with its closeness appended: (n, inputs + kernels)."""
        projected = self.project(x).view(len(x), self.kernels, self.size)
        apart = (projected[:, None] - projected[None]).abs().sum(3)
        return torch.cat([x, (-apart).exp().sum(1) - 1], dim=1)


class FourierFeatures(nn.Module):
    r"""Append sines and cosines of random projections, with which a network learns sharp structure sooner.

    $$x \mapsto [x, \sin 2\pi Bx, \cos 2\pi Bx], \qquad B_{ij} \sim \mathcal N(0, \text{scale}^2)$$

    Args:
        inputs: Features per sample.
        features: Number of projections.
        scale: Their standard deviation, > 0: about 1 over the width of the finest structure.
        seed: Seed of B, which is a buffer and is not trained.

    Raises:
        InputError: A size below 1, or a scale that is not positive.

    Examples:
        >>> FourierFeatures(2, features=3)(torch.zeros(1, 2)).tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]

    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, NeurIPS 2020.
    """

    matrix: Tensor

    def __init__(self, inputs: int, features: int = 64, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        if min(inputs, features) < 1:
            raise InputError(f"inputs and features are {inputs} and {features}", remedy="give at least 1 of each")
        if not (math.isfinite(scale) and scale > 0):
            raise InputError(f"scale is {scale}", remedy="give a finite number above 0")
        self.width = inputs + 2 * features
        drawn = torch.randn(inputs, features, generator=random_stream(seed, "fourier features"))
        self.register_buffer("matrix", scale * drawn)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (n, inputs) with its features appended: (n, ``width``)."""
        angle = 2 * math.pi * (x @ self.matrix)
        return torch.cat([x, angle.sin(), angle.cos()], dim=1)


class Condition(nn.Module):
    """An encoder of what is asked for: class labels (n,), or attributes (n, k), as ``width`` features.

    Where a network takes a condition, this says of which kind; the network makes an encoder of its own from it.

    Args:
        classes: Number of classes; each gets a learned vector, drawn from N(0, 1).
        attributes: Number of attributes; they go through a linear layer, so scale them to about -1..1.
        width: Features per sample.

    Raises:
        InputError: Not just one of ``classes`` and ``attributes``, a number below 1, or a condition of another kind.

    Examples:
        >>> Condition(classes=10, width=5)(torch.tensor([3, 4])).shape
        torch.Size([2, 5])
        >>> Condition(attributes=3, width=5)(torch.zeros(2, 3)).shape
        torch.Size([2, 5])
    """

    def __init__(self, *, classes: int | None = None, attributes: int | None = None, width: int = 64) -> None:
        super().__init__()
        if (classes is None) == (attributes is None):
            raise InputError(f"classes is {classes} and attributes is {attributes}", remedy="give one of the two")
        if min(classes or attributes or 0, width) < 1:
            raise InputError(
                f"classes is {classes}, attributes {attributes} and width {width}", remedy="give at least 1 of each"
            )
        self.classes, self.attributes, self.width = classes, attributes, width
        self.encode = nn.Linear(attributes, width) if attributes else nn.Embedding(classes or 0, width)

    @staticmethod
    def of(condition: Condition | int | None, width: int) -> Condition | None:
        """Return a fresh encoder of ``width`` features for a number of classes or for another encoder's kind."""
        if condition is None:
            return None
        if isinstance(condition, Condition):
            return Condition(classes=condition.classes, attributes=condition.attributes, width=width)
        return Condition(classes=condition, width=width)

    def forward(self, condition: Tensor | None) -> Tensor:
        """Return features (n, width) of labels (n,) int64, or of attributes (n, k)."""
        if condition is None:
            raise InputError(f"no condition for a network that needs {self._expected}", remedy="hand it one")
        kind = condition.is_floating_point() if self.attributes else condition.dtype in (torch.int64, torch.int32)
        if not kind or condition.shape[1:] != ((self.attributes,) if self.attributes else ()) or not condition.dim():
            raise InputError(
                f"the condition is {condition.dtype} of shape {tuple(condition.shape)}", remedy=f"give {self._expected}"
            )
        if self.classes and len(condition) and not 0 <= int(condition.min()) <= int(condition.max()) < self.classes:
            raise InputError(
                f"the condition has labels from {int(condition.min())} to {int(condition.max())}",
                remedy=f"give {self._expected}",
            )
        encoded: Tensor = self.encode(condition)
        return encoded

    @property
    def _expected(self) -> str:
        return (
            f"attributes of shape (n, {self.attributes}), floating"
            if self.attributes
            else f"labels of shape (n,), int64, below {self.classes}"
        )
