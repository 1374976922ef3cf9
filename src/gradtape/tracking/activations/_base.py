"""What a measure of activations is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from gradtape.tracking.measures import Combine
from gradtape.tracking.measures._reduce import Numbers, share, wide

WEIGHTED = (nn.Linear, nn.Bilinear, _ConvNd, nn.Embedding, nn.EmbeddingBag, nn.RNNBase)


class ActivationMeasure(ABC):
    """One number of a module's output, over the batch, in a training step.

    What is read are parts, which processes that see other parts of the batch combine; ``finish`` makes the number of
    them. An output comes without a graph, in at least 32 bits, with the units in its last dimension (channels of a
    convolution too) and the batch in its first.

    Attributes:
        name: What it is called; its channel is ``player/activations/name``.
        parts: How many parts it has per module.
        combine: How the parts of several processes add up.
        of_model: Whether it reads what the model as a whole returns, instead of its modules.
    """

    name: ClassVar[str]
    parts: ClassVar[int] = 2
    combine: ClassVar[Combine] = "sum"
    of_model: ClassVar[bool] = False

    def applies(self, module: nn.Module) -> bool:
        """Whether it says anything of such a module."""
        return True

    @abstractmethod
    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return the parts, shape (parts,), without waiting for an accelerator if that can be."""

    def finish(self, parts: Numbers) -> Numbers:
        """Return the numbers, shape (modules,), of parts (modules, parts): by default the first over the second."""
        return share(parts[:, 0], parts[:, 1])


def weighted(module: nn.Module) -> bool:
    """Whether a module multiplies with weights, rather than scales, shifts or bends what it gets."""
    if isinstance(module, nn.ParameterList | nn.ParameterDict):
        return False
    own = (parameter for parameter in module.parameters(recurse=False) if not is_lazy(parameter))
    return isinstance(module, WEIGHTED) or any(parameter.dim() >= 2 for parameter in own)


def fraction(part: Tensor, whole: float) -> Tensor:
    """Return a number and what it is a part of, as parts that ``finish`` divides."""
    number = part.to(wide(part.device))
    return torch.stack([number, torch.full_like(number, whole)])


def unknown(output: Tensor) -> Tensor:
    """Return the two parts of an output that says nothing."""
    return torch.full((2,), torch.nan, dtype=wide(output.device), device=output.device)
