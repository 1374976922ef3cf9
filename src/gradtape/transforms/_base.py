"""What every gradient transformation is: one rule for gradients, usable in three places."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from gradtape.errors import InputError
from gradtape.transforms._places import (
    Attachment,
    Gradients,
    NodeAttachment,
    NodeHook,
    Place,
    before_step,
    check_optimizer,
    forget_compiled,
    gradients_of,
    place_of,
)

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle


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
        check_optimizer(self, optimizer)
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
        hook = NodeHook(self, path, type(model).__name__)
        forget_compiled()
        return NodeAttachment(module.register_forward_hook(hook), model.register_forward_hook(hook.look_back))

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
        check_optimizer(self, optimizer)
        self._refuse_second()
        place = place_of(optimizer, model)
        self.prepare(place)

        @torch.no_grad()
        def transform() -> None:
            held = place_of(optimizer, model)  # parameters may have been added since
            parameters = held.parameters or ()
            made = self.rule(gradients_of(self, held), held)
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


def written_down() -> bool:
    """Whether operations are being recorded as a program that is differentiated later, or not at all."""
    return torch.compiler.is_exporting() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
