"""Units that say nothing: dead ones, and those at the ends of their range."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gradtape.tracking.activations._base import ActivationMeasure, fraction

NEAR = 0.01  # of the range: as near to an end counts as saturated


class DeadUnits(ActivationMeasure):
    """Share of units whose output is exactly 0 for the whole batch, after modules that cut at 0.

    Units are channels of a convolution and features of anything else. A dead unit of a ReLU gets no gradient, and so
    stays dead. A small batch leaves healthy units silent too: of b independent samples about 2^-b.
    """

    name = "dead_units"

    def applies(self, module: nn.Module) -> bool:
        """ReLU, ReLU6, Hardswish, and Threshold to 0."""
        if isinstance(module, nn.Threshold):
            return module.value == 0
        return isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardswish)

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return the number of units that are dead, and of units."""
        batch = tuple(range(output.dim() - 1))
        dead = (output.amax(batch) == 0) & (output.amin(batch) == 0)
        return fraction(dead.sum(), len(dead))


class Saturation(ActivationMeasure):
    """Share of elements within 1 % of the range from an end of it, where the slope is nearly 0.

    For Sigmoid that is below 0.01 or above 0.99, for Tanh beyond ±0.98. ReLU6 counts at 6 only, its 0 is no end.
    """

    name = "saturation"

    def applies(self, module: nn.Module) -> bool:
        """Modules of a finite range."""
        return ends(module) is not None

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return the number of elements near an end, and of elements."""
        low, high = ends(module) or (0.0, 1.0)
        margin = NEAR * (high - low)
        near = output >= high - margin
        if not isinstance(module, nn.ReLU6):
            near |= output <= low + margin
        return fraction(near.sum(), output.numel())


def ends(module: nn.Module) -> tuple[float, float] | None:
    """Return the range of what a module returns, None where it has no two ends."""
    if isinstance(module, nn.Hardtanh):  # and ReLU6, which is one
        found = float(module.min_val), float(module.max_val)
        return found if all(map(math.isfinite, found)) else None
    if isinstance(module, nn.Sigmoid | nn.Hardsigmoid):
        return 0.0, 1.0
    if isinstance(module, nn.Tanh | nn.Softsign):
        return -1.0, 1.0
    return None
