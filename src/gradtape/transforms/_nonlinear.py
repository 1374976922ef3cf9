"""The non-linear family: what becomes of a gradient is known only when it has arrived."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._base import Transform, written_down


class NonLinear(Transform):
    """A transformation whose rule runs when the gradient arrives, with the settings of that moment.

    On a tensor it works in eager mode, under autocast, checkpointing and DDP, and where ``torch.compile`` may break the
    graph. It cannot be part of ``torch.func`` transforms, forward-mode differentiation, ``torch.export``,
    ``torch.jit.trace`` or a full graph, and raises there.
    """

    differentiable = True  # whether the rule may itself be differentiated: not when it remembers earlier gradients
    on_tensor = ""  # why the transformation cannot be put on a tensor, where it cannot

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``; the gradient that comes back through it is transformed."""
        self.check_tensor()
        if not isinstance(x, Tensor):
            raise InputError(f"a {type(x).__name__} has no gradient", remedy="give a tensor")
        if not (x.is_floating_point() or x.is_complex()):
            return x
        if written_down() or (not torch.compiler.is_compiling() and _proxies()):
            raise InputError(
                f"{self!r} would be lost in an exported or traced program", remedy="export the model without it"
            )
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break(
                msg="a rule that runs when the gradient arrives cannot be part of a compiled graph: compile without "
                "fullgraph=True, or attach the transformation with .on(optimizer)"
            )
            return _outside_graph(x, self)
        return _on_the_way_back(x, self)

    def check_tensor(self) -> None:
        """Refuse to be put on a tensor, where the rule cannot work on one."""
        if self.on_tensor:
            raise InputError(
                f"{self!r} cannot be put on a tensor, {self.on_tensor}", remedy="attach it with .on(optimizer)"
            )


def _proxies() -> bool:
    """Whether ``make_fx`` is writing down operations."""
    module = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return module is not None and module.get_proxy_mode() is not None


class _GradientRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, transform: NonLinear) -> Tensor:
        ctx.transform = transform
        return x.clone()  # a view could not be overwritten by an operation in place

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        transform = ctx.transform
        if torch.is_grad_enabled() and not transform.differentiable:
            raise InputError(
                f"{transform!r} remembers earlier gradients, so what it does to this one has no derivative",
                remedy="call backward without create_graph=True, or attach it with .on(optimizer)",
            )
        return transform.gradient(grads[0]), None


def _on_the_way_back(x: Tensor, transform: NonLinear) -> Tensor:
    try:
        made: Tensor = _GradientRule.apply(x, transform)  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError) as error:
        if not any(word in str(error) for word in ("setup_context", "jvp", "forward AD", "functorch", "vmap")):
            raise
        raise InputError(
            f"{transform!r} cannot be used inside torch.func or forward-mode differentiation: its rule is not linear "
            "and runs only when a gradient arrives",
            remedy="apply its gradient() to the result of torch.func.grad",
        ) from None
    return made


# not traced by torch.compile; unlike torch.compiler.disable, this does not load the compiler on import
_outside_graph = torch._disable_dynamo(_on_the_way_back)  # type: ignore[attr-defined]
