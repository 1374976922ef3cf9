"""Healthy trainings of many kinds, in which no rule may speak.

Each is a function of a seed. These were in view while the rules were written; those of ``held_out.py`` were not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.calibration import nets
from benchmarks.calibration.data import Batch, Draw, digits, mnist, passages, rows
from benchmarks.calibration.games import HEALTHY_GAMES
from benchmarks.calibration.training import Trainee, Training, falls_to
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    smooth_l1_loss,
)
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, StepLR

import gradtape as gt
from gradtape.nets import ImageClassifier

STEPS = 600
Make = Callable[[int], Trainee]


def stream(seed: int) -> torch.Generator:
    """Seed what initialises weights, and return the stream of the batches."""
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed + 1000)


def classify(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy."""
    return cross_entropy(model(batch[0]), batch[1])


def on_digits(seed: int, size: int = 16) -> Draw:
    """Seed everything and draw digits."""
    return rows(digits(), size, stream(seed))


def warm_up(optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
    """Raise the learning rate in a straight line."""
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / steps))


def mlp_momentum(seed: int) -> Training:
    draw = on_digits(seed)
    model = nets.mlp(64, 32, 32, 10)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), draw, classify)


def mlp_sgd(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.mlp(64, 32, 32, 10)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.1), draw, classify, log=False)


def deep_relu(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.mlp(64, *[24] * 10, 10)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return Training(model, torch.optim.Adam(model.parameters(), lr=1e-3), draw, classify)


def sigmoid_mlp(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.mlp(64, 32, 32, 10, activation=nn.Sigmoid)
    return Training(model, torch.optim.Adam(model.parameters(), lr=1e-2), draw, classify)


def conv_cosine(seed: int) -> Training:
    draw = on_digits(seed)
    model = ImageClassifier((1, 8, 8), 10, width=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    return Training(model, optimizer, draw, classify, schedules=[CosineAnnealingLR(optimizer, STEPS)])


def zero_branches(seed: int) -> Training:
    """Branches that begin at zero, as transformers have them: their first gradients are tiny, and grow."""
    draw = on_digits(seed)
    model = nets.residual_mlp(2, zero=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    return Training(model, optimizer, draw, classify, schedules=[warm_up(optimizer, 200)])


def residual_adamw(seed: int) -> Training:
    draw = on_digits(seed)
    model = nets.residual_mlp(3)
    return Training(model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), draw, classify)


def gru_adam(seed: int) -> Training:
    draw = on_digits(seed)
    model = nets.Recurrent()
    return Training(model, torch.optim.Adam(model.parameters(), lr=3e-3), draw, classify)


def vanilla_rnn(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.Recurrent(nn.RNN, 24, nonlinearity="relu")
    return Training(model, torch.optim.RMSprop(model.parameters(), lr=1e-3), draw, classify, clip=1.0)


def lstm_text(seed: int) -> Training:
    draw = passages(24, 16, stream(seed))
    model = nets.CharModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Training(model, optimizer, draw, classify, clip=1.0, check=falls_to(0.72))


def gpt(seed: int) -> Training:
    draw = passages(24, 16, stream(seed))
    model = nets.GPT()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    groups = [
        {"params": decayed, "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer, [warm_up(optimizer, 60), CosineAnnealingLR(optimizer, STEPS - 60)], [60]
    )
    return Training(model, optimizer, draw, classify, schedules=[schedule], clip=1.0, check=falls_to(0.72))


def vit_smoothing(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)

    schedule = OneCycleLR(optimizer, 4e-3, total_steps=STEPS + 1)
    return Training(model, optimizer, draw, loss, schedules=[schedule])


def resnet_mnist(seed: int) -> Training:
    draw = rows(mnist(), 16, stream(seed))
    model = nets.resnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = OneCycleLR(optimizer, 0.2, total_steps=STEPS + 1)
    return Training(model, optimizer, draw, classify, schedules=[schedule])


def batch_norm_dropout(seed: int) -> Training:
    draw = on_digits(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), draw, classify)


def frozen_backbone(seed: int) -> Training:
    draw = on_digits(seed)
    model = nets.mlp(64, 64, 32, 10)
    model[1].requires_grad_(False)  # still among the optimizer's parameters, as many scripts have it
    return Training(model, torch.optim.Adam(model.parameters(), lr=3e-3), draw, classify)


def overfit_few(seed: int) -> Training:
    draw = rows(tuple(part[:20] for part in digits()), 16, stream(seed))
    model = nets.mlp(64, 32, 10)
    return Training(model, torch.optim.AdamW(model.parameters(), lr=1e-2), draw, classify, check=falls_to(0.05))


def noisy_regression(seed: int) -> Training:
    stream(seed)
    x = torch.randn(32, 4)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [1.0]]) + 0.7 * torch.randn(32, 1)  # a floor that no loss falls below
    model = nn.Linear(4, 1)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda: (x, y), regress, check=falls_to(0.6))


def regress(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error."""
    return mse_loss(model(batch[0]), batch[1])


def exact_regression(optimizer: Callable[..., torch.optim.Optimizer], log: bool, seed: int) -> Training:
    stream(seed)
    x = torch.randn(32, 4)
    y = x @ torch.randn(4, 1) + 0.7
    model = nn.Linear(4, 1)
    return Training(
        model, optimizer(model.parameters()), lambda: (x, y), regress, log=log, check=falls_to(0.05, first=1)
    )


def autoencoder(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.mlp(64, 32, 8, 32, 64, activation=nn.Tanh)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return mse_loss(model(batch[0]), batch[0].flatten(1))

    return Training(model, torch.optim.RMSprop(model.parameters(), lr=1e-3), draw, loss, check=falls_to(0.4))


def vae(seed: int) -> Training:
    draw = on_digits(seed, 32)
    model = nets.VAE()

    def loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, mean, log_variance = model(batch[0])
        pixels = binary_cross_entropy_with_logits(logits, batch[0].flatten(1), reduction="sum") / len(mean)
        excess = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / (2 * len(mean))
        return {"pixels": pixels, "code": excess}

    return Training(model, torch.optim.Adam(model.parameters(), lr=2e-3), draw, loss, check=falls_to(0.72))


def words_adagrad(seed: int) -> Training:
    draw = passages(6, 32, stream(seed))
    model = nets.Words()
    return Training(model, torch.optim.Adagrad(model.parameters(), lr=0.1), draw, next_symbol, check=falls_to(0.85))


def next_symbol(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of the symbol after the window."""
    return cross_entropy(model(batch[0]), batch[1][:, -1])


def words_sparse(seed: int) -> Training:
    draw = passages(6, 64, stream(seed))
    model = nets.Words(sparse=True)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.5), draw, next_symbol, check=falls_to(0.88))


