"""What passes through the reversals of a training, so that a rule can tell one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradtape.tracking._guard import PassingHook
from gradtape.tracking.history import INERT, SEPARATOR
from gradtape.tracking.measures import onto
from gradtape.transforms import Reverse, inert_layers


class Passed(NamedTuple):
    """What passed through a reversal since the last step.

    Attributes:
        calls: How often it was called with gradients on; NaN where that was compiled code or ``torch.func``, which are
            not looked into.
        attached: How often what it was given had a gradient to reverse.
        arriving: 2-norm of the gradient that arrived at it, before the reversal.
        strength: Its strength at the step.
    """

    calls: float
    attached: float
    arriving: float
    strength: float


_ARRIVING = Passed._fields.index("arriving")


class _Hook(PassingHook):
    """The forward hook of a reversal."""

    def __init__(self, watch: ReversalWatch, index: int) -> None:
        self._watch, self._index = watch, index

    def __call__(self, _reversal: nn.Module, _args: Any, output: Tensor) -> None:
        self._watch.passes(self._index, output)


class ReversalWatch:
    """Reads the reversals in a model and those named beside it, without a change to what they compute."""

    def __init__(self, model: nn.Module, others: Mapping[str, Reverse]) -> None:
        inside = {path: module for path, module in model.named_modules() if isinstance(module, Reverse)}
        known = {id(reversal) for reversal in inside.values()}
        self._reversals = {
            **inside,
            **{name: reversal for name, reversal in others.items() if id(reversal) not in known},
        }
        self.inert = inert_layers(model)
        self.names = list(self._reversals)
        self._clear()
        self._handles = [
            reversal.register_forward_hook(_Hook(self, index))
            for index, reversal in enumerate(self._reversals.values())
        ]

    def _clear(self) -> None:
        self._read: list[Passed] = [Passed(0, 0, 0, np.nan) for _ in self.names]
        self._squares: list[list[Tensor]] = [[] for _ in self.names]
        self._unseen = False

    def passes(self, index: int, output: Tensor) -> None:
        """Take note of what a reversal returns."""
        if torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(output):
            self._unseen = True
            return
        if not torch.is_grad_enabled():
            return
        before = self._read[index]
        attached = output.requires_grad
        self._read[index] = before._replace(calls=before.calls + 1, attached=before.attached + attached)
        if attached:
            output.register_hook(lambda grad: self._squares[index].append(grad.detach().float().square().sum()))

    def row(self) -> Tensor:
        """Return what passed since the last call of this, for each reversal in turn, and begin anew."""
        unseen, read, found = self._unseen, self._read, self._squares
        strengths = [float(reversal.strength) for reversal in self._reversals.values()]
        rows = [
            Passed(np.nan, np.nan, np.nan, strength) if unseen else passed._replace(strength=strength)
            for passed, strength in zip(read, strengths, strict=True)
        ]
        self._clear()
        numbers = [*(float(number) for passed in rows for number in passed), *(1.0 for _ in self.inert)]
        device = next((square.device for squares in found for square in squares), torch.device("cpu"))
        row = onto(device, numbers, torch.float32)
        for index, squares in enumerate(found):
            if squares and not unseen:
                row[index * len(Passed._fields) + _ARRIVING] = torch.stack(squares).sum().sqrt()
        return row

    @property
    def columns(self) -> list[str]:
        """Names of what ``row`` returns."""
        inert = [f"{path}{SEPARATOR}{INERT}" for path in self.inert]
        return [f"{name}{SEPARATOR}{field}" for name in self.names for field in Passed._fields] + inert

    def remove(self) -> None:
        """Stop reading."""
        for handle in self._handles:
            handle.remove()
