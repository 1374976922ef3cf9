"""Training a classifier on samples with soft labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradtape.errors import InputError
from gradtape.runs import SeriesStore
from gradtape.seeding import generator as random_stream
from gradtape.seeding import reseed
from gradtape.tracking import track
from gradtape.training.loop import Checkpoint, Loop, RandomState, Stateful
from gradtape.training.progress import Progress

_BATCH = 64
_LEARNING_RATE = 3e-3


def train_classifier(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    steps: int,
    seed: int,
    validation: tuple[Tensor, Tensor] | None = None,
    series: SeriesStore | None = None,
    player: str = "model",
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> None:
    """Train a model in place with AdamW, the learning rate falling to zero along a cosine.

    Args:
        model: ``model(images) -> logits (n, classes)``; its initial weights are the caller's.
        images: Shape (n, c, h, w), on the model's device.
        targets: Probabilities, shape (n, classes).
        steps: Number of steps of 64 samples, drawn with replacement, at least 1.
        seed: Seed of the draws.
        validation: Images and labels whose accuracy is logged twenty times on the way.
        series: Where gradients, loss and accuracy are tracked; None tracks nothing.
        player: Name in the series.
        checkpoint: Where to save the state.
        progress: Told of every step.

    Raises:
        InputError: Images and targets of different number, or none.
    """
    if len(images) != len(targets) or not len(images):
        raise InputError(f"{len(images)} images and {len(targets)} targets", remedy="give one target per image")
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = random_stream(seed, "batches")
    every = max(1, steps // 20)

    def step(number: int) -> None:
        reseed(images.device, seed, "noise", number)  # of dropout and its kin
        rows = torch.randint(len(images), (_BATCH,), generator=random).to(images.device)
        loss = cross_entropy(model(images[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if tracker is not None:
            tracker.log("loss", loss)
            if validation is not None and ((number + 1) % every == 0 or number + 1 == steps):
                tracker.log("accuracy", (predict(model, validation[0]) == validation[1]).float().mean())

    state: dict[str, Stateful] = {
        "model": model,
        "optimizer": optimizer,
        "schedule": schedule,
        "random": RandomState(random),
    }
    tracker = None if series is None else track({player: model}, {player: optimizer}, series, budget=None)
    model.train()
    try:
        with torch.random.fork_rng([images.device] if images.is_cuda else []):
            Loop(step, steps, state, checkpoint=checkpoint, tracker=tracker, progress=progress).run()
    finally:
        if tracker is not None:
            tracker.close()
    model.eval()


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Return the most probable class of each image, shape (n,); the model's mode is left as it was."""
    return torch.cat([logits.argmax(1) for logits in _batches(model, images)])


@torch.no_grad()
def features(model: nn.Module, images: Tensor) -> Tensor:
    """Return what enters the model's last linear layer, shape (n, d).

    Raises:
        InputError: The model has no linear layer.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(f"{type(model).__name__} has no linear layer", remedy="use a model that ends with one")
    seen: list[Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    try:
        for _ in _batches(model, images):
            pass
    finally:
        handle.remove()
    return torch.cat(seen)


def _batches(model: nn.Module, images: Tensor) -> list[Tensor]:
    with evaluating(model):
        return [model(batch) for batch in images.split(1024)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode while the context lasts, then every module back in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
