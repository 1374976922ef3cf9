"""Several sources, each with a critic of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.adaptation.methods._critic import Critic, feature_size, opposed
from gradtape.errors import InputError


class MultiSource(Method):
    """Each source has a critic that tells it from the target; the term is the mean of their losses.

    Sources that a batch has no row of are left out.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        sources: How many there are; ``domains`` goes from 0 to one below.
        critics: One for each, ``(n, d) -> (n, 1)`` logits, above 0 for the source; None makes them.
        settings: Those of ``Method``.

    Examples:
        >>> method = MultiSource(nn.Linear(2, 8), nn.Linear(8, 3), sources=2, strength=1.0)
        >>> xs, ys, xt = torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2)
        >>> method(xs, ys, xt, domains=torch.arange(6) % 2).shape
        torch.Size([])

    Source: Zhao et al., Adversarial Multiple Source Domain Adaptation, NeurIPS 2018, MDAN with equal weights.
    """

    name = "multi-source"
    title = "a critic per source (MDAN)"
    adversarial = True

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        sources: int = 2,
        critics: list[nn.Module] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        self.critics = nn.ModuleList(critics or [Critic(feature_size(head)) for _ in range(sources)])

    def term(self, seen: Seen) -> Tensor:
        """Return the mean of the critics' losses."""
        source, target = self.gate(seen.source), self.gate(seen.target)
        losses, right = [], []
        for domain in present(seen.domains, len(self.critics)):
            own = source[seen.domains == domain]
            shown = torch.cat([own, target])
            loss, accuracy = opposed(self.critics[domain], shown, len(own), "nonsaturating")
            losses.append(loss)
            right.append(accuracy)
        self.figures["domain accuracy"] = torch.stack(right).mean()
        return torch.stack(losses).mean()


def present(domains: Tensor, sources: int) -> list[int]:
    """Return which sources a batch has rows of.

    Raises:
        InputError: One that is not among those that the method was made for.
    """
    found: list[int] = domains.unique().tolist()
    if found[0] < 0 or found[-1] >= sources:
        what = f"domains go from {found[0]} to {found[-1]}, and the method was made for {sources} sources"
        raise InputError(what, remedy="count them from 0 up and give sources=, their number")
    return found
