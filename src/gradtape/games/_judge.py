"""What the discriminator says of a batch, and what its penalties add."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.games.penalties import Judged, Penalty
from gradtape.games.views import View

Told = tuple[Tensor, ...]


class Judge:
    """A discriminator with what it is shown.

    Args:
        discriminator: From samples, and a condition if there is one, to logits.
        views: What it is shown in place of samples.
    """

    def __init__(self, discriminator: nn.Module, views: Sequence[View]) -> None:
        self.discriminator = discriminator
        self.views = views

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return what the discriminator is shown of samples."""
        for view in self.views:
            x = view(x, random)
        return x

    def logits(self, shown: Tensor, told: Told) -> Tensor:
        """Return logits (n,) in single precision or better, for what is shown."""
        return self.read(self.discriminator(shown, *told), len(shown))

    @staticmethod
    def read(output: Tensor, n: int) -> Tensor:
        """Return a discriminator's output for n samples as logits (n,).

        Raises:
            InputError: It has another shape.
        """
        if output.shape not in ((n,), (n, 1)):
            raise InputError(
                f"the discriminator gives shape {tuple(output.shape)} for {n} samples",
                remedy="let it give one logit for each, of shape (n,) or (n, 1)",
            )
        return output.reshape(-1).to(torch.promote_types(output.dtype, torch.float32))

    def consider(
        self,
        real: Tensor,
        fake: Tensor,
        told: Told,
        penalties: Sequence[Penalty],
        position: int,
        random: torch.Generator,
        *,
        attach: bool,
    ) -> tuple[Judged, Tensor]:
        """Judge a batch.

        Args:
            real: Real samples as shown.
            fake: Generated samples as shown, detached.
            told: The condition, if there is one.
            penalties: Those that are due.
            position: The step's number, from 0.
            random: For penalties that draw.
            attach: Whether logits are to be differentiated with respect to the generated samples.

        Returns:
            Logits and slopes, and the sum of the penalties.
        """
        needed = {side for penalty in penalties for side in penalty.slopes}
        sides = {"real": real.detach(), "fake": fake.detach()}
        for side in needed | ({"fake"} if attach else set()):
            sides[side].requires_grad_()
        logits = {side: self.logits(x, told) for side, x in sides.items()}
        slopes = {
            side: torch.autograd.grad(logits[side].sum(), sides[side], create_graph=True)[0] for side in sorted(needed)
        }
        judged = Judged(
            lambda shown: self.logits(shown, told), sides["real"], sides["fake"], logits, slopes, position, random
        )
        return judged, sum((penalty(judged) for penalty in penalties), torch.zeros((), device=real.device))
