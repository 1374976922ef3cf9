"""Healthy trainings that nobody looked at while the rules were written."""

from __future__ import annotations

import torch
from benchmarks.calibration import healthy, nets
from benchmarks.calibration.data import Batch, digits, passages, ring, rows
from benchmarks.calibration.games import covers, perceptron
from benchmarks.calibration.healthy import Make, classify, on_digits, stream
from benchmarks.calibration.training import Game, Training, falls_to
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, one_hot, triplet_margin_loss

import gradtape as gt


def gelu_nadam(seed: int) -> Training:
    draw = on_digits(seed, 24)
    model = nets.mlp(64, 40, 40, 40, 10, activation=nn.GELU)
    return Training(model, torch.optim.NAdam(model.parameters(), lr=2e-3, weight_decay=1e-4), draw, classify)


def group_norm_adamax(seed: int) -> Training:
    draw = on_digits(seed, 16)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.GroupNorm(2, 8),
        nn.SiLU(), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return Training(model, torch.optim.Adamax(model.parameters(), lr=4e-3), draw, classify)


def lstm_momentum(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.Recurrent(nn.LSTM, 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    return Training(model, optimizer, draw, classify, clip=0.5)


def gpt_rmsprop(seed: int) -> Training:
    draw = passages(16, 8, stream(seed))
    model = nets.GPT(depth=1)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return Training(model, optimizer, draw, classify, check=falls_to(0.8))


def mixed_samples(seed: int) -> Training:
    """Mixup: convex combinations of two batches, and of their labels."""
    draw, random = on_digits(seed, 32), torch.Generator().manual_seed(seed)
    model = nets.mlp(64, 64, 10)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch[0], one_hot(batch[1], 10).float()
        share = torch.rand(len(x), 1, generator=random) * 0.4
        mixed = (1 - share)[..., None, None] * x + share[..., None, None] * x.flip(0)
        return cross_entropy(model(mixed), (1 - share) * y + share * y.flip(0))

    return Training(model, torch.optim.Adam(model.parameters(), lr=2e-3), draw, loss)


def triplets(seed: int) -> Training:
    """An embedding learnt from triplets: many losses are exactly zero in the end."""
    x, y = digits()
    random = stream(seed)
    model = nets.mlp(64, 48, 16)
    by_class = [torch.nonzero(y == k)[:, 0] for k in range(10)]

    def pick(members: Tensor) -> Tensor:
        return members[torch.randint(len(members), (), generator=random)]

    def draw() -> Batch:
        classes = torch.randint(10, (32,), generator=random).tolist()
        others = [(k + int(torch.randint(1, 10, (1,), generator=random))) % 10 for k in classes]
        picked = [torch.stack([pick(by_class[k]) for k in ks]) for ks in (classes, classes, others)]
        return tuple(x[chosen] for chosen in picked)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return triplet_margin_loss(*(model(part) for part in batch))

    return Training(model, torch.optim.Adam(model.parameters(), lr=1e-3), draw, loss)


def absolute_error(seed: int) -> Training:
    """Regression by the absolute error: its gradients do not shrink as it arrives."""
    random = stream(seed)
    x = torch.randn(500, 5)
    y = (x[:, :1] * x[:, 1:2]).tanh() + x[:, 2:3]
    model = nets.mlp(5, 48, 48, 1)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return l1_loss(model(batch[0]), batch[1])

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, amsgrad=True)
    return Training(model, optimizer, rows((x, y), 32, random), loss, check=falls_to(0.4))


def denoising(seed: int) -> Training:
    draw, random = on_digits(seed, 32), torch.Generator().manual_seed(seed)
    model = nets.mlp(64, 48, 64)
    model.insert(2, nn.Dropout(0.1))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        noise = 0.3 * torch.randn(batch[0].shape, generator=random)
        return mse_loss(model(batch[0] + noise), batch[0].flatten(1))

    return Training(model, torch.optim.AdamW(model.parameters(), lr=3e-3), draw, loss, check=falls_to(0.4))


def summed_loss(seed: int) -> Training:
    """The loss is summed over the batch, and the rate is as much smaller."""
    draw = on_digits(seed, 32)
    model = nets.mlp(64, 32, 32, 10, activation=nn.Tanh)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy(model(batch[0]), batch[1], reduction="sum")

    return Training(model, torch.optim.SGD(model.parameters(), lr=0.1 / 32, momentum=0.9), draw, loss)


def cosine_restarts(seed: int) -> Training:
    training = healthy.mlp_momentum(seed)
    optimizer = training.optimizer
    training.schedules = [torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 150)]
    return training


def ring_hinge(seed: int) -> Game:
    torch.manual_seed(seed)
    draw = ring(128, torch.Generator().manual_seed(seed + 1000))
    settings = {"loss": "hinge", "penalties": [gt.R1(0.1)], "lr": 1e-3, "ema": 0.97}
    return Game(perceptron(8, 2, 96), perceptron(2, 1, 96), draw, covers(6, 0.4), latent=8, seed=seed, **settings)


HELD_OUT: dict[str, Make] = {
    "GELU MLP, NAdam": gelu_nadam,
    "convolutions with group norm, Adamax": group_norm_adamax,
    "LSTM on digits, SGD with momentum, clipping": lstm_momentum,
    "GPT of one block, RMSprop": gpt_rmsprop,
    "mixup, Adam": mixed_samples,
    "triplets, Adam": triplets,
    "absolute error, AMSGrad": absolute_error,
    "denoising autoencoder with dropout, AdamW": denoising,
    "summed loss, tanh MLP, SGD with momentum": summed_loss,
    "cosine with restarts, SGD with momentum": cosine_restarts,
    "GAN on a ring, hinge, R1": ring_hinge,
}
