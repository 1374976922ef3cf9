"""Penalties that want a flat discriminator at the samples themselves."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gradtape.games.penalties._base import Judged, Penalty


class _ZeroCentred(Penalty):
    """``γ/2 E ‖∇ₓ D(x)‖²`` on one side."""

    side: ClassVar[str]

    def term(self, judged: Judged) -> Tensor:
        """Return half the mean squared norm of the slope."""
        slope = judged.slopes[self.side]
        return slope.reshape(len(slope), -1).square().sum(1).mean() / 2


class R1(_ZeroCentred):
    """Zero-centred gradient penalty on real samples.

    ``γ/2 E ‖∇ₓ D(x)‖²``

    Args:
        weight: γ, a finite number of at least 0, or a schedule. It is measured in the units of the data.
        every: Steps from one term to the next; 16 is usual where time is short.

    Raises:
        InputError: A weight or a cadence out of range.

    Examples:
        >>> R1(0.5)
        R1(0.5)
        >>> R1(0.5, every=16).due(15), R1(0.5, every=16).due(16)
        (False, True)

    Source: Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, ICML 2018.
    """

    side = "real"
    slopes = frozenset({"real"})
    fakes = False


class R2(_ZeroCentred):
    """Zero-centred gradient penalty on generated samples.

    ``γ/2 E ‖∇ₓ D(G(z))‖²``

    Args:
        weight: γ, a finite number of at least 0, or a schedule.
        every: Steps from one term to the next.

    Raises:
        InputError: A weight or a cadence out of range.

    Examples:
        >>> R2(0.5)
        R2(0.5)

    Source: Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, ICML 2018.
    """

    side = "fake"
    slopes = frozenset({"fake"})
