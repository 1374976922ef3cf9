"""How gradients are spread over magnitudes, on bins that never move."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gradtape.tracking.measures._base import Reading
from gradtape.tracking.measures._reduce import GradientMeasure, Numbers, share, table

LOWEST, HIGHEST, WIDTH = -40, 16, 2  # log2|g|: bins of a factor of 4, with edges where float16 ends (-24, -14)
BINS = (HIGHEST - LOWEST) // WIDTH
_BIAS = 127
_LOW, _HIGH = _BIAS + LOWEST, _BIAS + HIGHEST


class GradHistogram(GradientMeasure):
    """Share of elements per bin of log2|g|.

    The bins are the same for every parameter, step and run, so histograms can be compared: ``zero`` holds exact zeros,
    ``<-40`` what is below 2^-40, ``-40`` what is in [2^-40, 2^-38), and so on to ``14``; ``>=16`` has no upper
    end, ``nonfinite`` holds infinities and NaN. The smallest number of float16 is 2^-24, its smallest normal one 2^-14
    and its largest just below 2^16; all three are edges.
    """

    name = "grad_histogram"
    fields: ClassVar[tuple[str, ...]] = (
        "zero",
        f"<{LOWEST}",
        *(str(LOWEST + WIDTH * index) for index in range(BINS)),
        f">={HIGHEST}",
        "nonfinite",
    )
    parts = len(fields)

    def read(self, reading: Reading) -> Tensor:
        """Return the number of elements in each bin."""
        found = table([(grad,) for grad in reading.grads], _exponents, width=257)
        zero, counts = found[:, :1], found[:, 1:]
        below = counts[:, :_LOW].sum(1, keepdim=True) - zero  # zeros have the exponent of the smallest numbers
        inside = counts[:, _LOW:_HIGH].unflatten(1, (BINS, WIDTH)).sum(2)
        return torch.cat([zero, below, inside, counts[:, _HIGH:-1].sum(1, keepdim=True), counts[:, -1:]], 1)

    def finish(self, parts: Numbers) -> Numbers:
        """Divide by the number of elements."""
        return share(parts, parts.sum(1, keepdims=True) + np.zeros_like(parts))


def _exponents(piece: Tensor) -> tuple[Tensor, ...]:
    """Return how many zeros a flat piece has, and how often each exponent of 32-bit numbers; 255 is not finite."""
    if piece.dtype == torch.float64:
        whole = (piece.view(torch.int64) >> 52) & 0x7FF
        exponents = torch.where(whole == 0x7FF, 255, (whole - 1023 + _BIAS).clamp_(0, 254))
    else:  # exact, and subnormals of float16 get exponents of their own; of the shifted bits the low eight are kept
        exponents = (piece.float().view(torch.int32) >> 23).to(torch.uint8)
    return (torch.cat([(piece.numel() - piece.count_nonzero())[None], count(exponents, 256)]),)


def count(values: Tensor, size: int) -> Tensor:
    """Count how often each whole number from 0 to ``size - 1`` occurs in a flat tensor."""
    if values.device.type == "cpu":
        return torch.bincount(values, minlength=size)
    return spread_count(values, size)


def spread_count(values: Tensor, size: int) -> Tensor:
    """Do what ``bincount`` does, which on an accelerator waits for it."""
    counts = torch.zeros(size, dtype=torch.int64, device=values.device)
    index = values.long()
    return counts.scatter_add_(0, index, torch.ones_like(index))
