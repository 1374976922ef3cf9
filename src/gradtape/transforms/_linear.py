"""The linear family: the gradient times one factor. Reversal is the factor below zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._base import Transform


def _multiply_gradient(x: Tensor, factor: float | Tensor) -> Tensor:
    """Identity forward, ``factor`` times the gradient backward, in plain operations that every tracer keeps.

    ``x - x.detach()`` is zero in value and one in derivative. It is NaN where ``x`` is not finite, so there it is
    masked: the value passes unchanged, and no gradient does.
    """
    if not (x.is_floating_point() or x.is_complex()):
        return x
    held = x.detach()
    carrier = torch.where(torch.isfinite(held), x - held, torch.zeros_like(held))
    return held + (factor * carrier).to(x.dtype)


def _finite(name: str, value: float | Tensor) -> float | Tensor:
    if isinstance(value, Tensor):
        if value.dim() != 0:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}", remedy="give a number or a tensor of no dimension"
            )
        return value
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}", remedy="give a finite number")
    return float(value)


class Scale(Transform):
    """Multiply the gradient by a factor.

    ``g̃ = factor · g``

    Args:
        factor: A finite number or a 0-d tensor.

    Examples:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> Scale(0.25)(x).sum().backward()
        >>> x.grad
        tensor([0.2500, 0.2500])
    """

    def __init__(self, factor: float | Tensor) -> None:
        self.factor = _finite("factor", factor)

    def gradient(self, grad: Tensor) -> Tensor:
        """Return ``factor * grad``."""
        return (self.factor * grad).to(grad.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x``; the gradient that comes back through it is multiplied by the factor."""
        return _multiply_gradient(x, self.factor)

    def __repr__(self) -> str:
        return f"Scale(factor={self.factor})"


class Reverse(Transform):
    """Reverse the gradient: what is descent for those behind it is ascent for those before it.

    ``g̃ = -λ g``

    Args:
        strength: The factor λ, a finite number or a 0-d tensor; it multiplies the gradient of whatever loss comes
            back, so its meaning is that of λ times the mean where the loss is a mean over samples.

    Examples:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> Reverse(0.5)(x).sum().backward()
        >>> x.grad
        tensor([-0.5000, -0.5000])

    Source: Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015.
    """

    def __init__(self, strength: float | Tensor = 1.0) -> None:
        self.strength = _finite("strength", strength)

    def gradient(self, grad: Tensor) -> Tensor:
        """Return ``-strength * grad``."""
        return (-self.strength * grad).to(grad.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x``; the gradient that comes back through it is reversed."""
        return _multiply_gradient(x, -self.strength)

    def __repr__(self) -> str:
        return f"Reverse(strength={self.strength})"


class Stop(Transform):
    """Stop the gradient: nothing comes back through the tensor.

    Examples:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> Stop()(x).requires_grad
        False
    """

    def gradient(self, grad: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(grad)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x`` cut off from what it was computed from."""
        return x.detach()

    def __repr__(self) -> str:
        return "Stop()"


def reverse(x: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """Return ``x`` with its gradient reversed; the functional twin of ``Reverse``."""
    return Reverse(strength)(x)


def scale(x: Tensor, factor: float | Tensor) -> Tensor:
    """Return ``x`` with its gradient multiplied by ``factor``; the functional twin of ``Scale``."""
    return Scale(factor)(x)


def stop(x: Tensor) -> Tensor:
    """Return ``x`` with its gradient stopped; the functional twin of ``Stop``."""
    return Stop()(x)
