"""Dropping gradients that are not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradtape.errors import GradientError, InputError
from gradtape.transforms._nonlinear import NonLinear
from gradtape.transforms._places import Gradients, Place


class SkipNonfinite(NonLinear):
    """Drop a step whose gradient holds an infinite or NaN element, and count it.

    On an optimizer a dropped step changes nothing, momentum and weight decay included. On a tensor the gradient that
    comes back is zero.

    Args:
        stop_after: How many in a row end the training, at least 1.

    Attributes:
        skipped: Dropped so far.
        in_a_row: Dropped since the last finite gradient.

    Raises:
        InputError: ``stop_after`` is below 1.
        GradientError: In training, when the last ``stop_after`` gradients were not finite.

    Examples:
        >>> skip = SkipNonfinite(stop_after=3)
        >>> skip.gradient(torch.tensor([1.0, torch.nan])), skip.skipped
        (tensor([0., 0.]), 1)
        >>> skip.gradient(torch.tensor([1.0, 2.0])), skip.in_a_row
        (tensor([1., 2.]), 0)
    """

    differentiable = False

    def __init__(self, stop_after: int = 10) -> None:
        super().__init__()
        if isinstance(stop_after, bool) or not isinstance(stop_after, int) or stop_after < 1:
            raise InputError(f"stop_after is {stop_after!r}", remedy="give a whole number of at least 1")
        self.stop_after = stop_after
        self.skipped = 0
        self.in_a_row = 0

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the gradients, or nothing where one of them is not finite."""
        if not grads:  # dropped before, or held back: no news
            return grads
        finite = [torch.isfinite(grad).all() for grad in grads.values()]
        if bool(torch.stack([each.to(finite[0].device) for each in finite]).all()):
            self.in_a_row = 0
            return grads
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= self.stop_after:
            first = next(key for key, each in zip(grads, finite, strict=True) if not bool(each))
            where = f", the last time in {place.names[first]}" if place.names else ""
            raise GradientError(
                f"{self.in_a_row} gradients in a row were not finite{where}",
                remedy="lower the learning rate, or look for NaN in the data and for overflow in the loss",
            )
        return {}

    def _state(self) -> dict[str, Tensor]:
        return {"skipped": torch.tensor(self.skipped), "in_a_row": torch.tensor(self.in_a_row)}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])

    def __repr__(self) -> str:
        return f"SkipNonfinite(stop_after={self.stop_after})"
