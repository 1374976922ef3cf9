"""Margin disparity discrepancy: a second head that agrees on the source and disagrees on the target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.adaptation.methods.mcd import made_anew
from gradtape.errors import InputError


class MDD(Method):
    """An adversarial head learns what the head predicts on the source, and anything else on the target.

    With ŷ the head's predictions and q the adversarial head's softmax behind the gate, the term is the weighted mean
    ``(γ · mean over the source of -log q[ŷ] + mean over the target of -log(1 - q[ŷ])) / (γ + 1)``.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        other: The adversarial head; None makes a copy of the head with weights drawn anew.
        gamma: γ, how often the source counts, above 0; log γ is the margin.
        settings: Those of ``Method``.

    Examples:
        >>> import torch
        >>> method = MDD(nn.Linear(2, 8), nn.Linear(8, 3), strength=1.0)
        >>> method(torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2)).shape
        torch.Size([])

    Source: Zhang et al., Bridging Theory and Algorithm for Domain Adaptation, ICML 2019.
    """

    name = "mdd"
    title = "margin disparity discrepancy (MDD)"
    adversarial = True
    tasks = ("classification",)

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        other: nn.Module | None = None,
        gamma: float = 4.0,
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        if not gamma > 0:
            raise InputError(f"gamma is {gamma}", remedy="give a number above 0; 2 to 4 is usual")
        self.other = made_anew(head) if other is None else other
        self.gamma = gamma

    def term(self, seen: Seen) -> Tensor:
        """Return the adversarial head's loss."""
        source, target = (self.other(self.gate(z)) for z in (seen.source, seen.target))
        agree = cross_entropy(source, seen.source_logits.argmax(1))
        differ = -log_not(target, seen.target_logits.argmax(1)).mean()
        return (self.gamma * agree + differ) / (self.gamma + 1)


def log_not(logits: Tensor, classes: Tensor) -> Tensor:
    """Return for each row the logarithm of the probability of all classes but one, (n, k) and (n,) -> (n,)."""
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return torch.logsumexp(others, dim=1) - torch.logsumexp(logits, dim=1)
