"""Adaptive feature norm: features of both domains are made longer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen


class AFN(Method):
    """The norms of features grow step by step (SAFN), or towards one radius (HAFN).

    Stepwise, ``(‖z‖ - (r + Δ))²`` with r the norm as it is now has the gradient of ``-2 Δ ‖z‖``, which is the term,
    since its value says how far norms have come. Hard, it is ``(‖z‖ - R)²``. Both are means over rows, then over the
    domains, times ``weight``.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        radius: R; None goes by steps.
        step: Δ, by which a norm should grow.
        weight: Of the term, beside λ; 0.1 is what the authors give both domains together.
        settings: Those of ``Method``.

    Examples:
        >>> import torch
        >>> method = AFN(nn.Identity(), nn.Linear(2, 3), weight=1.0, strength=1.0)
        >>> _ = method(torch.tensor([[3.0, 4.0]]), torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
        >>> method.figures["term"]
        tensor(-6.)

    Source: Xu et al., Larger Norm More Transferable, ICCV 2019.
    """

    name = "afn"
    title = "adaptive feature norm (AFN)"

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        radius: float | None = None,
        step: float = 1.0,
        weight: float = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        self.radius, self.step, self.weight = radius, step, weight

    def term(self, seen: Seen) -> Tensor:
        """Return how far norms are from where they should go."""
        return self.weight * (self._of(self.gate(seen.source)) + self._of(self.gate(seen.target))) / 2

    def _of(self, z: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(z, dim=1)
        return -2 * self.step * norms.mean() if self.radius is None else (norms - self.radius).square().mean()
