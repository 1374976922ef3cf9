"""The penalty on logits that change when a sample is shown in another way."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradtape.errors import InputError
from gradtape.games.penalties._base import Judged, Penalty, Weight
from gradtape.games.views import DiffAugment, View


class Consistency(Penalty):
    """Balanced consistency regularisation (bCR): a sample and another view of it shall get the same logit.

    ``λ (E (D(x) - D(T(x)))² + E (D(G(z)) - D(T(G(z))))²)``

    Args:
        weight: λ, a finite number of at least 0, or a schedule.
        view: T, which must keep the number of samples; None is ``DiffAugment(("translation", "cutout"))``, for images.
            Its schedule follows the game's steps.
        every: Steps from one term to the next.

    Raises:
        InputError: A weight or a cadence out of range; data that cannot be viewed so; a view that packs samples.

    Examples:
        >>> Consistency(10.0, view=DiffAugment(("translation",)))
        Consistency(10.0, view=DiffAugment(('translation',)))

    Source: Zhao et al., Improved Consistency Regularization for GANs, AAAI 2021.
    """

    def __init__(self, weight: Weight = 10.0, view: View | None = None, every: int = 1) -> None:
        super().__init__(weight, every)
        self.view = DiffAugment(("translation", "cutout")) if view is None else view
        if self.view.packs > 1:
            raise InputError(
                f"the view of Consistency is {self.view!r}, which makes one sample of several",
                remedy="use a view that keeps each sample, such as InstanceNoise or DiffAugment",
            )

    def term(self, judged: Judged) -> Tensor:
        """Return both sides' mean squared differences."""
        self.view.position = judged.position
        sides = {"real": judged.real, "fake": judged.fake}
        terms = []
        for side, samples in sides.items():
            again = judged.discriminator(self.view(samples.detach(), judged.random))
            terms.append((judged.logits[side] - again).square().mean())
        self.view.observe(judged.logits["real"].detach())
        return terms[0] + terms[1]

    def state_dict(self) -> dict[str, Any]:
        """Return the view's state."""
        return {"view": self.view.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state of the view."""
        self.view.load_state_dict(state["view"])

    def _settings(self) -> dict[str, Any]:
        return {"view": self.view}
