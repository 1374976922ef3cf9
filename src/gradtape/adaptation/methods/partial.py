"""Partial adaptation: the target lacks some of the source's classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradtape.adaptation.methods._base import Seen
from gradtape.adaptation.methods.cdan import output_size
from gradtape.adaptation.methods.dann import DANN
from gradtape.errors import InputError


class PADA(DANN):
    """DANN in which a class of the source counts by how often it is predicted on the target.

    ``weight of class c = share_c / max share``, the share being a moving average of the mean softmax on the target. It
    weighs each row of the source in the task's loss, ``mean w[y] · loss``, and among those that the critic sees.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        momentum: Of the moving average, from 0 up to 1; it begins with equal shares.
        classes: k; None reads it off the head's last linear layer.
        settings: Those of ``DANN``.

    Examples:
        >>> method = PADA(nn.Linear(2, 8), nn.Linear(8, 3), strength=1.0)
        >>> _ = method(torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2))
        >>> float(method.shares.sum())
        1.0

    Source: Cao et al., Partial Adversarial Domain Adaptation, ECCV 2018.
    """

    name = "partial"
    title = "fewer classes in the target (PADA)"
    tasks = ("classification",)
    shares: Tensor

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        momentum: float = 0.9,
        classes: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        if not 0 <= momentum < 1:
            raise InputError(f"momentum is {momentum}", remedy="give a number from 0 up, below 1")
        self.momentum = momentum
        k = classes or output_size(head)
        self.register_buffer("shares", torch.full((k,), 1 / k))

    def supervised(self, seen: Seen) -> Tensor:
        """Return the weighted loss of the source's labels."""
        return (self._weights(seen) * cross_entropy(seen.source_logits, seen.labels, reduction="none")).mean()

    def term(self, seen: Seen) -> Tensor:
        """Return the critic's loss with the source's rows weighted; in training, the shares move on."""
        weights = self._weights(seen), torch.ones_like(seen.target[:, 0])
        loss = self.judged(self.gate(seen.both), len(seen.source), weights)
        if self.training and torch.is_grad_enabled():
            predicted = torch.softmax(seen.target_logits.detach(), dim=1).mean(0)
            self.shares.lerp_(predicted.to(self.shares), 1 - self.momentum)
        return loss

    def _weights(self, seen: Seen) -> Tensor:
        return (self.shares / self.shares.max())[seen.labels]
