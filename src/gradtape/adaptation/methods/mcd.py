"""Maximum classifier discrepancy: two heads that disagree where the target is unlike the source."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.errors import InputError


class MCD(Method):
    """Two heads are made to disagree on the target, features to make them agree, and both to be right on the source.

    ``term = -mean |softmax(head(z)) - softmax(other(z))|`` over rows of the target and classes; across the gate the
    features feel the opposite. The task's loss and the predicted logits are means of both heads.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        other: A second head of other weights; None makes a copy with weights drawn anew.
        settings: Those of ``Method``.

    Examples:
        >>> import torch
        >>> method = MCD(nn.Linear(2, 8), nn.Linear(8, 3), strength=1.0)
        >>> _ = method(torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2))
        >>> bool(-2 / 3 < method.figures["term"] < 0)
        True

    Source: Saito et al., Maximum Classifier Discrepancy for Unsupervised Domain Adaptation, CVPR 2018, with its three
    steps as one.
    """

    name = "mcd"
    title = "maximum classifier discrepancy (MCD)"
    adversarial = True
    tasks = ("classification",)

    def __init__(
        self, features: nn.Module, head: nn.Module, *, other: nn.Module | None = None, **settings: Any
    ) -> None:
        super().__init__(features, head, **settings)
        self.other = made_anew(head) if other is None else other

    def supervised(self, seen: Seen) -> Tensor:
        """Return the mean of both heads' losses."""
        return (super().supervised(seen) + self.loss_of(self.other(seen.source), seen.labels)) / 2

    def term(self, seen: Seen) -> Tensor:
        """Return how much the heads agree."""
        z = self.gate(seen.target)
        one, two = (torch.softmax(head(z), dim=1) for head in (self.head, self.other))
        return -(one - two).abs().mean()

    def answer(self, z: Tensor) -> Tensor:
        """Return the mean of both heads' logits (n, k)."""
        return cast(Tensor, (self.head(z) + self.other(z)) / 2)


def made_anew(head: nn.Module) -> nn.Module:
    """Return a copy of a head whose weights are drawn anew.

    Raises:
        InputError: No layer says how that is done, or there is nothing to draw.
    """
    made = copy.deepcopy(head)
    for module in made.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    if all(torch.equal(a, b) for a, b in zip(head.parameters(), made.parameters(), strict=True)):
        what = f"the weights of {type(head).__name__} cannot be drawn anew"
        raise InputError(what, remedy="give other=, a second head with weights of its own")
    return made
