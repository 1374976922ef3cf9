"""Reductions over lists of tensors, in pieces that stay in a core's cache, without waiting for an accelerator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradtape.tracking.measures._base import Measure, Reading, onto
from gradtape.tracking.measures._updates import local

PIECE = 131_072  # elements: temporaries of this size stay in a core's cache
PIECE_ELSEWHERE = 2**24  # on accelerators: so large that launches cost nothing, so small that temporaries do

Read = Callable[..., tuple[Tensor, ...]]
Numbers = npt.NDArray[np.float64]


class GradientMeasure(Measure):
    """A dear measure of what is there before the step: gradients, optimizer states.

    Optimizers may change gradients in place, so they are read before. A subclass gives ``read``.
    """

    dear = True
    _parts: Tensor | None = None

    @abstractmethod
    def read(self, reading: Reading) -> Tensor:
        """Return the parts, shape (parameters, parts)."""

    def before_step(self, reading: Reading) -> None:
        """Read before the optimizer can change the gradients."""
        with torch.no_grad():
            self._parts = self.read(reading)

    def after_step(self, reading: Reading) -> Tensor:
        """Return what was read before the step."""
        if self._parts is None:
            raise RuntimeError(f"{self.name}: before_step did not run")  # the player calls them in pairs
        parts, self._parts = self._parts, None
        return parts

    def close(self) -> None:
        """Drop what was read."""
        self._parts = None


def wide(device: torch.device) -> torch.dtype:
    """Return the type of sums: 64 bits, where the device has them."""
    return torch.float32 if device.type == "mps" else torch.float64


def widened(tensor: Tensor) -> Tensor:
    """Return a piece in the type of sums, so that squares neither underflow nor overflow."""
    return tensor.to(wide(tensor.device))


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield flat pieces of tensors of one shape, the same elements of each; a single empty piece where there are none.

    The order is that of the first in memory, so that it need not be copied (as ``channels_last`` would be).
    """
    if not tensors[0].is_contiguous():
        strides = tensors[0].stride()
        order = sorted(range(len(strides)), key=lambda dim: -strides[dim])
        tensors = tuple(tensor.permute(order) for tensor in tensors)
    flat = [tensor.reshape(-1) for tensor in tensors]
    size = PIECE if flat[0].device.type == "cpu" else PIECE_ELSEWHERE
    if flat[0].numel() <= size:
        yield tuple(flat)
    else:
        yield from zip(*(tensor.split(size) for tensor in flat), strict=True)


def table(
    rows: Sequence[Sequence[Tensor | None]],
    read: Read,
    counts: Sequence[int] | None = None,
    merge: Callable[[Tensor, Tensor], Tensor] = torch.add,
    width: int = 1,
) -> Tensor:
    """Reduce each row's tensors, which have one shape, piece by piece.

    Args:
        rows: Of each parameter the tensors that ``read`` takes; it has NaN where one of them is None.
        read: From flat pieces to the parts, as scalars or as one vector.
        counts: A last part of each parameter that is known without looking, such as its size.
        merge: How parts of two pieces add up.
        width: How many parts ``read`` returns, for where it is never called.

    Returns:
        Shape (parameters, parts), in 64 bits where the device has them.
    """
    found: list[tuple[Tensor, ...] | None] = []
    for row in rows:
        present = [tensor for tensor in row if tensor is not None]
        if len(present) < len(row):
            found.append(None)
            continue
        whole: tuple[Tensor, ...] | None = None
        for piece in pieces(*present):
            part = read(*piece)
            whole = part if whole is None else tuple(map(merge, whole, part))
        found.append(whole)
    return gather(found, home(rows), counts, width)


def gather(
    found: Sequence[tuple[Tensor, ...] | None],
    device: torch.device,
    counts: Sequence[int] | None = None,
    width: int = 1,
) -> Tensor:
    """Return one table of each parameter's parts, NaN where there are none; the rest as in ``table``."""
    dtype = wide(device)
    missing = torch.full((), torch.nan, dtype=dtype, device=device)
    shape = next((parts for parts in found if parts is not None), (missing.expand(width),))
    blank = tuple(missing.expand_as(part) for part in shape)
    flat = [part for parts in found for part in (blank if parts is None else parts)]
    if len({(part.device, part.dtype) for part in flat}) > 1:
        flat = [part.to(device=device, dtype=dtype) for part in flat]
    parts = torch.stack(flat).to(device=device, dtype=dtype).view(len(found), -1) if flat else missing.new_zeros(0, 1)
    return parts if counts is None else torch.cat([parts, constants(counts, device)[:, None]], 1)


def home(rows: Sequence[Sequence[Tensor | None]]) -> torch.device:
    """Return the device to gather numbers on: the first accelerator among the tensors', or the CPU."""
    devices = [tensor.device for row in rows for tensor in row if tensor is not None]
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def constants(numbers: Sequence[float], device: torch.device) -> Tensor:
    """Return numbers on a device without waiting for it."""
    return onto(device, numbers, wide(device))


def alike(state: Any, other: Tensor) -> Tensor | None:
    """Return what an optimizer keeps, as ``local``, if it is numbers of another's shape, else None."""
    if not isinstance(state, Tensor):
        return None
    state = local(state)
    return state if state.is_floating_point() and state.shape == other.shape else None


def share(part: Numbers, whole: Numbers) -> Numbers:
    """Return part over whole, NaN of nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole == 0, np.nan, part / whole)
