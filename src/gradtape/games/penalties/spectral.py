"""A bound on the discriminator's slope by construction, in place of a penalty."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrizations, parametrize

from gradtape import seeding

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def spectral_norm(module: ModuleT, seed: int = 0) -> ModuleT:
    """Divide the weight of every linear, convolutional and embedding layer by its largest singular value.

    ``W / σ(W)``, σ estimated by power iteration, one iteration per forward pass in training mode

    Args:
        module: A network, changed in place; layers that are normalised already stay as they are.
        seed: Seed of the vectors from which the iteration begins.

    Returns:
        The same module.

    Examples:
        >>> critic = spectral_norm(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)))
        >>> round(torch.linalg.matrix_norm(critic[0].weight, 2).item(), 2)
        1.0

    Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018.
    """
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear | _ConvNd | nn.Embedding) and not _normalised(layer)
    ]
    devices = sorted({layer.weight.device.index for layer in layers if layer.weight.is_cuda})
    with torch.random.fork_rng(devices=devices):  # the beginning is drawn from the global stream, which must not move
        torch.default_generator.manual_seed(seeding.derive(seed, "spectral_norm"))
        for layer in layers:
            parametrizations.spectral_norm(layer)
    return module


def _normalised(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    parts = cast(Any, layer).parametrizations["weight"]
    return any(isinstance(part, parametrizations._SpectralNorm) for part in parts)
