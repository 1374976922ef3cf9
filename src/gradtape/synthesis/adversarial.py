"""Samples of a class-conditional generator, trained against a discriminator on the real samples."""

from __future__ import annotations

import torch

from gradtape import seeding
from gradtape.games import GAN, R1, R2
from gradtape.nets import ImageDiscriminator, ImageGenerator
from gradtape.synthesis.maker import Descent, Maker, Real, Samples, Workplace, one_hot, parents_of, weights_hash
from gradtape.training import Progress, play

_LATENT = 32
_BATCH = 64
_COST = 2.0  # of a game step, in steps of a classifier


class Adversarial(Maker):
    """Train a conditional generator by the game step, draw from its moving average."""

    name = "adversarial"
    title = "class-conditional adversarial generator"

    def work(self, steps: int) -> float:
        """Return the work of ``steps`` game steps."""
        return _COST * steps

    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return ``n`` draws from the generator."""
        device = real.images.device
        channels, height, width = real.images.shape[1:]
        shape = (channels, height, width)
        hidden = 128 if real.images[0].numel() <= 256 else 256
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.derive(seed, "weights"))
            game = GAN(
                ImageGenerator(shape, real.classes, _LATENT, hidden).to(device),
                ImageDiscriminator(shape, real.classes, hidden).to(device),
                loss="relativistic",
                latent=_LATENT,
                penalties=[R1(1.0), R2(1.0)],
                lr=2e-3,
                steps=workplace.steps,
                seed=seed,
            )
        play(
            game,
            real.images,
            real.labels,
            steps=workplace.steps,
            batch_size=_BATCH,
            seed=seed,
            store=workplace.series,
            player=workplace.player,
            checkpoint=workplace.checkpoint,
            progress=_Weighted(workplace.progress),
        )
        labels = real.labels[parents_of(real, n)]
        images = game.sample(n, labels, seeding.generator(seed, "samples"))
        descent = [Descent(objective="adversarial", settings={"draw": index}) for index in range(n)]
        return Samples(images, one_hot(labels, real.classes), descent, weights_hash(game.average))


class _Weighted:
    """A progress to which a step of the game counts as ``_COST``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, name: str) -> None:
        """Hand the stage on."""
        self._progress.stage(name)

    def advance(self, work: float) -> None:
        """Hand the work on."""
        self._progress.advance(_COST * work)
