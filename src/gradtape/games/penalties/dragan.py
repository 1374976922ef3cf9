"""The penalty around real samples."""

from __future__ import annotations

from torch import Tensor

from gradtape.games.penalties._base import Judged, Penalty, Weight
from gradtape.games.penalties._slope import steepness_off_one, uniform


class DRAGAN(Penalty):
    """Gradient penalty around real samples: the discriminator shall have slope 1 near the data.

    ``λ E (‖∇ D(x + δ)‖ - 1)²`` with ``δ = 0.5 · std(x) · U(0, 1)``, drawn per element; std(x) is over the whole batch

    Args:
        weight: λ, a finite number of at least 0, or a schedule.
        every: Steps from one term to the next.

    Raises:
        InputError: A weight or a cadence out of range.

    Examples:
        >>> DRAGAN()
        DRAGAN(10.0)

    Source: Kodali et al., On Convergence and Stability of GANs, 2017.
    """

    fakes = False  # it has a pass of its own, through samples without a graph to the generator

    def __init__(self, weight: Weight = 10.0, every: int = 1) -> None:
        super().__init__(weight, every)

    def term(self, judged: Judged) -> Tensor:
        """Return the mean squared distance of the slope's norm from 1."""
        real = judged.real.detach()
        noise = 0.5 * real.std(correction=0) * uniform(real.shape, real, judged.random)
        return steepness_off_one(judged.discriminator, real + noise)
