"""Batch spectral penalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen


class BSP(Method):
    """The largest singular values of the features are held down, so that a critic cannot make a few directions be all.

    The term is ``weight · (σ₁² + ... + σₗ²) / n``, σ the singular values of a domain's n rows; of both, the mean.
    It goes beside a critic, as in ``DANN(features, head) + BSP(features, head)``; alone it aligns nothing.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        largest: How many singular values l, at least 1.
        weight: Of the term, beside λ; the default is what the authors have, 1e-4 for each domain with batches of 36.
        settings: Those of ``Method``.

    Examples:
        >>> method = BSP(nn.Identity(), nn.Linear(2, 3), weight=1.0, strength=1.0)
        >>> _ = method(torch.diag(torch.tensor([3.0, 4.0])), torch.tensor([0, 1]), torch.eye(2))
        >>> method.figures["term"]  # (16 / 2 + 1 / 2) / 2
        tensor(4.2500)

    Source: Chen et al., Transferability vs. Discriminability: Batch Spectral Penalization, ICML 2019.
    """

    name = "bsp"
    title = "batch spectral penalty (BSP)"

    def __init__(
        self, features: nn.Module, head: nn.Module, *, largest: int = 1, weight: float = 0.0072, **settings: Any
    ) -> None:
        super().__init__(features, head, **settings)
        self.largest, self.weight = largest, weight

    def term(self, seen: Seen) -> Tensor:
        """Return the mean of both domains' largest singular values, squared and per row."""
        return self.weight * (self._of(self.gate(seen.source)) + self._of(self.gate(seen.target))) / 2

    def _of(self, z: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(z)[: self.largest]
        return values.square().sum() / len(z)
