"""Adversarial losses: pure functions of the discriminator's logits, one per player."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import relu, softplus


class AdversarialLoss(NamedTuple):
    """Both players' losses, per sample or per pair of a real and a fake sample.

    Attributes:
        discriminator: ``(real logits (n,), fake logits (n,)) -> (n,)``.
        generator: Likewise.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def _minimax(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real) + softplus(fake)


LOSSES: dict[str, AdversarialLoss] = {
    # Goodfellow et al. 2014: the zero-sum game, and the generator loss that does not saturate
    "minimax": AdversarialLoss(_minimax, lambda real, fake: -softplus(fake)),
    "nonsaturating": AdversarialLoss(_minimax, lambda real, fake: softplus(-fake)),
    # Mao et al. 2017
    "least_squares": AdversarialLoss(
        lambda real, fake: ((real - 1).square() + fake.square()) / 2, lambda real, fake: (fake - 1).square() / 2
    ),
    # Lim and Ye 2017
    "hinge": AdversarialLoss(lambda real, fake: relu(1 - real) + relu(1 + fake), lambda real, fake: -fake),
    # Arjovsky et al. 2017; needs a penalty or a norm bound on the discriminator
    "wasserstein": AdversarialLoss(lambda real, fake: fake - real, lambda real, fake: -fake),
    # Jolicoeur-Martineau 2018, paired: each fake is judged against a real sample
    "relativistic": AdversarialLoss(lambda real, fake: softplus(fake - real), lambda real, fake: softplus(real - fake)),
}
"""Loss's name -> both players' losses."""
