"""Images, first coarse and then finer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from gradtape.errors import InputError
from gradtape.games.views._base import View


class Resolution(View):
    """Show coarse images first: both sides are averaged down to a side that doubles from ``start`` to the full one.

    The discriminator sees images of the full size, in blocks of one value. All stages are equally long; over the first
    half of each, what it adds fades in linearly. From ``steps`` on images are shown as they are.

    Args:
        start: Shorter side of the first stage, in pixels.
        steps: Steps over which the side grows.

    Raises:
        InputError: A setting below 1; samples that are no images.

    Examples:
        >>> view = Resolution(start=1, steps=100)
        >>> view(torch.arange(4.0).reshape(1, 1, 2, 2), torch.Generator())
        tensor([[[[1.5000, 1.5000],
                  [1.5000, 1.5000]]]])
        >>> view.sides(16), view.stage(16, position=45)  # the side then, and how much of it has faded in
        ([1, 2, 4, 8, 16], (4, 0.5))

    Source: Karras et al., Progressive Growing of GANs, ICLR 2018, whose networks grow; here only what they are shown.
    """

    images = True

    def __init__(self, start: int = 4, steps: int = 1000) -> None:
        for name, value in (("start", start), ("steps", steps)):
            if value < 1:
                raise InputError(f"{name} of Resolution is {value}", remedy="give a whole number from 1 up")
        self.start = start
        self.steps = steps

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the images as coarse as they are shown at this step."""
        full = min(x.shape[2:])
        side, faded = self.stage(full, self.position)
        shown = _reduced(x, side)
        if faded < 1:
            before = self.sides(full)[self.sides(full).index(side) - 1]
            coarse = _reduced(x, before)
            shown = coarse + faded * (shown - coarse)
        return shown

    def sides(self, full: int) -> list[int]:
        """Return the side of every stage for images whose shorter side is ``full``."""
        sides = []
        side = self.start
        while side < full:
            sides.append(side)
            side *= 2
        return [*sides, full]

    def stage(self, full: int, position: int) -> tuple[int, float]:
        """Return the side of the stage at a position, and the share of it that has faded in, from 0 to 1."""
        sides = self.sides(full)
        at = position * len(sides) / self.steps  # in stages
        stage = min(int(at), len(sides) - 1)
        return sides[stage], 1.0 if stage == 0 else min(2 * (at - stage), 1.0)

    def _settings(self) -> list[str]:
        return [f"start={self.start}", f"steps={self.steps}"]


def _reduced(x: Tensor, side: int) -> Tensor:
    height, width = x.shape[2:]
    full = min(height, width)
    if side == full:
        return x
    coarse = adaptive_avg_pool2d(x, (round(height * side / full), round(width * side / full)))
    return interpolate(coarse, size=(height, width), mode="nearest-exact")
