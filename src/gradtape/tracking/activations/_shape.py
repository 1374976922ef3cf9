"""How activations are distributed: outliers, and directions that are used."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gradtape.tracking.activations._base import ActivationMeasure, fraction, unknown, weighted
from gradtape.tracking.measures._reduce import PIECE, Numbers, pieces, wide, widened

ROWS, FEATURES = 128, 512
ELEMENTS = 1 << 17
_RESOLVED = 1e-7  # of the squared mean: a smaller variance is lost in what sums of fourth powers resolve


class Kurtosis(ActivationMeasure):
    """Excess kurtosis of the elements, E(x - m)⁴ / (E(x - m)²)² - 3: 0 of a Gaussian, large with some huge outliers.

    Of more than 131,072 elements evenly spaced rows (batch and positions) are taken, with all their units. NaN where
    the elements are as good as equal.
    """

    name = "kurtosis"
    parts: ClassVar[int] = 5

    def applies(self, module: nn.Module) -> bool:
        """Modules that multiply with weights, and norms."""
        own = any(True for _ in module.parameters(recurse=False))
        return weighted(module) or (own and not isinstance(module, nn.ParameterList | nn.ParameterDict))

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return the number of elements and the sums of their powers 1 to 4, which add up over processes."""
        sums = torch.zeros(5, dtype=wide(output.device), device=output.device)
        taken = _thinned(output, ELEMENTS // output.shape[-1], output.shape[-1])
        sums[0] = taken.numel()
        for (piece,) in pieces(taken):
            x = widened(piece)
            square = x * x
            sums[1:] += torch.stack([x.sum(), square.sum(), torch.dot(square, x), torch.dot(square, square)])
        return sums

    def finish(self, parts: Numbers) -> Numbers:
        """Return the kurtosis from the sums."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, second, third, fourth = (parts[:, 1:] / parts[:, :1]).T
            variance = second - mean**2
            moment = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
            clear = variance > _RESOLVED * mean**2
            return np.where(clear, moment / variance**2 - 3, np.nan)


class Rank(ActivationMeasure):
    """Effective rank of the units' activations over what it could be, in (0, 1]; 0 where they are constant.

    The exponential of the entropy of the singular values (Roy and Vetterli 2007), each over their sum, of the centred
    matrix of at most 128 rows (batch and positions) and 512 units, over the smaller of its sides. Rows and units are
    taken evenly spaced. NaN for fewer than 2 rows or units. On an accelerator it waits for the singular values.
    """

    name = "rank"

    def applies(self, module: nn.Module) -> bool:
        """Modules that multiply with weights."""
        return weighted(module)

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return the effective rank and the largest that it could be."""
        matrix = widened(_thinned(output, ROWS, FEATURES))
        n, d = matrix.shape
        if min(n, d) < 2:
            return unknown(output)
        size = matrix.abs().amax()
        finite = size.isfinite()
        matrix = torch.where(finite & (size > 0), matrix / size, 0)  # squares neither overflow nor underflow
        matrix = matrix - matrix.mean(0)
        squares = torch.linalg.eigvalsh(matrix @ matrix.T if n <= d else matrix.T @ matrix)
        rounding = n * d * torch.finfo(output.dtype).eps ** 2  # of the outputs, the largest of which is 1
        rounding = rounding + max(n, d) * torch.finfo(matrix.dtype).eps * squares[-1]
        sizes = torch.where(squares > rounding, squares, 0).sqrt()
        rank = torch.special.entr(sizes / sizes.sum()).sum().exp()
        rank = torch.where(sizes.sum() > 0, rank, 0)
        return fraction(torch.where(finite, rank, torch.nan), min(n, d))


class Spread(ActivationMeasure):
    """How much the model's outputs differ over the batch: standard deviation per element, mean of all, over their size.

    The size is the root mean square. Near 0 all samples get the same output, which in a generator is mode collapse; 1
    at most, 0 where all is 0. NaN for a batch of one.
    """

    name = "spread"
    of_model = True

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return the figure and 1."""
        if len(output) < 2:
            return unknown(output)
        sums = torch.zeros(2, dtype=wide(output.device), device=output.device)
        for part in output.flatten(1).split(max(1, PIECE // len(output)), 1):
            x = widened(part)
            sums += torch.stack([x.std(0, correction=0).sum(), x.square().sum()])
        deviation = sums[0] / output[0].numel()
        size = (sums[1] / output.numel()).sqrt()
        return fraction(torch.where(size == 0, size, deviation / size), 1)


def _thinned(output: Tensor, most_rows: int, most_units: int) -> Tensor:
    """Return evenly spaced rows and units of an output, without a copy of all of it."""
    *batch, units = output.shape
    if math.prod(batch) <= most_rows and units <= most_units:
        return output.reshape(-1, units)
    rows = _spaced(math.prod(batch), max(most_rows, 1), output.device)
    places = []
    for size in reversed(batch):  # torch.unravel_index would wait for an accelerator, to which it sends the sizes
        places.append(rows % size)
        rows = rows // size
    found = output[tuple(reversed(places))]
    return found if units <= most_units else found[:, _spaced(units, most_units, output.device)]


def _spaced(n: int, most: int, device: torch.device) -> Tensor:
    return torch.arange(min(n, most), device=device) * n // min(n, most)
