"""What gets no gradient at all: elements and whole units whose gradient is exactly zero."""

from __future__ import annotations

import torch
from torch import Tensor

from gradtape.tracking.measures._base import Reading
from gradtape.tracking.measures._reduce import (
    PIECE,
    PIECE_ELSEWHERE,
    GradientMeasure,
    Numbers,
    gather,
    home,
    share,
    table,
)


class ZeroShare(GradientMeasure):
    """Share of elements that are exactly 0, which underflow, dead units and absent classes leave; NaN is not 0."""

    name = "zero_share"
    parts = 2

    def read(self, reading: Reading) -> Tensor:
        """Return the number of zeros and of elements."""
        return table(
            [(grad,) for grad in reading.grads],
            lambda piece: (piece.numel() - piece.count_nonzero(),),
            counts=[0 if grad is None else grad.numel() for grad in reading.grads],
        )

    def finish(self, parts: Numbers) -> Numbers:
        """Divide."""
        return share(parts[:, 0], parts[:, 1])


class ZeroUnits(GradientMeasure):
    """Share of output units whose whole gradient is exactly 0: rows of the first dimension, elements of a bias.

    A parameter that is sharded must be so by its first dimension, for rows to be whole.
    """

    name = "zero_units"
    parts = 2

    def read(self, reading: Reading) -> Tensor:
        """Return the number of rows that are zero and of rows."""
        found = [None if grad is None else (_zero_rows(grad),) for grad in reading.grads]
        counts = [0 if grad is None or not grad.numel() else _units(grad) for grad in reading.grads]
        return gather(found, home([(grad,) for grad in reading.grads]), counts)

    def finish(self, parts: Numbers) -> Numbers:
        """Divide."""
        return share(parts[:, 0], parts[:, 1])


def _units(grad: Tensor) -> int:
    return grad.shape[0] if grad.dim() else 1


def _zero_rows(grad: Tensor) -> Tensor:
    if not grad.numel():
        return torch.zeros((), device=grad.device)
    rows = grad.reshape(_units(grad), -1)
    if rows.shape[1] == 1:
        return rows.shape[0] - rows.count_nonzero()
    size = max(1, (PIECE if rows.device.type == "cpu" else PIECE_ELSEWHERE) // rows.shape[1])
    zero = [(part.abs().amax(1) == 0).sum() for part in rows.split(size)]  # a NaN is not 0
    return zero[0] if len(zero) == 1 else torch.stack(zero).sum()
