"""What the cells of the reversal matrix are made of: strengths, a small net around a layer, formulas, comparisons."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradtape.transforms import Reverse, schedules

SEVERAL = (0.0, 1.0, 0.1, -0.5, 2.0, 0.25, 0.3, 0.9, 0.05, 1.5, -1.0, 0.7)  # strengths that one graph must serve


class Strength(NamedTuple):
    """A strength to make a reversal with; ``value`` is what it comes to."""

    kind: str
    value: float

    def given(self) -> float | Tensor | Callable[[int], float]:
        """Return the number, a new 0-d tensor, or a schedule that has the value at ``position``."""
        if self.kind == "tensor":
            return torch.tensor(self.value)
        return schedules.linear(0, 1, total_steps=len(SEVERAL)) if self.kind == "schedule" else self.value

    @property
    def position(self) -> int:
        return round(self.value * len(SEVERAL))

    def change(self, layer: nn.Module, index: int) -> float:
        """Give the layer another strength in the way of its kind, and return what it comes to."""
        if self.kind == "schedule":
            layer.position = index
            return index / len(SEVERAL)
        if self.kind == "tensor":
            layer.strength.fill_(SEVERAL[index])
        else:
            layer.strength = SEVERAL[index]
        return SEVERAL[index]


STRENGTHS = {
    "1.0": Strength("number", 1.0),
    "0.3": Strength("number", 0.3),
    "0.0": Strength("number", 0.0),
    "-0.5": Strength("number", -0.5),
    "tensor": Strength("tensor", 0.3),
    "schedule": Strength("schedule", 0.25),
}


Reversal = Callable[[Strength], nn.Module]
"""Makes a layer that reverses and whose ``strength`` can be set; a function that can be sent to another process."""


class Calls(nn.Module):
    """A layer that calls a function of a tensor and a strength."""

    def __init__(self, function: Callable[[Tensor, float | Tensor], Tensor], strength: float | Tensor) -> None:
        super().__init__()
        self.function, self.strength = function, strength

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.strength)


class Net(nn.Module):
    """An encoder, the reversal, and a critic; returns sum(critic * R(x encoderᵀ)**3)."""

    def __init__(self, reversal: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.tensor([[0.5, -1.0, 0.25], [1.0, 0.5, -0.75]]))
        self.reversal = reversal
        self.critic = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return (self.critic * self.reversal(x @ self.encoder.T) ** 3).sum()


def ours(strength: Strength) -> nn.Module:
    """Return gradtape's layer."""
    layer = Reverse(strength.given())
    if strength.kind == "schedule":
        layer.position = strength.position
    return layer


class Wrong(AssertionError):  # noqa: N818 - it names an outcome
    """A value or a gradient is not what the formula says."""


class Recompiled(AssertionError):  # noqa: N818 - it names an outcome
    """Every gradient was right, and the code was compiled again for other strengths."""


def data(*size: int) -> Tensor:
    """Return numbers of both signs that need no rounding, in float32 or in bfloat16."""
    return (torch.arange(math.prod(size), dtype=torch.float32) * 5 % 7 - 2.75).reshape(size)


def leaf(*size: int) -> Tensor:
    return data(*size).requires_grad_()


def weights(like: Tensor) -> Tensor:
    return (torch.arange(like.numel(), dtype=like.dtype) % 3 - 1.5).reshape(like.shape)


def cubic(layer: nn.Module, x: Tensor) -> Tensor:
    """Return w * R(x)**3 for the weights that belong to ``x``."""
    return weights(x) * layer(x) ** 3


def slope(s: float, x: Tensor) -> Tensor:
    """Return the gradient of the sum of ``cubic``, by hand."""
    return -s * 3 * x**2 * weights(x)


def hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Wrong(otherwise)


def same(got: Tensor | None, wanted: Tensor, **tolerances: float) -> None:
    hold(got is not None, "there is no gradient")
    try:
        torch.testing.assert_close(got.detach(), wanted.detach(), **tolerances)
    except AssertionError as difference:
        raise Wrong(f"got {got.tolist()}, not {wanted.tolist()}") from difference


def unchanged(y: Tensor, x: Tensor) -> None:
    hold(y.dtype == x.dtype, f"{x.dtype} became {y.dtype}")
    hold(torch.equal(y.detach(), x.detach()), f"{x.tolist()} became {y.tolist()}")


def same_in_net(run: nn.Module, s: float, x: Tensor) -> None:
    """Compare the value and the gradients of ``Net``, or of what was made of it, with the formulas."""
    held = {name.removeprefix("_orig_mod."): parameter for name, parameter in run.named_parameters()}
    encoder, critic = (held[name].detach() for name in ("encoder", "critic"))
    x = x.detach().clone().requires_grad_()
    for parameter in held.values():
        parameter.grad = None
    total = run(x)
    total.backward()
    z = x.detach() @ encoder.T
    back = -s * 3 * z**2 * critic
    same(total, (critic * z**3).sum())
    same(held["critic"].grad, (z**3).sum(0))
    same(held["encoder"].grad, back.T @ x.detach())
    same(x.grad, back @ encoder)


@contextmanager
def without_torchs_own_warnings() -> Iterator[None]:
    """Let torch use what it says is deprecated: TorchScript in jvp, inductor and jit, and LeafSpec in export."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
        yield
