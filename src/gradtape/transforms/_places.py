"""Where gradients are transformed: at a node of a model, and on an optimizer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from gradtape.errors import InputError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle

    from gradtape.transforms._base import Transform

Gradients = Mapping[int, Tensor]
"""Gradients by key: the position of the parameter in its optimizer, or 0 for the gradient of a single tensor."""


class Place(NamedTuple):
    """Where gradients are transformed: what a rule may know of them beside their values.

    Attributes:
        parameters: The parameters of an optimizer by key; None on a tensor.
        names: Their names by key; None on a tensor, and where the optimizer was made without names.
    """

    parameters: Sequence[Tensor] | None = None
    names: Sequence[str] | None = None


class Attachment:
    """A transformation in its place; ``remove()``, or leaving the ``with`` block, takes it off again."""

    def __init__(self, *handles: RemovableHandle) -> None:
        self._handles = handles
        self.attached = True

    def remove(self) -> None:
        """Take the transformation off; a second call does nothing."""
        for handle in self._handles:
            handle.remove()
        self.attached = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class NodeAttachment(Attachment):
    """An attachment by hooks, which compiled code does not look for."""

    def remove(self) -> None:
        """Take the transformation off; code that was compiled with it is forgotten."""
        super().remove()
        forget_compiled()


class NodeHook:
    """The hook that transforms a submodule's output; an object, so that a model that has it can be pickled."""

    def __init__(self, transform: Transform, path: str, model: str) -> None:
        self.transform, self.path, self.model = transform, path, model
        self.calls = 0
        self.warned = False

    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise InputError(
                f"submodule {self.path!r} returns {type(output).__name__}, not a tensor",
                remedy=f"attach {self.transform!r} to a submodule that returns one tensor",
            )
        if not torch.compiler.is_compiling():
            self.calls += 1
        changed: Tensor = self.transform(output)
        return changed

    def look_back(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        """After the whole model: was the submodule called?"""
        if torch.compiler.is_compiling() or self.calls or self.warned:
            return
        self.warned = True
        warnings.warn(
            f"{self.model} ran and did not call its submodule {self.path!r}, so {self.transform!r} did nothing there: "
            "attach it to one that is called, or call it on the tensor",
            stacklevel=2,
        )


def before_step(optimizer: Optimizer, action: Callable[[], None]) -> RemovableHandle:
    """Run ``action`` whenever gradients are ready for a step that will be made; see ``on_gradients``.

    Gradients that a fused optimizer was about to unscale itself, for ``torch.amp.GradScaler``, are unscaled first;
    where the scaler has found that one of them overflowed, so that the step changes nothing, ``action`` is not run.
    """
    return on_gradients(optimizer, lambda: action() if _unscaled(optimizer) else None)


def on_gradients(optimizer: Optimizer, action: Callable[[], None]) -> RemovableHandle:
    """Run ``action`` whenever gradients are ready for a step: before it, or after each call of the step's closure.

    Returns:
        A handle; ``handle.remove()`` ends it.
    """

    def hook(_optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
        if closure is None:
            action()
            return None

        def then_act() -> Any:
            loss = closure()
            action()
            return loss

        if "closure" in kwargs:
            return args, {**kwargs, "closure": then_act}
        return (args[0], then_act, *args[2:]), kwargs

    return optimizer.register_step_pre_hook(hook)


@torch.no_grad()
def _unscaled(optimizer: Optimizer) -> bool:
    """Bring gradients to their own size, and say whether the step that follows will be made."""
    overflow = getattr(optimizer, "found_inf", None)
    if overflow is not None and bool(overflow):
        return False
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.div_(scale.to(parameter.grad.device))
        optimizer.grad_scale = None  # type: ignore[attr-defined]
    return True


def place_of(optimizer: Optimizer, model: nn.Module | None) -> Place:
    """Return the parameters of an optimizer, and their names where they are known."""
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if model is not None:
        known = {id(parameter): name for name, parameter in model.named_parameters()}
        if not any(id(parameter) in known for parameter in parameters):
            raise InputError(
                f"the optimizer holds no parameter of this {type(model).__name__}",
                remedy="pass the pair that belongs together",
            )
        return Place(parameters, [known.get(id(parameter), "") for parameter in parameters])
    if not all("param_names" in group for group in optimizer.param_groups):
        return Place(parameters, None)
    return Place(parameters, [name for group in optimizer.param_groups for name in group["param_names"]])


def names_for(transform: Transform, place: Place, patterns: Iterable[str] = ()) -> Sequence[str]:
    """Return the names of the parameters; refuse a place without names, and a pattern that fits none of them."""
    names = place.names
    if names is None:
        raise InputError(
            f"{transform!r} goes by names, and there are none here",
            remedy="use .on(optimizer, model), or make the optimizer with model.named_parameters()",
        )
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            remedy = f"use names such as {', '.join(names[:6])}" + (", ..." if len(names) > 6 else "")
            if any(name.startswith(pattern + ".") for name in names):
                remedy = f"{pattern + '.*'!r} is all of that submodule"
            raise InputError(f"no parameter is called {pattern!r}", remedy=remedy)
    return names


def gradients_of(transform: Transform, place: Place) -> dict[int, Tensor]:
    """Return the gradients of the parameters that have one."""
    grads = {key: p.grad for key, p in enumerate(place.parameters or ()) if p.grad is not None}
    for key, grad in grads.items():
        if grad.layout != torch.strided:
            name = place.names[key] if place.names else f"number {key}"
            raise InputError(
                f"the gradient of parameter {name} is sparse, and {transform!r} was given it",
                remedy="make that layer with sparse=False, or leave its parameters to an optimizer of their own",
            )
    return grads


def check_optimizer(transform: Transform, optimizer: Any) -> None:
    """Refuse what has no step to hook into."""
    if not hasattr(optimizer, "register_step_pre_hook"):
        raise InputError(
            f"{transform!r} was put on a {type(optimizer).__name__}, which is no optimizer of torch's kind",
            remedy="give an optimizer, or use .at(model, path) for a model",
        )


def forget_compiled() -> None:
    """Have compiled code made again when it next runs: it would not look for hooks."""
    if "torch._dynamo" in sys.modules:  # else nothing was compiled
        torch.compiler.reset()
