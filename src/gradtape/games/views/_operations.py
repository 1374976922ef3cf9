"""Differentiable changes of images, drawn per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from gradtape.errors import InputError
from gradtape.games.views._base import uniform

Operation = Callable[[Tensor, float, torch.Generator], Tensor]
"""From images (n, channels, height, width), a strength and a random stream to images; strength 0 changes nothing."""


def brightness(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Add a number from U(-0.5, 0.5) to each image."""
    return x + strength * (uniform(x, random) - 0.5)


def saturation(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Stretch each image's colours away from its grey by a factor from U(0, 2)."""
    return _stretched(x, x.mean(1, keepdim=True), 1 + strength * (2 * uniform(x, random) - 1))


def contrast(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Stretch each image away from its mean by a factor from U(0.5, 1.5)."""
    return _stretched(x, x.mean((1, 2, 3), keepdim=True), 1 + strength * (uniform(x, random) - 0.5))


def translation(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Move each image by up to an eighth of its height and width, in whole pixels, with 0 at the edges."""
    for axis in (2, 3):
        side = x.shape[axis]
        reach = int(strength * side / 8 + 0.5)
        shift = (uniform(x, random) * (2 * reach + 1)).floor().long().clamp(max=2 * reach) - reach
        place = torch.arange(side, device=x.device).reshape(-1, *[1] * (3 - axis)) - shift  # (n, 1, side, 1 or none)
        inside = (place >= 0) & (place < side)
        x = x.gather(axis, place.clamp(0, side - 1).expand(x.shape)) * inside
    return x


def cutout(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Set a rectangle of half of each image's height and width to 0; it may reach over the edges."""
    hole = torch.ones((), dtype=torch.bool, device=x.device)
    for axis in (2, 3):
        side = x.shape[axis]
        length = int(strength * side / 2 + 0.5)
        centre = (uniform(x, random) * (side + 1 - length % 2)).floor()
        place = torch.arange(side, device=x.device).reshape(-1, *[1] * (3 - axis)) - (centre - length // 2)
        hole = hole & (place >= 0) & (place < length)
    return x * ~hole


def affine(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Turn each image by up to 20 degrees, scale it by 0.8 to 1.25, shear it and move it by up to a tenth."""
    if not strength:
        return x  # or sampling would round
    turn, size, shear, right, down = (strength * (2 * uniform(x, random) - 1).reshape(-1) for _ in range(5))
    angle, scale = turn * (math.pi / 9), torch.exp(size * math.log(1.25))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([cos, -sin + 0.2 * shear, 0.2 * right, sin, cos, 0.2 * down], dim=1).reshape(-1, 2, 3)
    grid = affine_grid(rows, list(x.shape), align_corners=False)
    return grid_sample(x, grid, align_corners=False)


OPERATIONS: dict[str, Operation] = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "translation": translation,
    "cutout": cutout,
    "affine": affine,
}

POLICY = ("brightness", "saturation", "contrast", "translation", "cutout")
"""What is done unless something else is asked for."""


def checked_policy(owner: str, policy: Sequence[str]) -> tuple[str, ...]:
    """Return the names of operations; refuse one that there is not."""
    for name in policy:
        if name not in OPERATIONS:
            raise InputError(
                f"{owner} has no operation {name!r}", remedy=f"give a tuple of some of {', '.join(OPERATIONS)}"
            )
    return tuple(policy)


def _stretched(x: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    """Return what has its distance from the centre times a factor; written so that the factor 1 changes no bit."""
    return x + (factor - 1) * (x - centre)
