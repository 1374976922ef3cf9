"""What every gradient transformation is: one rule for a gradient, usable in three places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradtape.errors import InputError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle


class Transform(ABC):
    """A rule that changes gradients, for use on a tensor, at a node of a model, or on an optimizer.

    A subclass gives two methods: ``gradient``, the rule itself, and ``__call__``, the same rule applied
    to whatever gradient flows back through a tensor.
    """

    @abstractmethod
    def gradient(self, grad: Tensor) -> Tensor:
        """Return the transformed gradient; same shape, dtype and device, ``grad`` is left as it is."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x`` unchanged in value; a gradient on its way back through the result is transformed."""

    def at(self, model: nn.Module, path: str) -> RemovableHandle:
        """Transform the gradient that flows back out of the submodule at ``path``.

        Args:
            model: The model that holds the submodule.
            path: The submodule's dotted name, as in ``model.named_modules()``; it must return one tensor.

        Returns:
            A handle; ``handle.remove()`` takes the transformation off again.

        Raises:
            InputError: There is no submodule of that name, or it does not return a tensor.
        """
        try:
            module = model.get_submodule(path)
        except AttributeError:
            names = ", ".join(name for name, _ in model.named_modules() if name)
            raise InputError(
                f"{type(model).__name__} has no submodule {path!r}", remedy=f"use one of {names}"
            ) from None

        def transform(_module: nn.Module, _args: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise InputError(
                    f"submodule {path!r} returns {type(output).__name__}, not a tensor",
                    remedy=f"attach {self!r} to a submodule that returns one tensor",
                )
            return self(output)

        return module.register_forward_hook(transform)

    def on(self, optimizer: Optimizer) -> RemovableHandle:
        """Transform every parameter's gradient just before ``optimizer`` steps; after the closure, where it takes one.

        Returns:
            A handle; ``handle.remove()`` takes the transformation off again.
        """

        @torch.no_grad()
        def transform() -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad = self.gradient(parameter.grad)

        return before_step(optimizer, transform)


def before_step(optimizer: Optimizer, action: Callable[[], None]) -> RemovableHandle:
    """Run ``action`` whenever gradients are ready for a step: before it, or after each call of the step's closure.

    Returns:
        A handle; ``handle.remove()`` ends it.
    """

    def hook(_optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        closure = kwargs.get("closure") or next(iter(args[1:]), None)
        if closure is None:
            action()
            return None

        def then_act() -> Any:
            loss = closure()
            action()
            return loss

        return args[:1], {**kwargs, "closure": then_act}

    return optimizer.register_step_pre_hook(hook)


class _Chain(Transform):
    def __init__(self, members: tuple[Transform, ...]) -> None:
        self.members = members

    def gradient(self, grad: Tensor) -> Tensor:
        for member in self.members:
            grad = member.gradient(grad)
        return grad

    def __call__(self, x: Tensor) -> Tensor:
        for member in reversed(self.members):  # the last applied on the way forward is the first met on the way back
            x = member(x)
        return x

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.members))})"


def chain(*members: Transform) -> Transform:
    """Compose transformations: the gradient passes the first, then the second, and so on.

    Args:
        members: One transformation or more; a chain among them is taken apart.

    Returns:
        A transformation; with one member, that member.

    Raises:
        InputError: Nothing to compose, or something that is no transformation.

    Examples:
        >>> from gradtape.transforms import Reverse, Scale
        >>> both = chain(Scale(2.0), Reverse(0.5))
        >>> both
        chain(Scale(factor=2.0), Reverse(strength=0.5))
        >>> both.gradient(torch.ones(2))
        tensor([-1., -1.])
    """
    flat: list[Transform] = []
    for member in members:
        if not isinstance(member, Transform):
            raise InputError(f"chain() was given a {type(member).__name__}", remedy="give it transformations only")
        flat.extend(member.members if isinstance(member, _Chain) else [member])
    if not flat:
        raise InputError("chain() was given nothing to compose", remedy="give it one transformation or more")
    return flat[0] if len(flat) == 1 else _Chain(tuple(flat))
