"""Where the gradients of several losses disagree: their lengths and cosines, in all and per layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradtape.errors import InputError

if TYPE_CHECKING:
    Pairs = dict[tuple[str, str], float]


class Combined(NamedTuple):
    """What ``combine`` saw: how long each loss's gradient over the shared parameters is, and how they lie.

    Attributes:
        losses: The names.
        norms: The 2-norm of each loss's gradient over all shared parameters.
        cosine: The cosine of each pair of losses over all shared parameters; NaN where one of the two is zero.
        layers: The same for each layer.

    Examples:
        >>> pair = ("task", "group")
        >>> print(Combined(pair, {"task": 1.0, "group": 2.0}, {pair: -0.25}, {"0": {pair: 0.5}, "2": {pair: -0.75}}))
        losses         cosine  worst layer
        task / group   -0.250  2 (-0.750)
    """

    losses: tuple[str, ...]
    norms: dict[str, float]
    cosine: Pairs
    layers: dict[str, Pairs]

    @property
    def conflicts(self) -> list[tuple[str, str]]:
        """The pairs whose cosine is negative, the most negative first."""
        return sorted((pair for pair, cosine in self.cosine.items() if cosine < 0), key=self.cosine.__getitem__)

    def __str__(self) -> str:
        width = max([6, *(len(" / ".join(pair)) for pair in self.cosine)])
        lines = [f"{'losses':<{width}}  {'cosine':>7}  worst layer"]
        for pair, cosine in self.cosine.items():
            known = {layer: pairs[pair] for layer, pairs in self.layers.items() if not math.isnan(pairs[pair])}
            worst = min(known, key=known.__getitem__, default=None)
            told = "none has both" if worst is None else f"{worst or 'the module itself'} ({known[worst]:.3f})"
            lines.append(f"{' / '.join(pair):<{width}}  {cosine:>7.3f}  {told}")
        return "\n".join(lines)


def compare(losses: tuple[str, ...], jacobian: Tensor, spans: Mapping[str, tuple[int, int]]) -> Combined:
    """Return norms and cosines, with one copy to the host whatever the number of layers."""
    blocks = []
    for start, stop in spans.values():
        part = jacobian[:, start:stop]
        largest = part.abs().amax(1, keepdim=True)
        unit = part / torch.where(largest > 0, largest, 1)
        blocks.append(torch.cat([largest, unit @ unit.T], 1))
    figures = torch.stack(blocks).cpu().double().numpy()
    tops, products = figures[:, :, 0], figures[:, :, 1:]
    for name, finite in zip(losses, np.isfinite(tops).all(0), strict=True):
        if not finite:
            raise InputError(
                f"the gradient of loss {name!r} over the shared parameters is not finite",
                remedy="look for an overflow, a log or a division by zero on its way, or lower the learning rate",
            )
    top = tops.max(0)
    share = tops / np.where(top > 0, top, 1)
    whole = np.einsum("li,lj,lij->ij", share, share, products)

    def cosines(product: np.ndarray) -> Pairs:
        lengths = np.sqrt(np.outer(product.diagonal(), product.diagonal()))
        cosine = np.where(lengths > 0, product / np.where(lengths > 0, lengths, 1), math.nan).clip(-1, 1)
        return {(losses[i], losses[j]): float(cosine[i, j]) for i, j in combinations(range(len(losses)), 2)}

    norms = {name: float(norm) for name, norm in zip(losses, top * np.sqrt(whole.diagonal()), strict=True)}
    layers = {layer: cosines(product) for layer, product in zip(spans, products, strict=True)}
    return Combined(losses, norms, cosines(whole), layers)
