"""Bounding the size of a gradient: clip it, or give it a fixed length."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._nonlinear import NonLinear
from gradtape.transforms._norms import Per, norms, rows_norm, times
from gradtape.transforms._places import Gradients, Place
from gradtape.transforms._setting import Scheduled, Value, check_choice, setting

By = Literal["norm", "value", "unit"]
_SMALLEST_UNIT = 1e-3  # weights near zero, as at the start, would never move otherwise


class Clip(NonLinear, Scheduled):
    """Bound the gradient.

    ``by="norm"``: ``g̃ = g · min(1, limit / ‖g‖)``, the direction is kept
    ``by="value"``: each element into [-limit, limit]
    ``by="unit"``: ``g̃ᵢ = gᵢ · min(1, limit · max(‖wᵢ‖, 0.001) / ‖gᵢ‖)`` for each output unit i with weights wᵢ; the
    whole tensor is one unit where it has fewer than two dimensions

    A gradient that is not finite stays so: put ``SkipNonfinite`` before it.

    Args:
        limit: The bound, at least 0: a number, a 0-d tensor, or a schedule.
        by: What is bounded.
        per: What has a norm of its own: "all" gradients of an optimizer together (on a tensor, that tensor), each
            "tensor", or each "sample", an entry of the first dimension.

    Raises:
        InputError: A setting out of range; ``by="unit"`` on a tensor, which has no weights to compare with.

    Examples:
        >>> Clip(1.0).gradient(torch.tensor([3.0, 4.0]))
        tensor([0.6000, 0.8000])
        >>> Clip(1.0, per="sample").gradient(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
        >>> Clip(1.0, by="value").gradient(torch.tensor([3.0, -0.5]))
        tensor([ 1.0000, -0.5000])

    Source: Pascanu et al., On the difficulty of training recurrent neural networks, ICML 2013 (norm); Brock et al.,
    High-Performance Large-Scale Image Recognition Without Normalization, ICML 2021 (unit).
    """

    def __init__(self, limit: Value = 1.0, *, by: By = "norm", per: Per = "all") -> None:
        super().__init__("limit", limit, at_least=0.0)
        check_choice("by", by, By)
        check_choice("per", per, Per)
        if by != "norm" and per != "all":
            raise InputError(f"by={by!r} was given per={per!r}", remedy="per goes with by='norm'")
        self.by = by
        self.per = per
        if by == "unit":
            self.on_tensor = "because it compares gradients with weights"

    limit = setting("The bound as it is now; setting it replaces a schedule.")

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the bounded gradients."""
        limit = self._setting.read()
        if self.by == "value":
            bound = float(limit)
            return {key: torch.clamp(grad, -bound, bound) for key, grad in grads.items()}
        if self.by == "norm":
            return {key: times(grads[key], _share(limit, norm)) for key, norm in norms(grads, self.per).items()}
        if place.parameters is None:
            raise InputError(f"{self!r} needs the weights that belong to a gradient", remedy="use .on(optimizer)")
        made = {}
        for key, grad in grads.items():
            largest = limit * _unit_norm(place.parameters[key].detach()).clamp(min=_SMALLEST_UNIT)
            made[key] = times(grad, _share(largest, _unit_norm(grad)))
        return made

    def __repr__(self) -> str:
        more = "" if self.by == "norm" else f", by={self.by!r}"
        return f"Clip({self._shown()}{more}{'' if self.per == 'all' else f', per={self.per!r}'})"


class Normalize(NonLinear):
    """Give the gradient length 1; a gradient of zero stays zero.

    ``g̃ = g / ‖g‖``

    Args:
        per: What has a norm of its own: "all" gradients of an optimizer together (on a tensor, that tensor), each
            "tensor", or each "sample", an entry of the first dimension.

    Raises:
        InputError: Another ``per``.

    Examples:
        >>> Normalize().gradient(torch.tensor([3.0, 4.0]))
        tensor([0.6000, 0.8000])
        >>> Normalize(per="sample").gradient(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])

    Source: Hazan et al., Beyond Convexity: Stochastic Quasi-Convex Optimization, NeurIPS 2015.
    """

    def __init__(self, per: Per = "all") -> None:
        super().__init__()
        check_choice("per", per, Per)
        self.per = per

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the gradients at length 1."""
        return {
            key: times(grads[key], torch.where(norm > 0, 1 / torch.where(norm > 0, norm, 1.0), norm))
            for key, norm in norms(grads, self.per).items()
        }

    def __repr__(self) -> str:
        return f"Normalize({'' if self.per == 'all' else f'per={self.per!r}'})"


def clip(x: Tensor, limit: float | Tensor = 1.0, *, by: By = "norm", per: Per = "all") -> Tensor:
    """Return ``x`` with its gradient bounded; the functional twin of ``Clip``."""
    bounded: Tensor = Clip(limit, by=by, per=per)(x)
    return bounded


def normalize(x: Tensor, per: Per = "all") -> Tensor:
    """Return ``x`` with its gradient at length 1; the functional twin of ``Normalize``."""
    made: Tensor = Normalize(per)(x)
    return made


def _share(largest: float | Tensor, norm: Tensor) -> Tensor:
    over = norm > largest
    return torch.where(over, largest / torch.where(over, norm, 1.0), 1.0)  # no division by zero, for its derivative


def _unit_norm(x: Tensor) -> Tensor:
    return rows_norm(x) if x.dim() > 1 else rows_norm(x.reshape(1, -1)).reshape(())
