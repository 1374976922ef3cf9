"""A training that can be run step by step, spoilt on the way, and told healthy or not by what it achieves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from benchmarks.calibration.data import Batch, Draw
from torch import Tensor, nn
from torch.optim import Optimizer

import gradtape as gt
from gradtape.tracking import Tracker
from gradtape.training._looks import Looks

_LOOK = 20  # steps from one look at a game to the next

Losses = Tensor | dict[str, Tensor]
Loss = Callable[[nn.Module, Batch], Losses]
Check = Callable[[list[float]], bool]


def falls_to(share: float, first: int = 10, last: int = 50) -> Check:
    """Healthy if the mean of the last losses is below ``share`` of the first ones' (of the lower of two readings)."""

    def check(losses: list[float]) -> bool:
        start = min(
            np.mean(losses[:first]), np.median(losses[:3])
        )  # an explosion in the first steps is no start to fall from
        return bool(np.mean(losses[-last:]) < share * start)

    return check


class Training:
    """An ordinary loop around one model.

    Everything is an attribute, so that a failure can be planted by changing it between two steps.

    Args:
        model: The model.
        optimizer: Its optimizer.
        draw: Gives a batch.
        loss: ``loss(model, batch)``: one loss, or name -> loss; then their sum is what is trained.
        schedules: What is stepped after each optimizer step.
        accumulate: Batches per optimizer step.
        clip: Norm at which gradients are clipped.
        autocast: Type of autocast on the CPU.
        scaler: A gradient scaler.
        log: Whether the loss is logged; the tracker catches it otherwise.
        held_out: A batch whose loss is logged as ``val_loss`` at every tenth step.
        check: Tells from the losses whether the training was healthy.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        draw: Draw,
        loss: Loss,
        *,
        schedules: Iterable[Any] = (),
        accumulate: int = 1,
        clip: float | None = None,
        autocast: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
        log: bool = True,
        held_out: Batch | None = None,
        check: Check | None = None,
    ) -> None:
        self.model, self.optimizer, self.draw, self.loss = model, optimizer, draw, loss
        self.schedules, self.accumulate, self.clip = list(schedules), accumulate, clip
        self.autocast, self.scaler, self.log = autocast, scaler, log
        self.held_out = held_out
        self.steps = 0
        self.check = check or falls_to(0.5)
        self.scale = 1.0  # of the loss
        self.zero_grad = True

    @property
    def models(self) -> dict[str, nn.Module]:
        """The players; one here."""
        return {"model": self.model}

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """Their optimizers."""
        return {"model": self.optimizer}

    @property
    def inner(self) -> nn.Module:
        """The model whose layers are named."""
        return self.model

    def parameter(self, name: str) -> Tensor:
        """Return a parameter's data by name, to be changed in place."""
        return self.model.get_parameter(name).data

    def step(self, tracker: Tracker | None) -> float:
        """Train on a batch; return its loss."""
        if self.zero_grad:
            self.optimizer.zero_grad()
        seen = 0.0
        for _ in range(self.accumulate):
            with nullcontext() if self.autocast is None else torch.autocast("cpu", self.autocast):
                losses = self.loss(self.model, self.draw())
            if isinstance(losses, dict):
                if tracker is not None and hasattr(tracker, "log_losses"):
                    tracker.log_losses(losses)
                losses = torch.stack(list(losses.values())).sum()
            total = self.scale * losses / self.accumulate
            seen += total.item()
            (total if self.scaler is None else self.scaler.scale(total)).backward()
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        for schedule in self.schedules:
            schedule.step()
        if self.log and tracker is not None:
            tracker.log("loss", seen)
        if self.held_out is not None and self.steps % 10 == 0 and tracker is not None:
            self.model.eval()
            with torch.no_grad():
                tracker.log("val_loss", float(self.loss(self.model, self.held_out)))
            self.model.train()
        self.steps += 1
        return seen

    def healthy(self, losses: list[float]) -> bool:
        """Whether the training achieved what such a training should."""
        return self.check(losses)


class Game:
    """A generator against a discriminator.

    Args:
        generator: Makes samples.
        critic: Judges them.
        draw: Gives a batch whose first part is real samples.
        good: ``good(samples)``: whether 500 samples of the averaged generator are what a healthy game ends in.
        known: Real samples that are trained on and real ones that are not: with them the game is looked at.
        settings: Of ``gt.GAN``.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        draw: Draw,
        good: Callable[[Tensor], bool],
        known: tuple[Tensor, Tensor] | None = None,
        **settings: Any,
    ) -> None:
        self.game = gt.GAN(generator, critic, **settings)
        self.draw, self.good = draw, good
        self.before_real: Callable[[Tensor], Tensor] = lambda x: x
        self.looks: Looks | None = None
        if known is not None:
            self.look_at(*known)

    def look_at(self, real: Tensor, held_out: Tensor) -> None:
        """Look at the game now and then, beside these."""
        self.looks = Looks(self.game, real, None, held_out, None, None, 0)

    @property
    def models(self) -> dict[str, nn.Module]:
        """Both players."""
        return self.game.models

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """Their optimizers."""
        return self.game.optimizers

    def parameter(self, name: str) -> Tensor:
        """Return a parameter's data by player and name, to be changed in place."""
        player, _, path = name.partition(".")
        return self.models[player].get_parameter(path).data

    def step(self, tracker: Tracker | None) -> float:
        """Train both on a batch; return the discriminator's loss."""
        done = self.game.step(self.before_real(self.draw()[0]))
        if tracker is not None:
            tracker.log("loss", done.generator, "generator")
            tracker.log("loss", done.discriminator, "discriminator")
            for name in ("real", "fake"):
                tracker.log(name, getattr(done, name), "discriminator")
            if self.looks is not None and self.game.position % _LOOK == 0:
                for (player, name), number in self.looks.measure()[1].items():
                    tracker.log(name, number, player)
        return done.discriminator

    def healthy(self, losses: list[float]) -> bool:
        """Whether its samples are good."""
        return self.good(self.game.sample(500))


Trainee = Training | Game
