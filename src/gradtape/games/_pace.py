"""How fast the players learn: their optimizers, and what of them changes from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from gradtape.errors import InputError


class Pace:
    """An Adam for each player; the learning rate falls along a cosine over the planned steps, the second beta may move.

    The rate is multiplied on from what stands in the optimizer, so that a change made there by hand lasts.

    Args:
        models: The generator and the discriminator, by name.
        lr: Learning rate of both, or of each.
        betas: Adam's; the second may be a schedule.
        steps: Number of planned steps; None keeps the rates.

    Raises:
        InputError: A rate, a beta or a number of steps out of range.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        lr: float | tuple[float, float],
        betas: tuple[float, float | Callable[[int], float]],
        steps: int | None,
    ) -> None:
        rates = (lr, lr) if isinstance(lr, int | float) else tuple(lr)
        if len(rates) != 2 or not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise InputError(f"lr is {lr}", remedy="give a number from 0 up, or one for each player")
        if steps is not None and steps < 1:
            raise InputError(f"steps is {steps}", remedy="give at least 1, or None")
        self._first, self._second = betas
        if not (0 <= self._first < 1 and (callable(self._second) or 0 <= self._second < 1)):
            raise InputError(f"betas are {betas}", remedy="give two numbers from 0 up to, and without, 1")
        self._steps = steps
        self.optimizers: dict[str, Optimizer] = {}
        for (name, model), rate in zip(models.items(), rates, strict=True):
            learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
            if not learning:
                raise InputError(f"the {name} has no parameter to train", remedy="set requires_grad on some")
            self.optimizers[name] = torch.optim.Adam(
                learning, lr=rate, betas=(self._first, self._beta(0)), fused=_fusible(learning)
            )

    def advance(self, position: int) -> None:
        """Set rates and betas for the step of that number, from 1 on."""
        before, now = self._share(position - 1), self._share(position)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if before != now:
                    group["lr"] *= now / before
                if callable(self._second) and "betas" in group:
                    group["betas"] = (group["betas"][0], self._beta(position))

    def _share(self, position: int) -> float:
        """Return the share of the learning rate that is left."""
        if self._steps is None:
            return 1.0
        return (1 + math.cos(math.pi * min(position / self._steps, 1.0))) / 2

    def _beta(self, position: int) -> float:
        beta = float(self._second(position)) if callable(self._second) else self._second
        if not 0 <= beta < 1:
            raise InputError(f"the second beta at step {position} is {beta}", remedy="give numbers from 0 up to 1")
        return beta


def _fusible(parameters: list[nn.Parameter]) -> bool:
    """Whether torch has a fused Adam for them all."""
    kinds = {parameter.device.type for parameter in parameters}
    return kinds <= {"cpu", "cuda", "mps", "xpu"} and all(parameter.is_floating_point() for parameter in parameters)
