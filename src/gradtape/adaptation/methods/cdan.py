"""Conditional domain-adversarial training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gradtape import seeding
from gradtape.adaptation.methods._base import Seen
from gradtape.adaptation.methods._critic import Critic, feature_size
from gradtape.adaptation.methods.dann import DANN
from gradtape.adaptation.methods.mcc import entropy

_LARGEST = 4096  # of an outer product, beyond which random projections stand for it


class CDAN(DANN):
    """The critic sees features together with the predicted class: their outer product with the softmax.

    Products larger than 4,096 are replaced by products of random projections. The softmax is not adapted through.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        classes: Number of classes k; None reads it off the head's last linear layer.
        seed: Of the random projections.
        settings: Those of ``DANN``; a ``critic`` takes what is conditioned, (n, d * k).

    Source: Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018.
    """

    name = "cdan"
    title = "conditional adversarial (CDAN)"
    tasks = ("classification",)
    weighted = False
    of_features: Tensor | None
    of_classes: Tensor | None

    def __init__(
        self, features: nn.Module, head: nn.Module, *, classes: int | None = None, seed: int = 0, **settings: Any
    ) -> None:
        size, k = feature_size(head), classes or output_size(head)
        width = size * k
        projected = width > _LARGEST
        settings.setdefault("critic", Critic(1024 if projected else width))
        super().__init__(features, head, **settings)
        random = seeding.generator(seed, "projections")
        made = (torch.randn(each, 1024, generator=random) for each in (size, k)) if projected else (None, None)
        for name, value in zip(("of_features", "of_classes"), made, strict=True):
            self.register_buffer(name, value)

    def term(self, seen: Seen) -> Tensor:
        """Return the critic's loss of the conditioned features."""
        p = torch.softmax(torch.cat([seen.source_logits, seen.target_logits]).detach(), dim=1)
        n = len(seen.source)
        certain = 1 + torch.exp(-entropy(p))
        weights = (certain[:n], certain[n:]) if self.weighted else None
        return self.judged(self.conditioned(self.gate(seen.both), p), n, weights)

    def conditioned(self, z: Tensor, p: Tensor) -> Tensor:
        """Return the outer product of features and probabilities, or of their random projections."""
        if self.of_features is not None and self.of_classes is not None:
            return (z @ self.of_features) * (p @ self.of_classes) / math.sqrt(self.of_features.shape[1])
        return (z[:, :, None] * p[:, None]).flatten(1)


class CDANE(CDAN):
    """CDAN whose critic counts certain rows more: weights ``1 + exp(-H(p))``, H the entropy of the predictions.

    Source: Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018, CDAN+E.
    """

    name = "cdan+e"
    title = "conditional adversarial with entropy weights (CDAN+E)"
    weighted = True


def output_size(head: nn.Module) -> int:
    """Return the number of outputs of a head: that of its last linear layer."""
    return [module for module in head.modules() if isinstance(module, nn.Linear)][-1].out_features
