"""What the end of backward tells: the loss it began from, and gradients before anything changes them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from gradtape.tracking._guard import OPEN, Guard
from gradtape.tracking.measures import local, norms

_DEPTH = 60  # frames that are looked through


class Seen(NamedTuple):
    """What backward left for a step.

    Attributes:
        raw: As ``Reading.raw``.
        loss: The sum of the losses that backward was called on, unscaled; None if unknown.
    """

    raw: Tensor | None
    loss: Tensor | None


class BackwardWatch:
    """Listens to the backward passes that reach a player's parameters.

    Norms are taken at the end of backward only if something changed the gradients before the last step, as clipping and
    unscaling do; otherwise those at the step are the same.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], guard: Guard = OPEN) -> None:
        self._guard = guard
        self._parameters = parameters
        self._changes = True
        self._seen = False
        self._left: list[tuple[int, int] | None] = []
        self._raw: Tensor | None = None
        self._losses: list[Tensor] = []
        self._handle = torch.autograd.graph.register_multi_grad_hook(
            [parameter for parameter in parameters if parameter.requires_grad], guard(self._began), mode="any"
        )

    def at_step(self, device: torch.device) -> Seen:
        """Return what was seen since gradients were last cleared, and begin anew."""
        changed = self._left != self._marks()
        loss = None
        if self._losses:
            loss = self._losses[0] if len(self._losses) == 1 else torch.stack(self._losses).sum()
        if not self._seen:  # gradients came another way, as those of sharded modules do
            seen = Seen(self._unknown(device), None)
        else:
            raw = self._raw if changed else None
            seen = Seen(self._unknown(device) if changed and raw is None else raw, loss)
            self._changes = changed
        scale = _scale()
        if scale is not None:
            seen = Seen(*(None if found is None else found / scale.to(found.device) for found in seen))
        self._seen, self._raw, self._losses = False, None, []
        return seen

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()

    def _unknown(self, device: torch.device) -> Tensor:
        return torch.full((len(self._parameters),), torch.nan, device=device)

    def _marks(self) -> list[tuple[int, int] | None]:
        grads = [parameter.grad for parameter in self._parameters]
        return [None if grad is None else (id(grad), grad._version) for grad in grads]

    def _began(self, _grad: Tensor) -> None:
        if self._left != self._marks():  # cleared or changed since the last backward: what that one saw is void
            self._losses = []
        found = _loss_under_way()
        if found is not None:
            self._losses.append(found)
        engine: Any = torch.autograd.Variable._execution_engine
        engine.queue_callback(
            lambda: engine.queue_callback(self._guard(self._ended))
        )  # behind those that reduce over processes

    @torch.no_grad()
    def _ended(self) -> None:
        self._seen = True
        self._left = self._marks()
        if self._changes:
            grads = [parameter.grad for parameter in self._parameters]
            self._raw = norms([None if grad is None else local(dense(grad)) for grad in grads])


def dense(grad: Tensor) -> Tensor:
    """Return a gradient as a dense tensor."""
    return grad if grad.layout == torch.strided else grad.to_dense()


def _frames() -> list[FrameType]:
    """Return the frames of the thread that called backward, from the innermost."""
    frame: FrameType | None = sys._getframe(1)
    found: list[FrameType] = []
    if threading.current_thread() is not threading.main_thread():  # autograd's own thread, for an accelerator
        frame = sys._current_frames().get(threading.main_thread().ident or 0, frame)
    while frame is not None and len(found) < _DEPTH:
        found.append(frame)
        frame = frame.f_back
    return found


def _loss_under_way() -> Tensor | None:
    code = torch.autograd.backward.__code__
    for frame in _frames():
        if frame.f_code is code:
            roots = frame.f_locals["tensors"]
            root = roots[0] if isinstance(roots, tuple | list) and len(roots) == 1 else roots
            return root.detach().reshape(()).float() if isinstance(root, Tensor) and root.numel() == 1 else None
    return None


def _scale() -> Tensor | None:
    """Return the scale of the ``GradScaler`` that makes this step, if one does."""
    code = GradScaler.step.__code__
    for frame in _frames():
        if frame.f_code is code:
            scale: Tensor | None = getattr(frame.f_locals["self"], "_scale", None)  # a scaler that is off has none
            return scale
    return None
