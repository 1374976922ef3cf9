"""Adversarial games, healthy ones; ``planted.py`` breaks them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.calibration import nets
from benchmarks.calibration.data import digits, modes_found, ring, rows
from benchmarks.calibration.training import Game
from torch import Tensor, nn

import gradtape as gt


def perceptron(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Return a player for points in the plane."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


def covers(modes: int, share: float) -> Callable[[Tensor], bool]:
    """Healthy if samples are near so many modes, and this share of them near any."""

    def good(samples: Tensor) -> bool:
        found, near = modes_found(samples)
        return found >= modes and near >= share

    return good


def ring_relativistic(seed: int) -> Game:
    torch.manual_seed(seed)
    draw = ring(128, torch.Generator().manual_seed(seed + 1000))
    generator, critic = perceptron(8, 2), perceptron(2, 1)
    penalties = [gt.R1(0.02), gt.R2(0.02)]
    return Game(
        generator,
        critic,
        draw,
        covers(7, 0.45),
        latent=8,
        penalties=penalties,
        lr=2e-3,
        ema=0.95,
        steps=600,
        seed=seed,
    )


def ring_nonsaturating(seed: int) -> Game:
    torch.manual_seed(seed)
    draw = ring(128, torch.Generator().manual_seed(seed + 1000))
    generator, critic = perceptron(8, 2), perceptron(2, 1)
    settings = {"loss": "nonsaturating", "penalties": [gt.R1(0.05)], "lr": 2e-3, "ema": 0.98}
    return Game(generator, critic, draw, covers(7, 0.45), latent=8, seed=seed, **settings)


def looks_like_digits(samples: Tensor) -> bool:
    """Healthy if the mean image is near the digits' and samples vary at least half as much as they do."""
    x = digits()[0]
    near = (samples.mean(0) - x.mean(0)).abs().mean() < 0.1
    return bool(near and samples.std(0).mean() > 0.5 * x.std(0).mean())


def digits_dcgan(seed: int) -> Game:
    torch.manual_seed(seed)
    draw = rows(digits(), 32, torch.Generator().manual_seed(seed + 1000))
    generator, critic = nets.conv_generator(), nets.conv_discriminator()
    penalties = [gt.R1(0.5), gt.R2(0.5)]
    return Game(
        generator, critic, draw, looks_like_digits, latent=16, penalties=penalties, lr=2e-3, ema=0.95, seed=seed
    )


HEALTHY_GAMES: dict[str, Callable[[int], Game]] = {
    "GAN on a ring, relativistic, R1 and R2, cosine": ring_relativistic,
    "GAN on a ring, non-saturating, R1": ring_nonsaturating,
    "DCGAN on digits, relativistic, R1 and R2": digits_dcgan,
}
