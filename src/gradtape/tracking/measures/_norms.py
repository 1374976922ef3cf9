"""What is read at every step, but for the update: norms of gradients and weights, and what is not finite."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gradtape.tracking.measures._base import Measure, Reading, norms, onto


class GradNorm(Measure):
    """2-norm of the gradient that the optimizer gets; NaN where a parameter has no gradient at all."""

    name = "grad_norm"
    combine = "norm"

    def before_step(self, reading: Reading) -> None:
        """Read the norms before the optimizer can change the gradients."""
        self._norms = reading.grad_norms

    def after_step(self, reading: Reading) -> Tensor:
        """Return the norms read before the step."""
        return self._norms


class RawGradNorm(Measure):
    """2-norm of the gradient as backward left it, before clipping, and unscaled; NaN where that was not seen."""

    name = "raw_grad_norm"
    combine = "norm"

    def before_step(self, reading: Reading) -> None:
        """Keep what the end of backward found."""
        self._norms = reading.grad_norms if reading.raw is None else reading.raw

    def after_step(self, reading: Reading) -> Tensor:
        """Return the norms."""
        return self._norms


class WeightNorm(Measure):
    """2-norm of the weights before the step."""

    name = "weight_norm"
    combine = "norm"

    def before_step(self, reading: Reading) -> None:
        """Read the norms."""
        self._norms = norms(reading.weights)

    def after_step(self, reading: Reading) -> Tensor:
        """Return the norms read before the step."""
        return self._norms


class NonfiniteCount(Measure):
    """Number of gradient elements that are infinite or NaN; on an accelerator 1 stands for one or more.

    Elements are counted only where the norm says that there is something to count.
    """

    name = "nonfinite_count"

    def before_step(self, reading: Reading) -> None:
        """Count."""
        found = reading.grad_norms
        self._counts = (~found.isfinite()).to(found.dtype)
        if any(grad is None for grad in reading.grads):
            self._counts *= onto(found.device, [grad is not None for grad in reading.grads], found.dtype)
        if found.device.type == "cpu":
            for index in np.flatnonzero(self._counts.numpy()).tolist():
                grad = reading.grads[index]
                assert grad is not None
                self._counts[index] = grad.numel() - int(grad.isfinite().count_nonzero())

    def after_step(self, reading: Reading) -> Tensor:
        """Return the counts."""
        return self._counts
