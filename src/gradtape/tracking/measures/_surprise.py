"""How large a gradient is beside what Adam expects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adamax, Optimizer

from gradtape.tracking.measures._base import Reading
from gradtape.tracking.measures._reduce import (
    GradientMeasure,
    Numbers,
    alike,
    gather,
    home,
    pieces,
    share,
    wide,
    widened,
)


class AdamSurprise(GradientMeasure):
    """Root mean of g² / max(v, eps²), v being Adam's second moment before the step, its bias corrected.

    Near 1 in a steady training. A second moment that lags behind the gradients makes it rise, 1 to 8 steps before the
    loss does (RMS_t of Wortsman et al. 2023, arXiv 2304.13013, who take v after the step, which hides part of it). NaN
    at the first step, when nothing is expected yet.
    """

    name = "adam_surprise"
    parts = 2

    @classmethod
    def applies(cls, optimizer: Optimizer) -> bool:
        """Return whether the optimizer is Adam or its kin, which keep ``exp_avg_sq``."""
        adaptive = any("betas" in group and "eps" in group for group in optimizer.param_groups)
        return adaptive and not isinstance(optimizer, Adamax)

    def read(self, reading: Reading) -> Tensor:
        """Return the sum of squares over what was expected, and the number of elements."""
        found: list[tuple[Tensor, ...] | None] = []
        for parameter, grad, group in zip(reading.parameters, reading.grads, reading.groups, strict=True):
            found.append(None if grad is None else _surprise(grad, reading.optimizer.state.get(parameter, {}), group))
        counts = [0 if grad is None else grad.numel() for grad in reading.grads]
        return gather(found, home([(grad,) for grad in reading.grads]), counts)

    def finish(self, parts: Numbers) -> Numbers:
        """Take the root of the mean."""
        return np.sqrt(share(parts[:, 0], parts[:, 1]))


def _surprise(grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, ...] | None:
    expected = alike(state.get("exp_avg_sq"), grad)
    if expected is None or state.get("step") is None or "betas" not in group:
        return None
    kind = wide(grad.device)
    steps = state["step"]
    steps = steps.to(kind) if isinstance(steps, Tensor) and steps.device.type != "cpu" else float(steps)
    correction = 1 - group["betas"][1] ** steps  # 0 before any step, and so is v: their ratio is NaN
    least = max(float(group.get("eps", 0)) ** 2, torch.finfo(kind).tiny)
    sums = []
    for piece, square in pieces(grad, expected):
        size = widened(square).div(correction).clamp_(min=least)
        sums.append(widened(piece).square().div_(size).sum())
    return (sums[0] if len(sums) == 1 else torch.stack(sums).sum(),)
