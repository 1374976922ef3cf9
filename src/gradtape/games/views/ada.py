"""Images, changed as often as the discriminator needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.games.views._base import View, uniform
from gradtape.games.views._operations import OPERATIONS, POLICY, checked_policy

_LIMIT = 0.8  # up to here changes do not leak into what the generator makes (Karras et al. 2020, section 2.2)
_BATCHES = 4  # batches between two moves of p, as in the paper


class ADA(View):
    """Adaptive augmentation: change images with a probability that follows how far the discriminator overfits.

    Every operation is done to every image with probability p. After each fourth batch p moves by
    ``sign(r - target) · samples / horizon``, where ``r = E sign D(x)`` over the real samples of the four; it stays
    between 0 and 0.8.

    r has a meaning where a real sample's own logit has one. For relativistic losses, which judge pairs, give
    ``observe`` the logits of real samples less those of generated ones.

    Args:
        policy: Operations, as in ``DiffAugment``.
        target: The r at which p stays where it is, between -1 and 1.
        horizon: Real samples over which p can go from 0 to 1. The paper has 500 000, for trainings on millions.
        p: The probability to begin with.

    Raises:
        InputError: An unknown operation; a setting out of range; samples that are no images.

    Examples:
        >>> view = ADA(horizon=160)
        >>> for _ in range(4):
        ...     view.observe(torch.ones(8))  # sure of every real sample
        >>> round(view.p, 4)
        0.2

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data, NeurIPS 2020.
    """

    images = True

    def __init__(
        self,
        policy: Sequence[str] = POLICY,
        target: float = 0.6,
        horizon: int = 100_000,
        p: float = 0.0,
    ) -> None:
        self.policy = checked_policy("ADA", policy)
        for name, value, low, high in (("target", target, -1, 1), ("p", p, 0, _LIMIT)):
            if not low <= value <= high:
                raise InputError(f"{name} of ADA is {value}", remedy=f"give a number from {low} to {high}")
        if not horizon >= 1:
            raise InputError(f"horizon of ADA is {horizon}", remedy="give at least 1 sample")
        self.target = target
        self.horizon = horizon
        self._p = torch.tensor(float(p))  # a tensor: to follow the discriminator must not wait for the device
        self._signs = torch.tensor(0.0)
        self._seen = self._batches = 0

    @property
    def p(self) -> float:
        """The probability with which each operation is done to each image."""
        return float(self._p)

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the images, some of them changed."""
        for name in self.policy:
            chosen = uniform(x, random) < self._p.to(x)
            x = torch.where(chosen, OPERATIONS[name](x, 1.0, random), x)
        return x

    def observe(self, real_logits: Tensor) -> None:
        """Count signs; after each fourth batch, move p."""
        signs = real_logits.detach().float().sign().nan_to_num().sum()
        self._signs = self._signs.to(signs.device) + signs
        self._seen += len(real_logits)
        self._batches += 1
        if self._batches == _BATCHES:
            ahead = torch.sign(self._signs / self._seen - self.target)
            self._p = (self._p.to(ahead.device) + ahead * (self._seen / self.horizon)).clamp(0, _LIMIT)
            self._signs = torch.zeros_like(self._signs)
            self._seen = self._batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return p, and what has been counted since it last moved."""
        counted = {"p": self._p, "signs": self._signs, "seen": self._seen, "batches": self._batches}
        return super().state_dict() | counted

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        super().load_state_dict(state)
        self._p, self._signs = torch.as_tensor(state["p"]), torch.as_tensor(state["signs"])
        self._seen, self._batches = int(state["seen"]), int(state["batches"])

    def _settings(self) -> list[str]:
        return [repr(self.policy), f"target={self.target}", f"horizon={self.horizon}"]
