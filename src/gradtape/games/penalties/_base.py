"""What a penalty on the discriminator is, and what it is shown."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gradtape.errors import InputError

Weight = float | Callable[[int], float]
"""A number, or a schedule from the step's position, counted from 0, to a number."""


class Judged(NamedTuple):
    """What a discriminator said of one batch.

    Attributes:
        discriminator: From samples as they are shown to it, shape (n, ...), to their logits, shape (n,); conditions
            are bound in.
        real: Real samples as they were shown to it, after the views.
        fake: Generated samples likewise, without a graph to the generator.
        logits: ``"real"`` and ``"fake"`` -> logits, shape (n,), with their graph.
        slopes: ``"real"``, ``"fake"`` -> gradient of the summed logits with respect to the samples, with its graph;
            only the sides that some penalty asks for.
        position: The step, counted from 0.
        random: Where penalties draw from.
    """

    discriminator: Callable[[Tensor], Tensor]
    real: Tensor
    fake: Tensor
    logits: dict[str, Tensor]
    slopes: dict[str, Tensor]
    position: int
    random: torch.Generator


class Penalty(ABC):
    """A term that is added to the discriminator's loss.

    ``every · weight(position) · term``, due at each ``every``-th step: over a cycle it adds up to what it would be at
    every step (lazy regularisation), for a part of the work.

    Args:
        weight: A finite number of at least 0, or a schedule from the position in steps to such numbers.
        every: Steps from one term to the next, at least 1.

    Attributes:
        fakes: Whether the value depends on the discriminator's judgement of the generated samples; saying False
            where it does not saves a backward pass.
        slopes: The sides, of ``"real"`` and ``"fake"``, whose slopes it reads from what was judged.

    Raises:
        InputError: A weight or a cadence out of range.

    Examples:
        >>> class Drift(Penalty):
        ...     '''Mean squared logit of the real samples (Karras et al. 2018).'''
        ...
        ...     def term(self, judged: Judged) -> Tensor:
        ...         return judged.logits["real"].square().mean()
        >>> Drift(0.001)
        Drift(0.001)

    Source: lazy regularisation is of Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020.
    """

    fakes: ClassVar[bool] = True
    slopes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, weight: Weight = 0.1, every: int = 1) -> None:
        if not callable(weight):
            self._checked(weight)
        if not (isinstance(every, int) and every >= 1):
            raise InputError(f"every of {type(self).__name__} is {every!r}", remedy="give a whole number from 1 up")
        self.weight = weight
        self.every = every

    @abstractmethod
    def term(self, judged: Judged) -> Tensor:
        """Return the term without its weight, a scalar."""

    def __call__(self, judged: Judged) -> Tensor:
        """Return the penalty at ``judged.position``, a scalar: the term times its weight there, times ``every``."""
        return self.every * self.weight_at(judged.position) * self.term(judged)

    def due(self, position: int) -> bool:
        """Return whether the step at a position, counted from 0, has this term."""
        return position % self.every == 0

    def weight_at(self, position: int) -> float:
        """Return the weight at a position, counted in steps from 0."""
        if not callable(self.weight):
            return self.weight
        return self._checked(self.weight(position), f" at position {position} of its schedule")

    def state_dict(self) -> dict[str, Any]:
        """Return what the next term depends on besides what is judged; most penalties remember nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        del state  # nothing to go back to

    def _settings(self) -> dict[str, Any]:
        """Return the settings of its own, for printing."""
        return {}

    def _checked(self, weight: float, where: str = "") -> float:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(
                f"the weight of {type(self).__name__}{where} is {weight}", remedy="give a finite number from 0 up"
            )
        return weight

    def __repr__(self) -> str:
        settings = self._settings() | ({} if self.every == 1 else {"every": self.every})
        shown = [repr(self.weight), *(f"{name}={value!r}" for name, value in settings.items())]
        return f"{type(self).__name__}({', '.join(shown)})"
