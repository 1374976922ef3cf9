"""The penalty on the way from real to generated samples."""

from __future__ import annotations

from torch import Tensor

from gradtape.errors import InputError
from gradtape.games.penalties._base import Judged, Penalty, Weight
from gradtape.games.penalties._slope import steepness_off_one, uniform


class GradientPenalty(Penalty):
    """Gradient penalty of WGAN-GP: the discriminator shall have slope 1 between real and generated samples.

    ``λ E (‖∇ D(x̂)‖ - 1)²`` with ``x̂ = x + u (G(z) - x)`` and one u ~ U(0, 1) per pair

    Args:
        weight: λ, a finite number of at least 0, or a schedule.
        every: Steps from one term to the next.

    Raises:
        InputError: A weight or a cadence out of range; real and generated samples of different shapes.

    Examples:
        >>> GradientPenalty()
        GradientPenalty(10.0)

    Source: Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017.
    """

    fakes = False  # it has a pass of its own, through samples without a graph to the generator

    def __init__(self, weight: Weight = 10.0, every: int = 1) -> None:
        super().__init__(weight, every)

    def term(self, judged: Judged) -> Tensor:
        """Return the mean squared distance of the slope's norm from 1."""
        real, fake = judged.real.detach(), judged.fake.detach()
        if real.shape != fake.shape:
            raise InputError(
                f"GradientPenalty pairs real samples of shape {tuple(real.shape)} with generated ones of shape "
                f"{tuple(fake.shape)}",
                remedy="give as many of one as of the other",
            )
        way = uniform((len(real), *[1] * (real.dim() - 1)), real, judged.random)
        return steepness_off_one(judged.discriminator, real + way * (fake - real))
