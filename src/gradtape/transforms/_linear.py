"""The linear family: what becomes of a gradient is linear in it, so every way of differentiating can follow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._base import Transform, written_down
from gradtape.transforms._check import ReversalCheck, check_reversal
from gradtape.transforms._places import Gradients, Place
from gradtape.transforms._setting import Scheduled, Value, check_scalar, checked_number, setting

if TYPE_CHECKING:
    from torch import nn


def straight_through(x: Tensor, rule: Callable[..., Tensor], *settings: float | Tensor) -> Tensor:
    """Return ``x`` in value, bit for bit, with the derivative of ``rule``.

    Args:
        x: Of any shape; of integers, it is returned as it is.
        rule: A linear map that is its own transpose, so that it maps gradients as it maps tangents; it returns a new
            tensor, and no operation in it saves its own result for backward.
        settings: What the rule takes after the tensor.

    The result is ``rule(x)``, overwritten with ``x`` through an alias outside the graph. These are plain operations, so
    every transform of torch sees them. ``torch.export`` and ``torch.jit.trace`` write a program down, may take the
    overwriting apart, and differentiate it later. They get ``h + rule(x - h)`` with h the value of ``x`` without
    its gradient, which is ``x`` in value where it is finite; elsewhere it is masked, and no gradient comes back from
    there. In an exported program h is read from the bits, since ``detach`` is removed when that is decomposed.
    """
    try:
        changeable = x.is_floating_point() or x.is_complex()
    except AttributeError:
        raise InputError(f"a {type(x).__name__} has no gradient", remedy="give a tensor") from None
    if not changeable:
        return x
    if x.is_sparse:
        raise InputError(f"a sparse tensor of shape {tuple(x.shape)} was given", remedy="give it with to_dense()")
    if written_down():
        held = _bits(x) if torch.compiler.is_exporting() else x.detach()
        return torch.where(torch.isfinite(held), held + rule(x - held, *settings).to(x.dtype), held)
    made = rule(x, *settings)
    if made.dtype != x.dtype:  # a tensor without dimensions takes the wider type of two
        made = made.to(x.dtype)
    made.detach().copy_(x.detach())
    return made


def _bits(x: Tensor) -> Tensor:
    """Return ``x`` read as integers and back."""
    if x.is_complex():
        return torch.view_as_complex(_bits(torch.view_as_real(x)))
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    return x.view(integers).view(x.dtype)


class Linear(Transform):
    """A transformation whose rule is linear in each gradient, and its own transpose."""

    @abstractmethod
    def gradient(self, grad: Tensor) -> Tensor:
        """Return what becomes of one gradient; same shape, dtype and device."""

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return what becomes of each gradient on its own."""
        return {key: self.gradient(grad) for key, grad in grads.items()}

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``; the gradient that comes back through it is transformed."""
        return straight_through(x, self.gradient)


class _Factor(Scheduled, Linear):
    _sign = 1

    def gradient(self, grad: Tensor) -> Tensor:
        """Return the gradient times the factor."""
        return (grad * (self._sign * self._setting.read(grad.dtype))).to(grad.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``; the gradient that comes back through it is multiplied by the factor as it is now."""
        if self.training and self._setting.schedule is not None:
            self._setting.noted()
        return straight_through(x, torch.mul, self._sign * self._setting.read(getattr(x, "dtype", torch.float32)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()})"


class Scale(_Factor):
    """Multiply the gradient by a factor.

    ``g̃ = factor · g``

    Args:
        factor: A finite number, a 0-d tensor, or a schedule.

    Raises:
        InputError: The factor is not finite, or of another shape.

    Examples:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> Scale(0.25)(x).sum().backward()
        >>> x.grad
        tensor([0.2500, 0.2500])
    """

    def __init__(self, factor: Value) -> None:
        super().__init__("factor", factor)

    factor = setting("The factor as it is now; setting it replaces a schedule.")


