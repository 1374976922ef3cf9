"""Adversarial games, healthy ones; ``planted.py`` breaks them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.calibration import nets
from benchmarks.calibration.data import digits, modes_found, ring, rows
from benchmarks.calibration.training import Game
from torch import Tensor, nn

import gradtape as gt
from gradtape.nets import PointDiscriminator, PointGenerator


def perceptron(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Return a player for points in the plane."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


def on_ring(seed: int) -> tuple[Tensor, Tensor]:
    """Return points of the ring that stand for those that are trained on, and others."""
    random = torch.Generator().manual_seed(seed + 2000)
    return ring(1000, random)()[0], ring(500, random)()[0]


def some_digits(seed: int, n: int | None = None) -> tuple[Tensor, Tensor]:
    """Return ``n`` digits to train on, else all but 400, and those 400."""
    x = digits()[0]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + 2000))
    return x[order[400:][:n]], x[order[:400]]


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
        on_ring(seed),
        latent=8,
        penalties=penalties,
        lr=2e-3,
        ema=0.95,
        steps=600,
        solver="alternating",
        seed=seed,
    )


def ring_nonsaturating(seed: int) -> Game:
    torch.manual_seed(seed)
    draw = ring(128, torch.Generator().manual_seed(seed + 1000))
    generator, critic = perceptron(8, 2), perceptron(2, 1)
    settings = {"loss": "nonsaturating", "penalties": [gt.R1(0.05)], "lr": 2e-3, "ema": 0.98}
    return Game(generator, critic, draw, covers(7, 0.45), on_ring(seed), latent=8, seed=seed, **settings)


def looks_like_digits(samples: Tensor) -> bool:
    """Healthy if the mean image is near the digits' and samples vary at least half as much as they do."""
    x = digits()[0]
    near = (samples.mean(0) - x.mean(0)).abs().mean() < 0.1
    return bool(near and samples.std(0).mean() > 0.5 * x.std(0).mean())


def digits_dcgan(seed: int, n: int | None = None) -> Game:
    torch.manual_seed(seed)
    known = some_digits(seed, n)
    draw = rows(known[:1], 32, torch.Generator().manual_seed(seed + 1000))
    generator, critic = nets.conv_generator(), nets.conv_discriminator()
    settings = {"latent": 16, "penalties": [gt.R1(0.5), gt.R2(0.5)], "lr": 2e-3, "ema": 0.95, "seed": seed}
    return Game(generator, critic, draw, looks_like_digits, known, **settings)


def few_digits(seed: int) -> Game:
    return digits_dcgan(seed, 300)


def grid(size: int, random: torch.Generator) -> Tensor:
    """Return points of 25 Gaussians on a grid, about standardised."""
    places = torch.randint(25, (size,), generator=random)
    centres = (torch.stack([places // 5, places % 5], dim=1).float() - 2) / 2**0.5
    return centres + 0.05 * torch.randn(size, 2, generator=random)


def on_grid(samples: Tensor) -> bool:
    """Healthy if samples are near at least 15 of the 25 centres."""
    places = (samples * 2**0.5).round()
    near = (samples * 2**0.5 - places).norm(dim=1) < 0.35
    inside = (places.abs() <= 2).all(1)
    return len(torch.unique(places[near & inside], dim=0)) >= 15


def few_on_grid(seed: int) -> Game:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed + 2000)
    known = grid(400, random), grid(400, random)
    draw = rows(known[:1], 64, torch.Generator().manual_seed(seed + 1000))
    generator, critic = PointGenerator(2, latent=8, width=64), PointDiscriminator(2, width=64)
    return Game(generator, critic, draw, on_grid, known, latent=8, lr=2e-3, ema=0.95, steps=600, seed=seed)


HEALTHY_GAMES: dict[str, Callable[[int], Game]] = {
    "GAN on a ring, relativistic, R1 and R2, cosine": ring_relativistic,
    "GAN on a ring, non-saturating, R1": ring_nonsaturating,
    "DCGAN on digits, relativistic, R1 and R2": digits_dcgan,
    "DCGAN on 300 digits, relativistic, R1 and R2": few_digits,
    "GAN on 400 points of a grid, mixture, R1 and R2 that fade": few_on_grid,
}
