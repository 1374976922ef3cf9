"""What the end of backward tells: the loss it began from, and gradients before anything changes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from gradtape.tracking._guard import OPEN, Guard
from gradtape.tracking.measures import local, norms

_DEPTH = 200  # frames that are looked through
_PROBATION = 50  # steps for which norms are taken in any case, so that the first that is clipped is seen


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

    Norms are taken at the end of backward once gradients were seen to change between backward and the step, as clipping
    and unscaling change them; until then those at the step are the same.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], guard: Guard = OPEN) -> None:
        self._guard = guard
        self._parameters = parameters
        self._steps = 0
        self._changing = False
        self._seen = False
        self._left: list[tuple[int, int] | None] = []
        self._raw: Tensor | None = None
        self._losses: list[Tensor] = []
        self._learning: list[bool] = []
        self._handle: Any = None
        self._listen()

    def at_step(self, device: torch.device) -> Seen:
        """Return what was seen since gradients were last cleared, and begin anew."""
        self._listen()
        self._steps += 1
        changed = self._left != self._marks()
        loss = None
        if self._losses:
            loss = self._losses[0] if len(self._losses) == 1 else torch.stack(self._losses).sum()
        unknown = torch.full((len(self._parameters),), torch.nan, device=device)
        if not self._seen:  # gradients came another way, as those of sharded modules do
            seen = Seen(unknown, None)
        else:
            self._changing = self._changing or changed
            seen = Seen((unknown if self._raw is None else self._raw) if changed else None, loss)
        scale = _scale()
        if scale is not None:
            seen = Seen(*(None if found is None else found / scale.to(found.device) for found in seen))
        self._seen, self._raw, self._losses = False, None, []
        return seen

    def state_dict(self) -> dict[str, Any]:
        """Return what it has learnt of the training."""
        return {"steps": self._steps, "changing": self._changing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._steps, self._changing = state["steps"], state["changing"]

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()
        self._learning = []

    def _listen(self) -> None:
        """Hook the parameters that require a gradient; some may have begun to."""
        learning = [parameter.requires_grad for parameter in self._parameters]
        if learning == self._learning:
            return
        if self._handle is not None:
            self._handle.remove()
        self._learning = learning
        self._handle = torch.autograd.graph.register_multi_grad_hook(
            [parameter for parameter in self._parameters if parameter.requires_grad],
            self._guard(self._began),
            mode="any",
        )

    def _marks(self) -> list[tuple[int, int] | None]:
        grads = [parameter.grad for parameter in self._parameters]
        return [None if grad is None else (id(grad), grad._version) for grad in grads]

    def _began(self, _grad: Tensor) -> None:
        called = _backward_under_way()
        if called is None:  # torch.autograd.grad, which leaves the gradients of parameters alone
            return
        if self._left != self._marks():  # cleared or changed since the last backward: what that one saw is void
            self._losses = []
        found = _loss_of(called)
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
        if self._changing or self._steps < _PROBATION:
            grads = [parameter.grad for parameter in self._parameters]
            self._raw = norms([None if grad is None else local(dense(grad)) for grad in grads])


def dense(grad: Tensor) -> Tensor:
    """Return a gradient as a dense tensor."""
    return grad if grad.layout == torch.strided else grad.to_dense()


def _calls(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of a thread from the innermost."""
    for _ in range(_DEPTH):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _backward_under_way() -> FrameType | None:
    """Return the outermost call of ``torch.autograd.backward``; None if it was ``torch.autograd.grad``.

    It is in this thread, or, where the hooks of an accelerator run in autograd's own, in the one that waits for it.
    """
    codes = (torch.autograd.backward.__code__, torch.autograd.grad.__code__)
    for thread in (sys._getframe(), *sys._current_frames().values()):
        found = [frame for frame in _calls(thread) if frame.f_code in codes]
        if found:
            return found[-1] if found[-1].f_code is codes[0] else None
    return None


def _loss_of(call: FrameType) -> Tensor | None:
    roots = call.f_locals["tensors"]
    root = roots[0] if isinstance(roots, tuple | list) and len(roots) == 1 else roots
    if not isinstance(root, Tensor) or root.numel() != 1:
        return None
    return root.detach().reshape(()).float().clone()  # it may be divided in place later


def _scale() -> Tensor | None:
    """Return the scale of the ``GradScaler`` that makes this step, if one does."""
    code = GradScaler.step.__code__
    for frame in _calls(sys._getframe()):
        if frame.f_code is code:
            scale: Tensor | None = getattr(frame.f_locals["self"], "_scale", None)  # a scaler that is off has none
            return scale
    return None