def accumulated(seed: int) -> Training:
    draw = on_digits(seed, 4)
    model = nets.residual_mlp(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return Training(model, optimizer, draw, classify, accumulate=4, clip=1.0)


def bf16_autocast(seed: int) -> Training:
    draw = on_digits(seed)
    model = ImageClassifier((1, 8, 8), 10, width=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Training(model, optimizer, draw, classify, autocast=torch.bfloat16)


def fp16_scaler(seed: int) -> Training:
    draw = on_digits(seed)
    model = nets.mlp(64, 32, 32, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=100)  # the first steps overflow, as usual
    return Training(model, optimizer, draw, classify, autocast=torch.float16, scaler=scaler)


def batches_of_two(seed: int) -> Training:
    draw = on_digits(seed, 2)
    model = nets.mlp(64, 48, 10)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.03), draw, classify)


def domain_adversarial(seed: int) -> Training:
    x, y = digits()
    draw = rows((x, y), 32, stream(seed))
    model = nets.DomainAdversarial(gt.schedules.dann(STEPS, strength=0.1))

    def loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        images = torch.cat([batch[0], 1 - 0.5 * batch[0].flip(3)])
        domain = (torch.arange(len(images)) >= len(batch[0])).float()
        scores, logit = model(images)
        model.reversal.step()
        return {
            "task": cross_entropy(scores[: len(batch[0])], batch[1]),
            "domain": binary_cross_entropy_with_logits(logit, domain),
        }

    return Training(model, torch.optim.Adam(model.parameters(), lr=2e-3), draw, loss, check=falls_to(0.6))


def two_tasks(seed: int) -> Training:
    """The digit, and whether it is even and large: two losses that mostly agree."""
    draw = on_digits(seed, 32)
    model = nets.TwoHeads()

    def loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        first, second = model(batch[0])
        return {"digit": cross_entropy(first, batch[1]), "parity": cross_entropy(second, batch[1] % 2)}

    return Training(model, torch.optim.Adam(model.parameters(), lr=2e-3), draw, loss)


