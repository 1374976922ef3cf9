"""Samples of a class-conditional generator, trained against a discriminator on the real samples."""

from __future__ import annotations

import torch

from gradtape import seeding
from gradtape.games import GAN, R1, R2
from gradtape.nets import ImageDiscriminator, ImageGenerator
from gradtape.synthesis.maker import Descent, Maker, Real, Samples, Workplace, one_hot, parents_of, weights_hash
from gradtape.tracking import track
from gradtape.training import Loop
from gradtape.training.loop import RandomState, Stateful

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
        random = seeding.generator(seed, "batches")
        players = {f"{workplace.player}/{name}": name for name in game.models}
        tracker = None
        if workplace.series is not None:
            models = {player: game.models[name] for player, name in players.items()}
            optimizers = {player: game.optimizers[name] for player, name in players.items()}
            tracker = track(models, optimizers, workplace.series, budget=None)

        def step(number: int) -> None:
            rows = torch.randint(len(real.labels), (_BATCH,), generator=random).to(device)
            done = game.step(real.images[rows], real.labels[rows])
            if tracker is not None:
                for player, name in players.items():
                    tracker.log("loss", getattr(done, name), player)

        state: dict[str, Stateful] = {"game": game, "random": RandomState(random)}
        loop = Loop(
            step,
            workplace.steps,
            state,
            checkpoint=workplace.checkpoint,
            tracker=tracker,
            progress=workplace.progress,
            work=_COST,
        )
        try:
            loop.run()
        finally:
            if tracker is not None:
                tracker.close()
        labels = real.labels[parents_of(real, n)]
        images = game.sample(n, labels, seeding.generator(seed, "samples"))
        descent = [Descent(objective="adversarial", settings={"draw": index}) for index in range(n)]
        return Samples(images, one_hot(labels, real.classes), descent, weights_hash(game.average))
