"""The game of a generator against a discriminator, and its step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from gradtape.errors import InputError
from gradtape.games.losses import LOSSES
from gradtape.games.penalties import Penalty
from gradtape.seeding import generator as random_stream

Latent = int | Callable[[int], Tensor]


class GameStep(NamedTuple):
    """What one step did.

    Attributes:
        discriminator: The discriminator's loss without penalties.
        generator: The generator's loss.
        penalty: The sum of the penalties.
        real: Mean logit of the real samples.
        fake: Mean logit of the generated samples.
    """

    discriminator: float
    generator: float
    penalty: float
    real: float
    fake: float


class GAN:
    """A generator and a discriminator trained against each other.

    The step alternates: the discriminator moves on a real and a fake batch; then the generator moves, through the
    same fake batch, without computing weight gradients of the discriminator. An exponential moving average of the
    generator, buffers included, is what samples are drawn from.

    Args:
        generator: ``generator(z)``, or ``generator(z, labels)``.
        discriminator: ``discriminator(x)`` or ``discriminator(x, labels)``, logits of shape (n,) or (n, 1).
        loss: Name of a loss in ``LOSSES``.
        latent: Size of z ~ N(0, I), shape (n, latent); or a function from n to z.
        penalties: Gradient penalties on the discriminator.
        lr: Learning rate of both players' Adam, betas (0, 0.99).
        decay_steps: Steps over which the learning rate falls to zero along a cosine; None keeps it.
        ema: Decay of the moving average per step, in [0, 1).
        seed: Seed of the latent draws.

    Raises:
        InputError: An unknown loss, or a setting out of range.

    Examples:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator ...>
        >>> game = GAN(nn.Linear(2, 3), nn.Linear(3, 1), latent=2)
        >>> _ = game.step(torch.randn(8, 3))
        >>> game.sample(4).shape
        torch.Size([4, 3])

    Source: Goodfellow et al. 2014; the default with R1 and R2 is that of Huang et al., The GAN is dead; long live the
    GAN, NeurIPS 2024.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        loss: str = "relativistic",
        latent: Latent = 64,
        penalties: Sequence[Penalty] = (),
        lr: float = 1e-3,
        decay_steps: int | None = None,
        ema: float = 0.99,
        seed: int = 0,
    ) -> None:
        if loss not in LOSSES:
            raise InputError(f"there is no loss {loss!r}", remedy=f"use one of {', '.join(LOSSES)}")
        if not 0 <= ema < 1:
            raise InputError(f"ema is {ema}", remedy="give a number from 0 up to, and without, 1")
        if decay_steps is not None and decay_steps < 1:
            raise InputError(f"decay_steps is {decay_steps}", remedy="give at least 1, or None")
        self.models: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
        self.average = copy.deepcopy(generator).requires_grad_(False).eval()
        self.loss = LOSSES[loss]
        self.penalties = tuple(penalties)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(model.parameters(), lr=lr, betas=(0.0, 0.99), fused=True)
            for name, model in self.models.items()
        }
        self._schedules = {name: _cosine(optimizer, decay_steps) for name, optimizer in self.optimizers.items()}
        self._ema = ema
        self._latent = latent
        self._random = random_stream(seed, "latent")

    def step(self, real: Tensor, labels: Tensor | None = None) -> GameStep:
        """Train both players on one batch.

        Args:
            real: Real samples, shape (n, ...).
            labels: Their labels, shape (n,), for players that take labels; the fake batch gets the same.

        Returns:
            Both losses, the penalty and the mean logits.
        """
        generator, discriminator = self.models["generator"], self.models["discriminator"]
        condition = () if labels is None else (labels,)
        fake = generator(self._draw(len(real), real.device, self._random), *condition)

        logits, penalty = self._judge(real, fake.detach(), condition)
        d_loss = self.loss.discriminator(*logits).mean()
        self._descend("discriminator", d_loss + penalty)

        learning = [parameter for parameter in discriminator.parameters() if parameter.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(False)
        try:
            g_loss = self.loss.generator(logits[0].detach(), _logits(discriminator(fake, *condition))).mean()
            self._descend("generator", g_loss)
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)
        self._average()
        return GameStep(*(value.item() for value in (d_loss, g_loss, penalty, logits[0].mean(), logits[1].mean())))

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """Draw samples from the averaged generator.

        Args:
            n: Number of samples.
            labels: Their labels, shape (n,), for a generator that takes labels.
            random: Where the latent draws come from; the game's own stream otherwise.
        """
        parameter = next(self.average.parameters())
        z = self._draw(n, parameter.device, random or self._random)
        sample: Tensor = self.average(z) if labels is None else self.average(z, labels)
        return sample

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "models": {name: model.state_dict() for name, model in self.models.items()},
            "average": self.average.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "schedules": {name: schedule.state_dict() for name, schedule in self._schedules.items()},
            "random": self._random.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state; the next step is the one that would have followed it."""
        for kind, holders in (("models", self.models), ("optimizers", self.optimizers), ("schedules", self._schedules)):
            for name, holder in holders.items():
                holder.load_state_dict(state[kind][name])
        self.average.load_state_dict(state["average"])
        self._random.set_state(state["random"])

    def _judge(self, real: Tensor, fake: Tensor, condition: tuple[Tensor, ...]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the logits of both batches, and the sum of the penalties."""
        sides = {"real": real, "fake": fake}
        watched = {penalty.side for penalty in self.penalties if penalty.weight}
        for side in watched:
            sides[side] = sides[side].detach().requires_grad_()
        logits = {side: _logits(self.models["discriminator"](x, *condition)) for side, x in sides.items()}
        gradients = {
            side: torch.autograd.grad(logits[side].sum(), sides[side], create_graph=True)[0] for side in sorted(watched)
        }
        terms = [penalty(gradients[penalty.side]) for penalty in self.penalties if penalty.weight]
        return (logits["real"], logits["fake"]), sum(terms, torch.zeros((), device=real.device))

    def _descend(self, player: str, loss: Tensor) -> None:
        self.optimizers[player].zero_grad()
        loss.backward()
        self.optimizers[player].step()
        self._schedules[player].step()

    def _draw(self, n: int, device: torch.device, random: torch.Generator) -> Tensor:
        if callable(self._latent):
            return self._latent(n)
        return torch.randn(n, self._latent, generator=random).to(device)

    @torch.no_grad()
    def _average(self) -> None:
        source = self.models["generator"]
        torch._foreach_lerp_(list(self.average.parameters()), list(source.parameters()), 1 - self._ema)
        for mine, theirs in zip(self.average.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)


def _logits(output: Tensor) -> Tensor:
    return output.squeeze(1) if output.dim() == 2 else output


def _cosine(optimizer: torch.optim.Optimizer, steps: int | None) -> LambdaLR:
    return LambdaLR(
        optimizer, lambda step: 1.0 if steps is None else (1 + math.cos(math.pi * min(step / steps, 1))) / 2
    )
