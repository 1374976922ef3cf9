"""One candidate's training: a method on both domains, looked at on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradtape import seeding
from gradtape.adaptation.methods import Method
from gradtape.adaptation.validators import Outputs
from gradtape.runs import SeriesStore
from gradtape.tracking import Finding, track
from gradtape.training import Checkpoint, Loop, Progress, evaluating

_WINDOWS = 200  # points of a course
_ROWS = 2000  # the most rows of a domain that a look takes


class Domains(NamedTuple):
    """Both domains as the networks see them.

    Attributes:
        source: Inputs to train on, (n, ...).
        labels: Theirs, (n,): classes from 0 up, or standardised numbers.
        domains: Which source each is from, (n,).
        validation: Inputs of the source kept from training.
        validation_labels: Theirs.
        target: Inputs of the target, (m, ...), or None.
        known: What is known of the target's labels, (m,), or None.
        gaps: Which of the target's numbers are missing, (m, d), or None.
        nothing: What a row of missing values is, (d,), or None.
        weights: How often each row of the source is drawn, (n,), or None for all alike.
    """

    source: Tensor
    labels: Tensor
    domains: Tensor
    validation: Tensor
    validation_labels: Tensor
    target: Tensor | None = None
    known: Tensor | None = None
    gaps: Tensor | None = None
    nothing: Tensor | None = None
    weights: Tensor | None = None


class Plan(NamedTuple):
    """How a candidate is trained.

    Attributes:
        steps: Number of steps.
        batch_size: Rows of each domain in a batch.
        learning_rate: Of AdamW, at the start of the cosine.
        looks: How often it is looked at.
        seed: Of everything random.
    """

    steps: int
    batch_size: int
    learning_rate: float
    looks: int
    seed: int


class Look(NamedTuple):
    """What a candidate was at a step.

    Attributes:
        step: The step.
        scores: Validator -> score, higher is better.
        answers: Logits of the target's rows that a look takes, (m, k).
        state: Weights.
    """

    step: int
    scores: dict[str, float]
    answers: Tensor
    state: dict[str, Tensor]


class Trained(NamedTuple):
    """What came of a training.

    Attributes:
        looks: In the order of the steps; the last is the end.
        course: Name -> figures of the method, means of windows; ``step`` are the windows' ends.
        findings: Of the tracker, where there was one.
    """

    looks: list[Look]
    course: dict[str, list[float]]
    findings: list[Finding]


class _Kept:
    """What has been seen so far, as something a checkpoint can hold."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self.course: dict[str, list[float]] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"looks": [look._asdict() for look in self.looks], "course": self.course}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.looks, self.course = [Look(**look) for look in state_dict["looks"]], state_dict["course"]


def fit(
    method: Method,
    data: Domains,
    plan: Plan,
    judge: Callable[[Outputs], dict[str, float]],
    *,
    checkpoint: Checkpoint | None = None,
    store: SeriesStore | None = None,
    player: str = "model",
    progress: Progress | None = None,
) -> Trained:
    """Train a method in place with AdamW, the learning rate falling to zero along a cosine.

    What a step draws depends on the seed and its number alone.

    Args:
        method: What is trained.
        data: Both domains.
        plan: How.
        judge: From what validators may see to their scores.
        checkpoint: Where to save the state.
        store: Where gradients are tracked; None tracks nothing.
        player: Name in the store.
        progress: Told of every step.
    """
    optimizer = torch.optim.AdamW(method.parameters(), lr=plan.learning_rate, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps)
    kept = _Kept()
    window = max(1, plan.steps // _WINDOWS)
    sums: dict[str, Tensor] = {}

    def step(number: int) -> None:
        strength = torch.tensor(method.strength)  # a call moves it on
        seeding.reseed(data.source.device, plan.seed, "noise", number)  # of dropout and its kin
        loss = method(*_batch(data, plan, number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        for name, value in {**method.figures, "strength": strength}.items():
            sums[name] = sums.get(name, 0) + value
        if (number + 1) % window == 0:
            for name, value in sums.items():
                kept.course.setdefault(name, []).append(float(value) / window)
            kept.course.setdefault("step", []).append(float(number + 1))
            sums.clear()
        if number + 1 in moments(plan):
            outputs = outputs_of(method, data)
            weights = {name: value.detach().cpu().clone() for name, value in method.state_dict().items()}
            kept.looks.append(Look(number + 1, judge(outputs), torch.from_numpy(outputs.target_logits), weights))
        if tracker is not None:
            tracker.log("loss", loss)

    tracker = None if store is None else track({player: method}, {player: optimizer}, store, budget=None)
    state: dict[str, Any] = {"method": method, "optimizer": optimizer, "schedule": schedule, "kept": kept}
    method.train()
    try:
        with torch.random.fork_rng([data.source.device] if data.source.is_cuda else []):
            Loop(step, plan.steps, state, checkpoint=checkpoint, tracker=tracker, progress=progress).run()
    finally:
        if tracker is not None:
            tracker.close()
    method.eval()
    return Trained(kept.looks, kept.course, [] if tracker is None else list(tracker.findings))


def moments(plan: Plan) -> set[int]:
    """Return the numbers of steps after which is looked; the last step is one."""
    return {max(1, round(plan.steps * (look + 1) / plan.looks)) for look in range(plan.looks)}


def _batch(data: Domains, plan: Plan, number: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor]:
    random = seeding.generator(plan.seed, "batch", number)
    device = data.source.device
    if data.weights is None:
        rows = torch.randint(len(data.source), (plan.batch_size,), generator=random)
    else:
        rows = torch.multinomial(data.weights, plan.batch_size, replacement=True, generator=random)
    rows = rows.to(device)
    xs, ys, domains = data.source[rows], data.labels[rows], data.domains[rows]
    if data.target is None:
        return xs, ys, None, None, domains
    other = torch.randint(len(data.target), (plan.batch_size,), generator=random).to(device)
    if data.gaps is not None and data.nothing is not None:  # the source learns to do without what the target lacks
        xs = torch.where(data.gaps[other], data.nothing, xs)
    return xs, ys, data.target[other], None if data.known is None else data.known[other], domains


def outputs_of(method: Method, data: Domains) -> Outputs:
    """Return what validators may see; there are no labels of the target in it."""
    parts = [data.source, data.validation, data.validation[:0] if data.target is None else data.target]
    train, source, target = (x[torch.from_numpy(evenly(len(x))).to(x.device)] for x in parts)
    (z, _), (zs, logits), (zt, answers) = (seen(method, x) for x in (train, source, target))
    labels = data.validation_labels.cpu().numpy()[evenly(len(data.validation))]
    return Outputs(source.cpu().numpy(), zs, logits, labels, z, target.cpu().numpy(), zt, answers)


def seen(method: Method, x: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features (n, d) and logits (n, k) of inputs, in eval mode."""
    parts: list[tuple[Tensor, Tensor]] = []
    with evaluating(method), torch.no_grad():
        for batch in x.split(1024):
            z = method.features_of(batch)
            parts.append((z, method.answer(z)))
    features, logits = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return features, logits


def evenly(n: int) -> NDArray[np.int64]:
    """Return the rows that a look takes, spread evenly, of n."""
    return np.linspace(0, max(0, n - 1), min(n, _ROWS)).round().astype(np.int64)
