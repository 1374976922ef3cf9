"""Adversarial losses: pure functions of the discriminator's logits, one per player, and how their slopes compare."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus


class AdversarialLoss(NamedTuple):
    """Both players' losses, per sample or per pair of a real and a fake sample, and the ratio of their slopes.

    ``ratio_i = (∂ Σ L_G / ∂ f_i) / (∂ Σ L_D / ∂ f_i)``, in closed form: what turns the discriminator's gradient at a
    fake sample into the generator's. It is nan where the discriminator's slope is exactly 0, and finite elsewhere.

    Attributes:
        discriminator: ``(real logits (n,), fake logits (n,)) -> (n,)``.
        generator: Likewise.
        ratio: Likewise.

    Examples:
        >>> real, fake = torch.tensor([2.0, 2.0]), torch.tensor([0.0, -2.0])
        >>> LOSSES["hinge"].discriminator(real, fake)
        tensor([1., 0.])
        >>> LOSSES["hinge"].ratio(real, fake)
        tensor([-1., nan])
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    ratio: Callable[[Tensor, Tensor], Tensor]


def _minimax(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real) + softplus(fake)


def _average_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(fake.mean() - real) + softplus(fake - real.mean())


def _average_generator(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(real - fake.mean()) + softplus(real.mean() - fake)


def _average_ratio(real: Tensor, fake: Tensor) -> Tensor:
    """Return the ratio with both slopes, sums of logistic functions, as logarithms: neither underflows there."""
    above, below = real - fake.mean(), fake - real.mean()
    generator = torch.logaddexp(_log_mean(logsigmoid(above)), logsigmoid(-below))
    discriminator = torch.logaddexp(_log_mean(logsigmoid(-above)), logsigmoid(below))
    return -_finite(torch.exp(generator - discriminator))


def _log_mean(logarithms: Tensor) -> Tensor:
    return torch.logsumexp(logarithms, dim=0) - math.log(len(logarithms))


def _finite(ratio: Tensor) -> Tensor:
    """Bring what has overflowed back to the largest finite number; nan stays."""
    largest = torch.finfo(ratio.dtype).max
    return ratio.clamp(-largest, largest)


def _minus_one(real: Tensor, fake: Tensor) -> Tensor:
    return -torch.ones_like(fake)


# Goodfellow et al. 2014, the generator loss that does not saturate
_NONSATURATING = AdversarialLoss(
    _minimax, lambda real, fake: softplus(-fake), lambda real, fake: -_finite(torch.exp(-fake))
)

LOSSES: dict[str, AdversarialLoss] = {
    # Goodfellow et al. 2014, the zero-sum game
    "minimax": AdversarialLoss(_minimax, lambda real, fake: -softplus(fake), _minus_one),
    "nonsaturating": _NONSATURATING,
    # Mao et al. 2017
    "least_squares": AdversarialLoss(
        lambda real, fake: ((real - 1).square() + fake.square()) / 2,
        lambda real, fake: (fake - 1).square() / 2,
        lambda real, fake: torch.where(fake == 0, torch.nan, _finite((fake - 1) / fake)),
    ),
    # Lim and Ye 2017
    "hinge": AdversarialLoss(
        lambda real, fake: relu(1 - real) + relu(1 + fake),
        lambda real, fake: -fake,
        lambda real, fake: torch.where(1 + fake > 0, -1.0, torch.nan).to(fake.dtype),
    ),
    # Arjovsky et al. 2017; needs a penalty or a norm bound on the discriminator
    "wasserstein": AdversarialLoss(lambda real, fake: fake - real, lambda real, fake: -fake, _minus_one),
    # Jolicoeur-Martineau 2018, paired: each fake is judged against a real sample
    "relativistic": AdversarialLoss(
        lambda real, fake: softplus(fake - real),
        lambda real, fake: softplus(real - fake),
        lambda real, fake: -_finite(torch.exp(real - fake)),
    ),
    # Jolicoeur-Martineau 2018, averaged: each sample is judged against the other side's mean
    "relativistic_average": AdversarialLoss(_average_discriminator, _average_generator, _average_ratio),
    # what Karras et al. 2019 call the nonsaturating loss
    "logistic": _NONSATURATING,
}
"""Loss's name -> both players' losses, and the ratio of their slopes."""
