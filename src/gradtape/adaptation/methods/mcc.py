"""Minimum class confusion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen


class MCC(Method):
    """Predictions on the target are made to confuse classes less.

    With ``p`` the softmax of the target's logits over a temperature and ``w`` weights that fall with the entropy of a
    row, the confusion of two classes is ``pᵀ diag(w) p``; the term is the mean of what each class shares with others.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        temperature: By which logits are divided, above 0.
        settings: Those of ``Method``.

    Source: Jin et al., Minimum Class Confusion for Versatile Domain Adaptation, ECCV 2020.
    """

    name = "mcc"
    title = "minimum class confusion (MCC)"
    tasks = ("classification",)

    def __init__(self, features: nn.Module, head: nn.Module, *, temperature: float = 2.5, **settings: Any) -> None:
        super().__init__(features, head, **settings)
        self.temperature = temperature

    def term(self, seen: Seen) -> Tensor:
        """Return the mean confusion of a class with the others."""
        p = torch.softmax(self.gate(seen.target_logits) / self.temperature, dim=1)
        certainty = 1 + torch.exp(-entropy(p.detach()))
        weights = certainty / certainty.mean()
        confusion = p.T @ (weights[:, None] * p)
        mass = confusion.sum(1)
        others: Tensor = (mass - confusion.diagonal()) / mass.clamp_min(1e-8)  # 0 for a class that no row is near
        return others.mean()


def entropy(p: Tensor) -> Tensor:
    """Return the entropy in nats of each row of probabilities."""
    negative: Tensor = torch.special.xlogy(p, p).sum(1)
    return -negative
