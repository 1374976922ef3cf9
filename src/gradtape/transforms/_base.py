"""What every gradient transformation is: one rule for gradients, usable in three places."""

from __future__ import annotations

import copy
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from gradtape.errors import InputError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle

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


class _AtAttachment(Attachment):
    def remove(self) -> None:
        super().remove()
        _forget_compiled()


class Transform(nn.Module, ABC):
    """A rule that changes gradients, for use on a tensor, at a node of a model, or on an optimizer.

    A subclass gives two methods: ``rule``, what becomes of gradients, and ``forward``, which puts the rule in the way
    of whatever gradient flows back through a tensor. It is a module: what it remembers is in ``state_dict``.
    """

    _driver: Attachment | None = None

    @abstractmethod
    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the transformed gradients; the given ones are left as they are, and a key left out has none."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` unchanged in value; a gradient on its way back through the result is transformed."""

    def gradient(self, grad: Tensor) -> Tensor:
        """Return what becomes of one gradient; same shape, dtype and device, zeros where nothing is let through."""
        made = self.rule({0: grad}, Place()).get(0)
        return torch.zeros_like(grad) if made is None else made

    def step(self) -> None:
        """Move the schedule on by one, if there is one; in eval mode it stays where it is."""

    def follow(self, optimizer: Optimizer) -> Attachment:
        """Call ``step`` after each step of ``optimizer``, for a transformation on a tensor or at a submodule.

        Raises:
            InputError: It follows an optimizer already, or is on one.
        """
        _check_optimizer(self, optimizer)
        self._refuse_second()
        return self._driven_by(optimizer.register_step_post_hook(lambda *_: self.step()))

    def at(self, model: nn.Module, path: str) -> Attachment:
        """Transform the gradient that flows back out of the submodule at ``path``.

        Args:
            model: The model that holds the submodule.
            path: The submodule's dotted name, as in ``model.named_modules()``; it must return one tensor.

        Returns:
            What takes the transformation off again: ``attachment.remove()``.

        Code that ``torch.compile`` has made is forgotten, and made again when next needed: it would not look for hooks.

        Raises:
            InputError: There is no submodule of that name, or, when the model runs, it does not return a tensor.

        Warns:
            UserWarning: The model ran and did not call the submodule.
        """
        if not isinstance(model, nn.Module):
            raise InputError(f"a {type(model).__name__} has no submodules", remedy="give an nn.Module, then the path")
        try:
            module = model.get_submodule(path)
        except AttributeError:
            names = ", ".join(name for name, _ in model.named_modules() if name) or "'', the model itself"
            raise InputError(
                f"{type(model).__name__} has no submodule {path!r}", remedy=f"use one of {names}"
            ) from None
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            raise InputError(
                f"{path!r} is a {type(module).__name__}, which is never called", remedy="use a path inside it"
            )
        if isinstance(model, torch.jit.ScriptModule | GraphModule):
            raise InputError(
                f"a {type(model).__name__} is a program that looks for no hooks",
                remedy="attach to the model before it is exported or traced",
            )
        self.check_tensor()
        hook = _AtNode(self, path, type(model).__name__)
        _forget_compiled()
        return _AtAttachment(module.register_forward_hook(hook), model.register_forward_hook(hook.look_back))

    def on(self, optimizer: Optimizer, model: nn.Module | None = None) -> Attachment:
        """Transform the gradients of all parameters just before ``optimizer`` steps, or after each call of its closure.

        They are transformed together: a norm is that of all of them as one vector. A parameter left without a gradient
        is skipped by the step, momentum and weight decay included. A schedule moves on after each step.

        Args:
            optimizer: Any optimizer with torch's step hooks.
            model: Where names of parameters come from, unless the optimizer was made with ``named_parameters()``.

        Returns:
            What takes the transformation off again: ``attachment.remove()``.

        With ``torch.amp.GradScaler`` gradients are unscaled first, also those of fused optimizers, which do that
        themselves otherwise.

        Raises:
            InputError: The rule needs what this optimizer does not have, such as names; or the transformation
                remembers something and is on an optimizer already.
        """
        _check_optimizer(self, optimizer)
        self._refuse_second()
        place = _place_of(optimizer, model)
        self.prepare(place)

        @torch.no_grad()
        def transform() -> None:
            held = _place_of(optimizer, model)  # parameters may have been added since
            parameters = held.parameters or ()
            made = self.rule(_gradients_of(self, held), held)
            for key, parameter in enumerate(parameters):
                parameter.grad = made.get(key)

        before = before_step(optimizer, transform)
        return self._driven_by(before, optimizer.register_step_post_hook(lambda *_: self.step()))

    def prepare(self, place: Place) -> None:
        """Refuse an optimizer that the rule cannot work on; called by ``on``."""

    def check_tensor(self) -> None:
        """Refuse to be put on a tensor, where the rule cannot work on one; called by ``at``."""

    def fresh(self) -> Self:
        """Return a copy, memory and position included, that is attached to nothing."""
        copied = copy.deepcopy(self)
        for member in copied._all():
            member._driver = None
        return copied

    def _refuse_second(self) -> None:
        """Refuse to be moved by two: what is remembered would be of both."""
        for member in self._all():
            if member._state() and member._driver is not None and member._driver.attached:
                raise InputError(
                    f"{member!r} goes with the steps of an optimizer already, and remembers what it saw there",
                    remedy="make one for each optimizer; on(optimizer) needs no follow(optimizer) beside it",
                )

    def _driven_by(self, *handles: RemovableHandle) -> Attachment:
        attachment = Attachment(*handles)
        for member in self._all():
            member._driver = attachment
        return attachment

    def _all(self) -> list[Transform]:
        return [module for module in self.modules() if isinstance(module, Transform)]

    def _state(self) -> dict[str, Tensor]:
        """Return what the next step depends on, by name."""
        return {}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what ``_state`` returned."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: value for name, value in self._state().items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        children = tuple(prefix + name + "." for name, _ in self.named_children())
        found = {
            key.removeprefix(prefix): value
            for key, value in state_dict.items()
            if key.startswith(prefix) and not key.startswith(children)
        }
        expected = self._state()
        missing = [prefix + name for name in expected if name not in found]
        if not expected:
            unexpected_keys.extend(prefix + name for name in found)
        elif missing:
            missing_keys.extend(missing)
        else:
            self._restore(found)
            known = self._state()
            unexpected_keys.extend(prefix + name for name in found if name not in known)


