"""Terms of the generator's loss that ask for variety."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradtape.errors import InputError


class ModeSeeking:
    """Ask the generator to make different samples of different latents.

    ``weight · mean over pairs of 1 / (d(G(z₁), G(z₂)) / d(z₁, z₂) + eps)``, where d is the mean absolute difference and
    a pair is a sample of the batch's first half with its counterpart in the second. It is least when samples are as far
    apart as their latents allow. It remembers nothing.

    With conditions, samples of a pair may differ because their conditions do; that part of the distance is a constant.

    Args:
        weight: A finite number of at least 0.
        eps: Keeps a pair that is nearly equal from outweighing all others, above 0. The paper has 1e-5, on distances
            averaged over the batch; single pairs need more.

    Raises:
        InputError: A setting out of range; fewer than 2 samples.

    Examples:
        >>> z = torch.tensor([[0.0], [2.0]])
        >>> ModeSeeking(eps=0.5)(z, torch.tensor([[3.0], [4.0]]))  # 1 / (1 / 2 + 0.5)
        tensor(1.)

    Source: Mao et al., Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis, CVPR 2019.
    """

    def __init__(self, weight: float = 1.0, eps: float = 0.1) -> None:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"the weight of ModeSeeking is {weight}", remedy="give a finite number from 0 up")
        if not (math.isfinite(eps) and eps > 0):
            raise InputError(f"eps of ModeSeeking is {eps}", remedy="give a finite number above 0")
        self.weight = weight
        self.eps = eps

    def __call__(self, z: Tensor, fake: Tensor) -> Tensor:
        """Return the term, a scalar, for latents (n, ...) and the samples (n, ...) made of them.

        The last sample of an odd batch is left out.
        """
        half = len(fake) // 2
        if half == 0:
            raise InputError(f"ModeSeeking compares pairs and got {len(fake)} samples", remedy="give at least 2")
        apart, latents_apart = (_distance(x[:half], x[half : 2 * half]) for x in (fake, z))
        # 1 / (apart / latents_apart + eps) without dividing by the distance of latents, which may be 0
        below = apart + self.eps * latents_apart
        terms = latents_apart / below.clamp_min(torch.finfo(below.dtype).tiny)
        return self.weight * terms.mean()

    def __repr__(self) -> str:
        return f"ModeSeeking({self.weight}, eps={self.eps})"


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).reshape(len(one), -1).abs().mean(1)
