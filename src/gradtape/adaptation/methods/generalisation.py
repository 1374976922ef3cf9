"""Generalisation to domains that nobody has seen: no target, several sources."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.adaptation.methods._critic import Critic, feature_size
from gradtape.adaptation.methods.multi_source import present
from gradtape.errors import InputError


class Generalisation(Method):
    """A critic tells the sources apart, and features learn to make it fail; the target is not looked at.

    The term is the critic's cross-entropy, a mean over rows of a source, then over the sources of the batch.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        sources: How many there are, at least 2; ``domains`` goes from 0 to one below.
        critic: ``(n, d) -> (n, sources)`` logits; None makes one of two hidden layers.
        settings: Those of ``Method``.

    Examples:
        >>> method = Generalisation(nn.Linear(2, 8), nn.Linear(8, 3), sources=2, strength=1.0)
        >>> method(torch.ones(6, 2), torch.arange(6) % 3, domains=torch.arange(6) % 2).shape
        torch.Size([])

    Source: Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, between sources; Li et al., Deep
    Domain Generalization via Conditional Invariant Adversarial Networks, ECCV 2018.
    """

    name = "generalisation"
    title = "sources made alike, no target"
    adversarial = True
    needs_target = False
    needs_domains = True

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        sources: int = 2,
        critic: nn.Module | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        if sources < 2:
            raise InputError(f"generalisation was given {sources} source", remedy="give rows of two sources or more")
        self.sources = sources
        self.critic = Critic(feature_size(head), outputs=sources) if critic is None else critic

    def term(self, seen: Seen) -> Tensor:
        """Return the critic's loss."""
        found = present(seen.domains, self.sources)
        logits = self.critic(self.gate(seen.source))
        losses = cross_entropy(logits, seen.domains, reduction="none")
        right = (logits.detach().argmax(1) == seen.domains).float()
        own = [seen.domains == domain for domain in found]
        self.figures["domain accuracy"] = torch.stack([right[rows].mean() for rows in own]).mean()
        return torch.stack([losses[rows].mean() for rows in own]).mean()
