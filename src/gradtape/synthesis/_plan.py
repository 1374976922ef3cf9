"""Which networks, which game and how long, for which data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import nn

from gradtape import seeding
from gradtape.games import GAN, R1, R2
from gradtape.nets import Condition, ConvDiscriminator, ConvGenerator, PointDiscriminator, PointGenerator
from gradtape.transforms import schedules

_WORK = 2000 * 28 * 28  # pixels times steps of a default training of images: about three minutes of one core
_STEPS = (400, 3000)  # the least and the most steps of a training of images
_POINT_STEPS = 10_000
_QUICK = 6  # times fewer steps
_PENALTY, _EVERY = (1.0, 0.1), 4  # weight of R1 and R2 on images at first and from half-time on; steps between two


@dataclass(frozen=True)
class Plan:
    """What is trained and how long; with the weights it makes the generator again.

    Args:
        kind: Kind of data.
        shape: Shape of one sample as the networks see it.
        classes: Number of classes, 0 without.
        attributes: Number of attributes, 0 without.
        latent: Size of z.
        width: Of the networks.
        steps: Of training.
        batch_size: Samples in a batch.
    """

    kind: Literal["images", "points"]
    shape: tuple[int, ...]
    classes: int
    attributes: int
    latent: int
    width: int
    steps: int
    batch_size: int

    @classmethod
    def of(
        cls,
        kind: Literal["images", "points"],
        shape: tuple[int, ...],
        *,
        classes: int,
        attributes: int,
        steps: int | None,
        quick: bool,
        batch_size: int | None,
        width: int | None,
    ) -> Self:
        """Choose what was not given by the kind and amount of data."""
        if kind == "points":
            default, wide, batch = _POINT_STEPS, 128, 256
        else:
            pixels = math.prod(shape[1:])
            default = min(max(_WORK // pixels, _STEPS[0]), _STEPS[1])
            wide, batch = 24, 64
        return cls(
            kind=kind,
            shape=tuple(shape),
            classes=classes,
            attributes=attributes,
            latent=64,
            width=width or wide,
            steps=steps or (default // _QUICK if quick else default),
            batch_size=batch_size or batch,
        )

    def generator(self) -> nn.Module:
        """Return a generator with fresh weights, from the global random state."""
        if self.kind == "points":
            return PointGenerator(self.shape[0], self.latent, self.width, condition=self._condition())
        channels, height, width = self.shape
        return ConvGenerator((channels, height, width), self.latent, self.width, self._condition())

    def game(self, seed: int, device: torch.device) -> GAN:
        """Return a fresh game; same seed, same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.derive(seed, "weights"))
            generator = self.generator().to(device)
            discriminator = self._discriminator().to(device)
        if self.kind == "points":
            return GAN(generator, discriminator, latent=self.latent, steps=self.steps, seed=seed)
        half = max(1, self.steps // 2)
        weight = schedules.cosine(*_PENALTY, total_steps=half)
        return GAN(
            generator,
            discriminator,
            latent=self.latent,
            penalties=[R1(weight, every=_EVERY), R2(weight, every=_EVERY)],
            lr=2e-3,
            betas=(0.0, schedules.cosine(0.9, 0.99, total_steps=half)),
            steps=self.steps,
            seed=seed,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Return what ``to_json`` was made from."""
        return cls(**{**plain, "shape": tuple(plain["shape"])})

    def _discriminator(self) -> nn.Module:
        if self.kind == "points":
            return PointDiscriminator(self.shape[0], self.width, condition=self._condition())
        channels, height, width = self.shape
        return ConvDiscriminator((channels, height, width), self.width * 4 // 3, self._condition())

    def _condition(self) -> Condition | None:
        if self.classes:
            return Condition(classes=self.classes, width=self.latent)
        return Condition(attributes=self.attributes, width=self.latent) if self.attributes else None