class _AtNode:
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
    """Run ``action`` whenever gradients are ready for a step: before it, or after each call of the step's closure.

    Gradients that a fused optimizer was about to unscale itself, for ``torch.amp.GradScaler``, are unscaled first;
    where the scaler has found that one of them overflowed, so that the step changes nothing, ``action`` is not run.

    Returns:
        A handle; ``handle.remove()`` ends it.
    """

    def hook(_optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
        if closure is None:
            if _unscaled(optimizer):
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


def written_down() -> bool:
    """Whether operations are being recorded as a program that is differentiated later, or not at all."""
    return torch.compiler.is_exporting() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _place_of(optimizer: Optimizer, model: nn.Module | None) -> Place:
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


def _gradients_of(transform: Transform, place: Place) -> dict[int, Tensor]:
    grads = {key: p.grad for key, p in enumerate(place.parameters or ()) if p.grad is not None}
    for key, grad in grads.items():
        if grad.layout != torch.strided:
            name = place.names[key] if place.names else f"number {key}"
            raise InputError(
                f"the gradient of parameter {name} is sparse, and {transform!r} was given it",
                remedy="make that layer with sparse=False, or leave its parameters to an optimizer of their own",
            )
    return grads


def _forget_compiled() -> None:
    if "torch._dynamo" in sys.modules:  # else nothing was compiled
        torch.compiler.reset()


def _check_optimizer(transform: Transform, optimizer: Any) -> None:
    if not hasattr(optimizer, "register_step_pre_hook"):
        raise InputError(
            f"{transform!r} was put on a {type(optimizer).__name__}, which is no optimizer of torch's kind",
            remedy="give an optimizer, or use .at(model, path) for a model",
        )
