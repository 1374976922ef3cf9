"""What a measure of parameters is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Combine = Literal["sum", "max", "norm"]
_PIECE = 1 << 15  # elements that are summed at once
_UNSURE = 1e-15  # below, and where it is infinite, a 2-norm in 32 bits may have lost its squares


@dataclass
class Reading:
    """What measures see of a player at a step: gradients as the optimizer gets them.

    Attributes:
        parameters: The parameters themselves, keys of ``optimizer.state``.
        weights: Their values without a gradient, of this process alone where they are sharded; complex ones as pairs.
        grads: Their gradients likewise, dense, after accumulation, unscaling and clipping; None where there is none.
        optimizer: The optimizer.
        groups: The parameter group of each.
        step: Number of the step.
        raw: 2-norm of each gradient as backward left it, unscaled; None where nothing changed it since, NaN where
            it was not seen.
        skipped: One element, non-zero where the optimizer leaves the step out (``torch.amp`` found an overflow).
    """

    parameters: Sequence[nn.Parameter]
    weights: Sequence[Tensor]
    grads: Sequence[Tensor | None]
    optimizer: Optimizer
    groups: Sequence[dict[str, Any]]
    step: int
    raw: Tensor | None = None
    skipped: Tensor | None = None

    @cached_property
    def grad_norms(self) -> Tensor:
        """2-norm of each gradient, NaN where there is none, shape (parameters,)."""
        return norms(self.grads)


class Measure(ABC):
    """One number per parameter, or one for each of several fields, at an optimizer's step.

    What is read are **parts**, which the shards of a parameter on several processes combine (``combine``: by sum, by
    maximum, or as 2-norms); ``finish`` makes the number of them. Reading never waits for an accelerator.

    Attributes:
        name: What it is called; its channel is ``player/name``.
        fields: Names of several numbers per parameter; empty for one number.
        parts: How many parts it has per parameter.
        combine: How the parts of the shards of one parameter add up.
        dear: Whether it is read on a schedule rather than at every step.
        lead: Whether ``prepare`` is called at the step before the one that is read.
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[int] = 1
    combine: ClassVar[Combine] = "sum"
    dear: ClassVar[bool] = False
    lead: ClassVar[bool] = False

    @classmethod
    def applies(cls, optimizer: Optimizer) -> bool:
        """Whether it can be read with this optimizer."""
        return True

    def begin(self, reading: Reading) -> None:  # noqa: B027 - optional
        """Keep something of where the training began; called before the first step that is tracked."""

    def prepare(self, reading: Reading) -> None:  # noqa: B027 - optional
        """Keep something of the step before the one that is read."""

    def before_step(self, reading: Reading) -> None:  # noqa: B027 - optional
        """Read or keep something before the weights move."""

    @abstractmethod
    def after_step(self, reading: Reading) -> Tensor:
        """Return the parts, shape (parameters, parts) or (parameters,)."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it has kept of earlier steps, for a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - optional
        """Go on from what was kept."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of what is kept from step to step."""

    def finish(self, parts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the numbers, shape (parameters,) or (parameters, fields), of combined parts (parameters, parts)."""
        return parts[:, 0]


def norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """Return the 2-norm of each tensor, NaN for None, shape (n,); float64 on a CPU, else float32.

    They are summed in 32 bits at least, so that a half-precision tensor does not round or overflow. On a CPU large ones
    are summed piece by piece, which keeps them right to 1e-6 (2e-5 where all elements are equal), and those so small or
    so large that their squares have no 32-bit number are summed in 64 bits.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return torch.full((len(tensors),), torch.nan)
    device = present[0].device
    wide = torch.float64 if torch.float64 in {tensor.dtype for tensor in present} else torch.float32
    if device.type != "cpu":
        norms = iter(torch._foreach_norm(present, 2, wide))
        blank = torch.full((), torch.nan, dtype=wide, device=device)
        each = [blank if tensor is None else next(norms).to(device, non_blocking=True) for tensor in tensors]
        return torch.stack(each)
    found = _norms_in_pieces(present, wide)
    numbers = found.numpy()
    if not (numbers.min() >= _UNSURE and numbers.max() < np.inf):
        for index in np.flatnonzero((numbers < _UNSURE) | np.isinf(numbers)).tolist():
            numbers[index] = present[index].double().norm()
    if len(present) == len(tensors):
        return found
    all_of_them = torch.full((len(tensors),), torch.nan, dtype=found.dtype)
    all_of_them[torch.tensor([index for index, tensor in enumerate(tensors) if tensor is not None])] = found
    return all_of_them


def onto(device: torch.device, numbers: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers of the host on a device, which is not waited for: pageable memory would be."""
    values = torch.tensor(numbers, dtype=dtype)
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def _norms_in_pieces(tensors: Sequence[Tensor], wide: torch.dtype) -> Tensor:
    pieces: list[Tensor] = []
    owners: list[int] = []
    for index, tensor in enumerate(tensors):
        if tensor.numel() <= 2 * _PIECE:
            pieces.append(tensor)
            owners.append(index)
            continue
        if tensor.dim() == 4 and not tensor.is_contiguous():
            tensor = tensor.permute(0, 2, 3, 1)  # as images with their channels last lie in memory
        found = tensor.reshape(-1).split(_PIECE)
        pieces += found
        owners += [index] * len(found)
    norms = torch.stack(torch._foreach_norm(pieces, 2, wide)).double()
    if len(pieces) == len(tensors):
        return norms
    return torch.zeros(len(tensors), dtype=torch.float64).index_add_(0, torch.tensor(owners), norms.square()).sqrt()
