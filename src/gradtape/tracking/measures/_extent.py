"""How large gradients are: their largest element and their mean."""

from __future__ import annotations

import torch
from torch import Tensor

from gradtape.tracking.measures._base import Reading
from gradtape.tracking.measures._reduce import GradientMeasure, Numbers, share, table, wide


class GradMax(GradientMeasure):
    """Largest absolute element, max|g|; NaN where one is NaN, 0 where there are no elements.

    It sees what the 2-norm does not: gradients so small that their squares underflow, and single outliers.
    """

    name = "grad_max"
    combine = "max"

    def read(self, reading: Reading) -> Tensor:
        """Return the largest elements: the smallest and the largest in one pass, without a copy of |g|."""

        def largest(piece: Tensor) -> tuple[Tensor, ...]:
            if not piece.numel():
                return (piece.new_zeros(()),)
            low, high = piece.aminmax()
            return (torch.maximum(low.abs(), high.abs()),)

        return table([(grad,) for grad in reading.grads], largest, merge=torch.maximum)


class GradMean(GradientMeasure):
    """Mean of the elements, sum(g) / n; NaN where there are none."""

    name = "grad_mean"
    parts = 2

    def read(self, reading: Reading) -> Tensor:
        """Return sum and number of the elements."""
        return table(
            [(grad,) for grad in reading.grads],
            lambda piece: (piece.sum(dtype=wide(piece.device)),),
            counts=[0 if grad is None else grad.numel() for grad in reading.grads],
        )

    def finish(self, parts: Numbers) -> Numbers:
        """Divide."""
        return share(parts[:, 0], parts[:, 1])