class Reverse(_Factor):
    """Reverse the gradient: what is descent for those behind it is ascent for those before it.

    ``g̃ = -λ g``

    A change of the strength between forward and backward has no effect on that backward: the strength is that of the
    forward pass. Under ``torch.utils.checkpoint``, which runs forward again, it is that of the last run.

    Args:
        strength: The factor λ: a finite number, a 0-d tensor that is read at each forward pass, or a schedule. It
            multiplies the gradient of whatever loss comes back: with a loss that is a mean over samples, it is λ times
            that mean; with a sum, it counts as many times more as there are samples.

    Raises:
        InputError: The strength is not finite, or of another shape.

    Examples:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> Reverse(0.5)(x).sum().backward()
        >>> x.grad
        tensor([-0.5000, -0.5000])

    Source: Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015.
    """

    _sign = -1

    def __init__(self, strength: Value = 1.0) -> None:
        super().__init__("strength", strength)

    strength = setting("The strength as it is now; setting it replaces a schedule.")

    def check(
        self, model: nn.Module, batch: tuple[Any, Tensor], loss: Callable[[Any, Tensor], Tensor] | None = None
    ) -> ReversalCheck:
        """Find out whether this reversal does anything in a model; the model is left as it is.

        Every parameter's gradient is compared with the slope of the critic's loss, measured by moving the parameter:
        before the reversal they must have opposite signs, and there must be such parameters. Then the critic is trained
        alone for a moment, at strength 0: it must beat a constant guess. A strength of 0 at the start of a schedule is
        no problem; the check is made at 1.

        Args:
            model: Features, this reversal and critic, called as ``model(inputs)``, or ``model(*inputs)`` for a tuple.
                It returns the critic's logits, of shape (n,), (n, 1) or (n, domains), or several things with these
                last.
            batch: The inputs and the domain of each sample, integers of shape (n,), at least two of them different.
            loss: From the model's output and the second part of the batch to the critic's loss; cross-entropy if not
                given.

        Returns:
            What was found; ``check.passed``, ``check.problems``, and ``print(check)``.

        Raises:
            InputError: A batch of one domain, or an output that is no logits.

        Examples:
            >>> _ = torch.manual_seed(0)
            >>> reverse, Linear = Reverse(0.5), torch.nn.Linear
            >>> model = torch.nn.Sequential(Linear(2, 8), reverse, Linear(8, 1))
            >>> domain = torch.arange(64) % 2
            >>> features = torch.randn(64, 2) + domain[:, None]
            >>> found = reverse.check(model, (features, domain))
            >>> found.passed, found.reversed, round(found.measured, 4)
            (True, ('0.weight', '0.bias'), 0.5)
            >>> broken = torch.nn.Sequential(*model, torch.nn.Softmax(dim=1))
            >>> reverse.check(broken, (features, domain)).problems[0][:62]
            "the critic's output does not depend on its input or its weight"
        """
        return check_reversal(self, model, batch, loss)


class Stop(Linear):
    """Stop the gradient: nothing comes back through the tensor, and the parameters of an optimizer stay as they are.

    Examples:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> Stop()(x).requires_grad
        False
    """

    def gradient(self, grad: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(grad)

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return no gradient at all, so that momentum and weight decay move nothing either."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` cut off from what it was computed from."""
        return x.detach()

    def __repr__(self) -> str:
        return "Stop()"


def reverse(x: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """Return ``x`` with its gradient reversed; the functional twin of ``Reverse``."""
    return straight_through(x, torch.mul, -_given("strength", strength))


def scale(x: Tensor, factor: float | Tensor) -> Tensor:
    """Return ``x`` with its gradient multiplied by ``factor``; the functional twin of ``Scale``."""
    return straight_through(x, torch.mul, _given("factor", factor))


def stop(x: Tensor) -> Tensor:
    """Return ``x`` with its gradient stopped; the functional twin of ``Stop``."""
    return x.detach()


def _given(name: str, value: float | Tensor) -> float | Tensor:
    if isinstance(value, Tensor):
        check_scalar(name, value)
        return value.detach().clone()
    return value if torch.compiler.is_compiling() else checked_number(name, value)
