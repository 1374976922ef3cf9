"""Healthy trainings of many kinds: no rule may speak."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import gradtape as gt
from gradtape.nets import ImageClassifier

STEPS = 400
Batch = Callable[[nn.Module], Tensor]


@cache
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


def batches(x: Tensor, y: Tensor, size: int = 16, loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy) -> Batch:
    draws = torch.Generator().manual_seed(4)

    def batch(model: nn.Module) -> Tensor:
        rows = torch.randint(len(x), (size,), generator=draws)
        return loss(model(x[rows]), y[rows])

    return batch


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(self.norm(x)).relu())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.squeeze(1))[0][:, -1])


def conv_adam_cosine() -> Iterator[object]:
    model = ImageClassifier((1, 8, 8), 10, width=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    return iter((model, optimizer, batches(*digits()), torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)))


def zero_initialised_warm_up() -> Iterator[object]:
    """Branches that begin at zero, as transformers have them: their first gradients are tiny, and grow."""
    blocks = [Residual(16) for _ in range(2)]
    for block in blocks:
        nn.init.zeros_(block.down.weight)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), *blocks, nn.LayerNorm(16), nn.Linear(16, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 200))
    return iter((model, optimizer, batches(*digits()), warm_up))


def mlp_momentum() -> Iterator[object]:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    return iter(
        (model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True), batches(*digits()), None)
    )


def residual_adamw() -> Iterator[object]:
    blocks = [Residual(16) for _ in range(3)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), *blocks, nn.LayerNorm(16), nn.Linear(16, 10))
    return iter((model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), batches(*digits()), None))


def recurrent_adam() -> Iterator[object]:
    model = Recurrent()
    return iter((model, torch.optim.Adam(model.parameters(), lr=3e-3, fused=True), batches(*digits()), None))


def frozen_backbone() -> Iterator[object]:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    model[1].requires_grad_(False)  # still among the optimizer's parameters, as many scripts have it
    return iter((model, torch.optim.Adam(model.parameters(), lr=3e-3, fused=True), batches(*digits()), None))


def batch_norm_conv() -> Iterator[object]:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    return iter(
        (model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True), batches(*digits()), None)
    )


def overfit_few() -> Iterator[object]:
    x, y = digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return iter((model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True), batches(x[:20], y[:20]), None))


def noisy_regression() -> Iterator[object]:
    x = torch.randn(32, 4)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [1.0]]) + torch.randn(32, 1)  # the loss cannot fall below about 1
    model = nn.Linear(4, 1)
    return iter((model, torch.optim.SGD(model.parameters(), lr=0.2), lambda model: mse_loss(model(x), y), None))


def regression(optimizer: Callable[..., torch.optim.Optimizer]) -> Callable[[], Iterator[object]]:
    def make() -> Iterator[object]:
        x = torch.randn(32, 4)
        y = x @ torch.randn(4, 1) + 0.7
        model = nn.Linear(4, 1)
        return iter((model, optimizer(model.parameters()), lambda model: mse_loss(model(x), y), None))

    return make


HEALTHY: dict[str, Callable[[], Iterator[object]]] = {
    "conv, Adam, cosine to zero": conv_adam_cosine,
    "branches that begin at zero, warm-up": zero_initialised_warm_up,
    "mlp, SGD with momentum": mlp_momentum,
    "deep residual with LayerNorm, AdamW": residual_adamw,
    "GRU, Adam": recurrent_adam,
    "frozen backbone in the optimizer": frozen_backbone,
    "conv with batch norm and dropout": batch_norm_conv,
    "a few samples learnt by heart": overfit_few,
    "regression to a floor of noise": noisy_regression,
    "regression to zero loss, SGD": regression(lambda p: torch.optim.SGD(p, lr=0.2)),
    "regression to zero loss, Adam": regression(lambda p: torch.optim.Adam(p, lr=0.05)),
}


@pytest.mark.parametrize(
    ("name", "log"), [(name, log) for name in HEALTHY for log in (True, False) if log or "regression" in name]
)
def test_a_healthy_training_raises_no_finding(name: str, log: bool) -> None:
    torch.manual_seed(0)
    model, optimizer, batch, schedule = HEALTHY[name]()
    losses = []
    with gt.track(model, optimizer, budget=None) as tracker:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = batch(model)
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.item())
            if log:
                tracker.log("loss", loss)
        assert tracker.findings == []
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])  # it is healthy indeed


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, outputs)
    )


def test_a_healthy_game_raises_no_finding() -> None:
    torch.manual_seed(0)
    generator, critic = perceptron(4, 2), perceptron(2, 1)
    game = gt.GAN(generator, critic, latent=4, penalties=[gt.R1(0.1), gt.R2(0.1)], lr=1e-3, decay_steps=STEPS)
    with gt.track(game.models, game.optimizers, budget=None) as tracker:
        for _ in range(STEPS):
            angle = torch.rand(64) * 6.2832
            step = game.step(torch.stack([angle.cos(), angle.sin()], dim=1))
            tracker.log("loss", step.generator, "generator")
            tracker.log("loss", step.discriminator, "discriminator")
        assert tracker.findings == []
