"""Domain-adversarial training."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.adaptation.methods._critic import Critic, feature_size, opposed
from gradtape.errors import InputError


class DANN(Method):
    """A critic learns to tell the domains apart by the features, which learn to make it fail, in one backward pass.

    ``term = (mean softplus(-critic(zs)) + mean softplus(critic(zt))) / 2``, across a ``Reverse``.

    By default, a row of features does not feel the slope of that term, as in the paper, but, with the opposite sign,
    that of what it would lose as a row of the other domain: the game that generators play since 2014. A critic that is
    sure pulls then, where otherwise it would be flat and the features would stay apart.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        critic: ``(n, d) -> (n, 1)`` or (n,) logits, above 0 for the source; None makes one of two hidden layers.
        loss: ``nonsaturating``, or ``minimax``, the paper's.
        settings: Those of ``Method``: ``strength``, ``steps``, ``task``.

    Examples:
        >>> import torch
        >>> method = DANN(nn.Linear(2, 8), nn.Linear(8, 3), strength=1.0)
        >>> loss = method(torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2))
        >>> loss.backward()
        >>> sorted(method.figures)
        ['domain accuracy', 'task', 'term']

    Source: Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016; the loss that does not saturate as
    in Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014.
    """

    name = "dann"
    title = "domain-adversarial (DANN)"
    adversarial = True

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        critic: nn.Module | None = None,
        loss: str = "nonsaturating",
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        if loss not in ("minimax", "nonsaturating"):
            raise InputError(f"the game's loss is {loss!r}", remedy="use 'nonsaturating' or 'minimax'")
        self.critic = Critic(feature_size(head)) if critic is None else critic
        self.loss = loss

    def term(self, seen: Seen) -> Tensor:
        """Return the critic's loss."""
        return self.judged(self.gate(seen.both), len(seen.source))

    def judged(self, shown: Tensor, n: int, weights: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the critic's loss of what it is shown: n rows of the source, then those of the target."""
        loss, self.figures["domain accuracy"] = opposed(self.critic, shown, n, self.loss, weights)
        return loss
