"""What a maker is: real samples in, new samples with their descent out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gradtape.evidence import hash_arrays
from gradtape.runs import SeriesStore
from gradtape.training import Checkpoint, Progress, Silent


class Real(NamedTuple):
    """The real samples to make new ones from.

    Attributes:
        images: Shape (n, c, h, w), in [0, 1].
        labels: Shape (n,).
        classes: Number of classes.
        model: A classifier trained on these samples alone.
    """

    images: Tensor
    labels: Tensor
    classes: int
    model: nn.Module


@dataclass(frozen=True)
class Descent:
    """Where one new sample comes from.

    Attributes:
        parents: Positions among the real samples; empty for a sample drawn from a model.
        node: The tape node that was moved.
        objective: Towards what.
        settings: Small values that tell this sample from others of the maker.
    """

    parents: tuple[int, ...] = ()
    node: str | None = None
    objective: str | None = None
    settings: Mapping[str, float | int | str] = field(default_factory=dict)


class Samples(NamedTuple):
    """New samples.

    Attributes:
        images: Shape (m, c, h, w), in [0, 1].
        targets: Class probabilities, shape (m, classes).
        descent: Where each comes from, length m.
        model: SHA-256 of the weights that made them; None where no model had a part.
    """

    images: Tensor
    targets: Tensor
    descent: Sequence[Descent]
    model: str | None


@dataclass(frozen=True)
class Workplace:
    """What a maker may use while it works.

    Attributes:
        steps: Number of training steps for makers that train.
        series: Where training is tracked.
        player: Name of the maker in the series.
        checkpoint: Where training saves its state.
        progress: Told of the work done, in steps.
    """

    steps: int
    series: SeriesStore | None = None
    player: str = "maker"
    checkpoint: Checkpoint | None = None
    progress: Progress = field(default_factory=Silent)


class Maker(ABC):
    """Makes new samples from real ones.

    Attributes:
        name: Its name in tables, files and on the command line.
        title: What it does, a few words.
        control: Whether it is a control that synthetic data must beat, not synthetic data itself.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    control: ClassVar[bool] = False

    def work(self, steps: int) -> float:
        """Return the work that ``make`` reports with so many training steps, in steps of a classifier."""
        return 0.0

    @abstractmethod
    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return ``n`` new samples, of the classes of the real ones in their proportion; same seed, same samples."""


def parents_of(real: Real, n: int) -> Tensor:
    """Return the positions of ``n`` parents: every real sample in turn, the rest by the shares of the classes."""
    labels, total = real.labels, len(real.labels)
    full = torch.arange(n - n % total, device=labels.device) % total
    sizes = torch.bincount(labels)
    by_class = labels.argsort(stable=True)
    within = torch.arange(total, device=labels.device) - (sizes.cumsum(0) - sizes)[labels[by_class]]
    turn = (within + 0.5) / sizes[labels[by_class]]  # Webster's rule: whoever has the smallest goes next
    rest = by_class[turn.argsort(stable=True)[: n % total]]
    return torch.cat([full, rest.sort().values])


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels (m,) as class probabilities (m, classes)."""
    return torch.nn.functional.one_hot(labels, classes).float()


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights and buffers."""
    return hash_arrays({name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()})