def fine_tuned(seed: int) -> Training:
    """Trained on the digits 0 to 4 first; tracked is what follows on 5 to 9, with a lower rate below."""
    random = stream(seed)
    x, y = digits()
    model = nets.mlp(64, 48, 32, 5)
    first = Training(
        model, torch.optim.Adam(model.parameters(), lr=3e-3), rows((x[y < 5], y[y < 5]), 32, random), classify
    )
    for _ in range(150):
        first.step(None)
    nn.init.xavier_uniform_(model[-1].weight)
    groups = [{"params": model[1:-1].parameters(), "lr": 3e-4}, {"params": model[-1].parameters(), "lr": 3e-3}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    draw = rows((x[y >= 5], y[y >= 5] - 5), 32, random)
    return Training(model, optimizer, draw, classify, schedules=[StepLR(optimizer, 400, 0.1)])


def validated(seed: int) -> Training:
    """The last 400 digits are held out, and their loss is logged."""
    random = stream(seed)
    x, y = digits()
    model = nets.mlp(64, 64, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    return Training(model, optimizer, rows((x[:-400], y[:-400]), 32, random), classify, held_out=(x[-400:], y[-400:]))


def huber_outliers(seed: int) -> Training:
    """Regression on rows of which one in thirty is an outlier: its gradients have heavy tails."""
    random = stream(seed)
    x = torch.randn(600, 6)
    y = (x[:, :1] - 2 * x[:, 1:2]).tanh() * 2 + 0.1 * torch.randn(600, 1)
    y[::30] += 15 * torch.randn(20, 1)
    model = nets.mlp(6, 32, 32, 1)
    draw = rows((x, y), 16, random)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return smooth_l1_loss(model(batch[0]), batch[1])

    return Training(model, torch.optim.Adam(model.parameters(), lr=2e-3), draw, loss, check=falls_to(0.7))


HEALTHY: dict[str, Make] = {
    "MLP, SGD with momentum": mlp_momentum,
    "deep ReLU MLP, Adam": deep_relu,
    "branches that begin at zero, AdamW, warm-up": zero_branches,
    "convolutions, Adam, cosine to zero": conv_cosine,
    "residual MLP with layer norm, AdamW": residual_adamw,
    "GRU, Adam": gru_adam,
    "LSTM on text, Adam, clipping": lstm_text,
    "RNN with ReLU, RMSprop, clipping": vanilla_rnn,
    "GPT with tied weights, AdamW, warm-up and cosine, clipping": gpt,
    "ResNet with batch norm on MNIST, Nesterov, one cycle": resnet_mnist,
    "batch norm and dropout, SGD with momentum": batch_norm_dropout,
    "vision transformer, label smoothing, AdamW, one cycle": vit_smoothing,
    "frozen backbone in the optimizer": frozen_backbone,
    "batches of two, SGD": batches_of_two,
    "a few samples learnt by heart, AdamW": overfit_few,
    "sigmoid MLP, Adam": sigmoid_mlp,
    "regression to a floor of noise, SGD": noisy_regression,
    "regression with outliers, Adam": huber_outliers,
    "regression to zero loss, SGD": partial(exact_regression, partial(torch.optim.SGD, lr=0.2), True),
    "regression to zero loss, Adam, loss not logged": partial(
        exact_regression, partial(torch.optim.Adam, lr=0.05), False
    ),
    "autoencoder, RMSprop": autoencoder,
    "variational autoencoder, Adam": vae,
    "bag of words, Adagrad": words_adagrad,
    "bag of words with sparse gradients, SGD": words_sparse,
    "gradients accumulated over four batches, AdamW": accumulated,
    "autocast to bfloat16, Adam": bf16_autocast,
    "gradient scaler and float16, SGD with momentum": fp16_scaler,
    "domain-adversarial network, Adam": domain_adversarial,
    "two tasks, Adam": two_tasks,
    "fine-tuning with a lower rate below, AdamW": fine_tuned,
    "MLP, SGD, loss not logged": mlp_sgd,
    "MLP with validation, AdamW": validated,
    **HEALTHY_GAMES,
}
