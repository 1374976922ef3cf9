"""The game of unlearning: a predictor, and an adversary that guesses the attribute from what the predictor says."""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import Optimizer

from gradtape import seeding
from gradtape.transforms import Project, Reverse, before_step, schedules

Goal = Literal["demographic_parity", "equalised_odds"]
By = Literal["reversal", "projection"]

_PASSES = 15  # over the rows, where no number of steps is given
_LEAST_STEPS = 400
_RATE = 3e-3  # of both players: the adversary is the smaller and learns the faster
_ADVERSARY = 32  # its width
_SLOPE = 5.0  # of the ramp, which reaches half of the strength after a fifth of the steps: the predictor learns first
_DECAY = 0.995  # of the moving average of the predictor's weights


class Task(NamedTuple):
    """What is learnt and what is unlearnt.

    Attributes:
        x: Inputs, (n, d).
        y: Classes, (n,), integers from 0.
        attribute: Groups, (n,), integers from 0.
        goal: In what sense predictions shall not depend on the attribute.
    """

    x: Tensor
    y: Tensor
    attribute: Tensor
    goal: Goal


class Plan(NamedTuple):
    """How the game is played: the method, the width of the predictor, steps (None chooses), the batch, the seed."""

    by: By = "reversal"
    width: int = 64
    steps: int | None = None
    batch_size: int = 512
    seed: int = 0


class Game(nn.Module):
    """The predictor's logits of the class, and the adversary's of the attribute, which it draws from them.

    For equalised odds the adversary is told the true class, and reads the logits of each class on their own.
    """

    def __init__(self, inputs: int, classes: int, groups: int, goal: Goal, width: int, reversal: nn.Module) -> None:
        super().__init__()
        self.predictor = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)
        )
        self.reversal = reversal
        self.classes = classes
        self.told = goal == "equalised_odds"
        seen = classes * (classes + 1) if self.told else classes
        self.adversary = nn.Sequential(
            nn.Linear(seen, _ADVERSARY), nn.ReLU(), nn.Linear(_ADVERSARY, _ADVERSARY), nn.ReLU()
        ).append(nn.Linear(_ADVERSARY, groups))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and (n, groups) for inputs (n, d) and true classes (n,)."""
        logits = self.predictor(x)
        seen = self.reversal(logits - logits.mean(dim=1, keepdim=True))  # what softmax does not see, nobody sees
        if self.told:
            true = one_hot(y, self.classes).to(seen.dtype)
            seen = torch.cat([true, (true[:, :, None] * seen[:, None, :]).flatten(1)], dim=1)
        return logits, self.adversary(seen)


class Projection:
    """Sets the predictor's gradient to ``g - proj_h g - α h``, with h the gradient of the adversary's loss.

    The projection has one inner product over all of the predictor's parameters, ``⟨g, h⟩ / ⟨h, h⟩ · h``.

    Args:
        optimizer: The predictor's.
        strength: The factor α, a schedule.

    Source: Zhang, Lemoine and Mitchell, Mitigating Unwanted Biases with Adversarial Learning, AIES 2018.
    """

    def __init__(self, optimizer: Optimizer, strength: schedules.Schedule) -> None:
        self._parameters: list[Tensor] = [one for group in optimizer.param_groups for one in group["params"]]
        self._against = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._strength, self._position = strength, 0
        Project(self._against).on(optimizer)
        before_step(optimizer, self._push)

    def backward(self, loss: Tensor, adversary_loss: Tensor, adversary: nn.Module) -> None:
        """Give both players their gradients; the predictor's is turned when its optimizer steps."""
        found = torch.autograd.grad(adversary_loss, self._parameters, retain_graph=True)
        torch._foreach_copy_(self._against, found)
        adversary_loss.backward(inputs=list(adversary.parameters()), retain_graph=True)
        loss.backward(inputs=self._parameters)

    @torch.no_grad()
    def _push(self) -> None:
        for parameter, against in zip(self._parameters, self._against, strict=True):
            assert parameter.grad is not None
            parameter.grad.sub_(against, alpha=self._strength(self._position))
        self._position += 1


def train(task: Task, strength: float, plan: Plan) -> nn.Module:
    """Return a predictor that was trained against an adversary; at strength 0, alone.

    ``loss of the predictor - λ · weighted mean loss of the adversary``, where each group counts the same (for equalised
    odds, each group in each class), and λ climbs slowly from 0. The learning rate falls to 0 along a cosine, and what
    is returned is a moving average of the weights: the last steps of a game go round in circles.
    """
    classes, groups = int(task.y.max()) + 1, int(task.attribute.max()) + 1
    n = len(task.x)
    steps = plan.steps or max(_LEAST_STEPS, _PASSES * n // plan.batch_size)
    ramp = schedules.dann(steps, gamma=_SLOPE, strength=strength)
    reversal = Reverse(ramp) if plan.by == "reversal" else nn.Identity()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive(plan.seed, "unlearning", "weights"))
        game = Game(task.x.shape[1], classes, groups, task.goal, plan.width, reversal)
    average = copy.deepcopy(game.predictor).requires_grad_(False)
    optimizer = torch.optim.AdamW(game.predictor.parameters(), lr=_RATE, fused=True)
    rival = torch.optim.AdamW(game.adversary.parameters(), lr=_RATE, fused=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    projection = None
    if isinstance(reversal, Reverse):
        reversal.follow(optimizer)
    elif strength:
        projection = Projection(optimizer, ramp)
    cell = task.attribute + groups * task.y if game.told else task.attribute
    counts = torch.bincount(cell)
    weight = n / (counts > 0).sum() / counts[cell]
    random = seeding.generator(plan.seed, "unlearning", "batches")
    for step in range(steps):
        rows = torch.randint(n, (plan.batch_size,), generator=random)
        y = task.y[rows]
        optimizer.zero_grad()
        if strength:
            rival.zero_grad()
            logits, guesses = game(task.x[rows], y)
            loss = cross_entropy(logits, y)
            guessed = cross_entropy(guesses, task.attribute[rows], reduction="none")
            adversary_loss = (weight[rows] * guessed).mean()
            if projection is None:
                (loss + adversary_loss).backward()
            else:
                projection.backward(loss, adversary_loss, game.adversary)
            rival.step()
        else:
            cross_entropy(game.predictor(task.x[rows]), y).backward()
        optimizer.step()
        cosine.step()
        pace = 1 - min(_DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(game.predictor.parameters()), pace)
    return average
