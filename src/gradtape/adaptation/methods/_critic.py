"""The critic of a domain-adversarial game: what it is, and what it loses."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus

from gradtape.errors import InputError
from gradtape.games import LOSSES


class Critic(nn.Sequential):
    """Two hidden layers and a logit per output; above 0 says source.

    Args:
        size: Size of the features.
        outputs: Number of logits.
        width: Size of the hidden layers.
    """

    def __init__(self, size: int, outputs: int = 1, width: int = 64) -> None:
        super().__init__(
            nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )


def feature_size(head: nn.Module) -> int:
    """Return the size of the features that a head takes: that of its first linear layer.

    Raises:
        InputError: The head has none.
    """
    for module in head.modules():
        if isinstance(module, nn.Linear):
            return module.in_features
    raise InputError(f"{type(head).__name__} has no linear layer", remedy="give critic=, a module (n, d) -> (n, 1)")


def opposed(
    critic: nn.Module, shown: Tensor, n: int, loss: str, weights: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the critic's loss of what it is shown, and its accuracy, each a mean of both domains' means.

    ``minimax``: what is shown feels the slope of that loss, which is flat where the critic is sure: the game is
    zero-sum. ``nonsaturating``: it feels, with the opposite sign, the slope of what it would lose if its domain were
    the other, which is steep there. Per row, that is the same gradient times the ratio of slopes of
    ``gradtape.games.LOSSES``, so one backward pass serves both.

    Args:
        critic: ``(n + m, d)`` to logits, above 0 for the source; it treats rows one by one.
        shown: Rows of the source, then of the target, behind the gate.
        n: How many are the source's.
        loss: ``minimax`` or ``nonsaturating``.
        weights: Of the rows of each domain, (n,) and (m,), of any scale.
    """
    shown = shown.view_as(shown)  # a place of its own for the hook
    logits = critic(shown).reshape(-1)
    source, target = logits[:n], logits[n:]
    if loss == "nonsaturating" and shown.requires_grad:
        turned = logits.detach().clone()
        turned[:n].neg_()  # to its critic, a row of the source is what a row of the target is with the opposite sign
        slopes = -LOSSES[loss].ratio(turned, turned)
        shown.register_hook(lambda grad: grad * slopes[:, None])
    return domain_loss(source, target, weights), domain_accuracy(logits.detach(), n)


def domain_loss(source: Tensor, target: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return ``(mean softplus(-source) + mean softplus(target)) / 2``, means by weights if there are any.

    Examples:
        >>> import torch
        >>> domain_loss(torch.zeros(3), torch.zeros(2))
        tensor(0.6931)
    """
    if weights is None:
        return (softplus(-source).mean() + softplus(target).mean()) / 2
    own, other = (each / each.sum().clamp_min(1e-12) for each in weights)
    return (own @ softplus(-source) + other @ softplus(target)) / 2


def domain_accuracy(logits: Tensor, n: int) -> Tensor:
    """Return the mean of both domains' shares that a critic tells right, given n logits of the source, then others."""
    source = (logits > 0).float()
    return (source[:n].mean() + 1 - source[n:].mean()) / 2
