"""The penalty that ties each side's logits to the other side's past."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.games.penalties._base import Judged, Penalty, Weight


class LeCam(Penalty):
    """Regularisation with moving averages of the logits, for few data.

    ``λ (E (D(x) - a_F)² + E (D(G(z)) - a_R)²)``, where a_R and a_F are moving averages of the mean logits of real and
    of generated samples. They begin at the first batch's means, and take in each batch before it is judged by them; a
    batch whose mean is not finite is left out.

    Args:
        weight: λ, a finite number of at least 0, or a schedule.
        decay: What is kept of the averages per term, in [0, 1).
        every: Steps from one term to the next; the averages move with the terms.

    Raises:
        InputError: A setting out of range.

    Examples:
        >>> LeCam(0.3)
        LeCam(0.3, decay=0.99)

    Source: Tseng et al., Regularizing Generative Adversarial Networks under Limited Data, CVPR 2021.
    """

    def __init__(self, weight: Weight = 0.1, decay: float = 0.99, every: int = 1) -> None:
        super().__init__(weight, every)
        if not 0 <= decay < 1:
            raise InputError(f"the decay of LeCam is {decay}", remedy="give a number from 0 up to, and without, 1")
        self.decay = decay
        self._averages = {side: torch.tensor(math.nan) for side in ("real", "fake")}  # nan: nothing seen yet

    def term(self, judged: Judged) -> Tensor:
        """Move the averages on, and return the mean squared distances from them."""
        averages = {side: self._moved(side, judged.logits[side].detach()) for side in ("real", "fake")}
        self._averages = averages
        real, fake = (self._wide(judged.logits[side]) for side in ("real", "fake"))
        return (real - averages["fake"]).square().mean() + (fake - averages["real"]).square().mean()

    def state_dict(self) -> dict[str, Any]:
        """Return both averages, nan before the first term."""
        return dict(self._averages)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to these averages."""
        self._averages = {side: torch.as_tensor(state[side]) for side in ("real", "fake")}

    def _moved(self, side: str, logits: Tensor) -> Tensor:
        mean = self._wide(logits).mean()
        before = self._averages[side].to(mean)
        after = torch.where(before.isnan(), mean, self.decay * before + (1 - self.decay) * mean)
        return torch.where(mean.isfinite(), after, before)

    @staticmethod
    def _wide(logits: Tensor) -> Tensor:
        """Return logits of 16 bits as 32: averages that move by little would stand still."""
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _settings(self) -> dict[str, Any]:
        return {"decay": self.decay}
