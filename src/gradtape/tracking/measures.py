"""What is read at every step: one number per parameter and measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor


class Measure(ABC):
    """Reads one number per parameter at an optimizer's step.

    A subclass sets ``name`` and gives ``after_step``, or ``before_step`` for what must be read before the
    weights move. Gradients are read where they are final: reduced, unscaled, accumulated, clipped.
    """

    name: ClassVar[str]

    def before_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:  # noqa: B027 - optional
        """Read or keep something before the weights move."""

    @abstractmethod
    def after_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
        """Return one number per parameter, shape (parameters,), float32."""


class GradNorm(Measure):
    """Gradient 2-norm; NaN where a parameter has no gradient at all."""

    name = "grad_norm"

    def before_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Read the norms before the optimizer can change the gradients."""
        present = [index for index, grad in enumerate(grads) if grad is not None]
        self._norms = torch.full((len(grads),), torch.nan)
        if present:
            self._norms[present] = _norms([grad for grad in grads if grad is not None])

    def after_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
        """Return the norms read before the step."""
        return self._norms


class WeightNorm(Measure):
    """Weight 2-norm before the step."""

    name = "weight_norm"

    def before_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Read the norms."""
        self._norms = _norms(weights)

    def after_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
        """Return the norms read before the step."""
        return self._norms


class UpdateRatio(Measure):
    """Update-to-weight ratio, the 2-norm of what the step changed over that of the weights before; 0 over 0 is 0."""

    name = "update_ratio"

    def before_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Keep a copy of the weights."""
        self._before = [weight.detach().clone() for weight in weights]

    def after_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
        """Return the ratios."""
        update = _norms(torch._foreach_sub([weight.detach() for weight in weights], self._before))
        size = _norms(self._before)
        self._before = []
        return torch.where((update == 0) & (size == 0), torch.zeros_like(update), update / size)


class ZeroCount(Measure):
    """Number of gradient elements that are exactly zero; NaN where a parameter has no gradient."""

    name = "zero_count"

    def before_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Count."""
        self._counts = torch.tensor([torch.nan if g is None else g.numel() - int(g.count_nonzero()) for g in grads])

    def after_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
        """Return the counts."""
        return self._counts


class NonfiniteCount(Measure):
    """Number of gradient elements that are infinite or not a number."""

    name = "nonfinite_count"

    def before_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        """Count, element by element only where the sum says that there is something to count."""
        counts = [
            0 if g is None or bool(g.sum().isfinite()) else g.numel() - int(g.isfinite().count_nonzero()) for g in grads
        ]
        self._counts = torch.tensor(counts, dtype=torch.float32)

    def after_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
        """Return the counts."""
        return self._counts


MEASURES: tuple[type[Measure], ...] = (GradNorm, WeightNorm, UpdateRatio, ZeroCount, NonfiniteCount)


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    norms = torch._foreach_norm([tensor.detach() for tensor in tensors], 2, wide)
    return torch.stack([norm.cpu().float() for norm in norms]) if norms else torch.zeros(0)
