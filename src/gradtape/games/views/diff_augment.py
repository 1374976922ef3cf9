"""Images, each changed a little."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradtape.games.views._base import Amount, Setting, View
from gradtape.games.views._operations import OPERATIONS, POLICY, checked_policy


class DiffAugment(View):
    """Change every image, real and generated, so that the discriminator cannot learn few images by heart.

    ``brightness`` adds U(-0.5, 0.5), ``saturation`` stretches colours by U(0, 2), ``contrast`` stretches by
    U(0.5, 1.5), ``translation`` moves by up to an eighth of a side, ``cutout`` sets half of each side to 0, and
    ``affine``, only where asked for, turns by up to 20 degrees, scales by 0.8 to 1.25, shears and moves by up to a
    tenth: in this order or another, one draw per image.

    Args:
        policy: Operations, in the order in which they are done.
        strength: Factor of every range, at least 0, or a schedule; 0 shows the images as they are.

    Raises:
        InputError: An unknown operation; a strength out of range; samples that are no images.

    Examples:
        >>> view = DiffAugment(("translation",))
        >>> view(torch.ones(2, 1, 8, 8), torch.Generator().manual_seed(1)).mean((1, 2, 3))
        tensor([0.8750, 0.7656])

    Source: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020.
    """

    images = True

    def __init__(self, policy: Sequence[str] = POLICY, strength: Amount = 1.0) -> None:
        self.policy = checked_policy("DiffAugment", policy)
        self._strength = Setting("strength of DiffAugment", strength)

    def show(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the changed images."""
        strength = self._strength.at(self.position)
        for name in self.policy:
            x = OPERATIONS[name](x, strength, random)
        return x

    def _settings(self) -> list[str]:
        plain = self._strength.amount == 1.0
        return [repr(self.policy)] + ([] if plain else [f"strength={self._strength!r}"])
