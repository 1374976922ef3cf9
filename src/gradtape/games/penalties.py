"""Penalties on the discriminator's gradient with respect to its input."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor

from gradtape.errors import InputError


class Penalty:
    """A zero-centred gradient penalty on one side of the game.

    ``γ/2 E ‖∇ₓ D(x)‖²``

    Args:
        weight: γ, a finite number of at least 0.
    """

    side: ClassVar[Literal["real", "fake"]]

    def __init__(self, weight: float = 0.1) -> None:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(
                f"the weight of {type(self).__name__} is {weight}", remedy="give a finite number from 0 up"
            )
        self.weight = weight

    def __call__(self, gradient: Tensor) -> Tensor:
        """Return the penalty, a scalar, for the gradient of the logits with respect to their samples."""
        return self.weight / 2 * gradient.flatten(1).square().sum(1).mean()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight})"


class R1(Penalty):
    """Gradient penalty on real samples. Source: Mescheder, Geiger and Nowozin, ICML 2018."""

    side = "real"


class R2(Penalty):
    """Gradient penalty on generated samples. Source: Mescheder, Geiger and Nowozin, ICML 2018."""

    side = "fake"
