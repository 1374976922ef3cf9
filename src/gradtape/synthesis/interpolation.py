"""Samples between neighbours of the same class."""

from __future__ import annotations

import torch

from gradtape import seeding
from gradtape.synthesis.maker import Descent, Maker, Real, Samples, Workplace, one_hot, parents_of

_NEIGHBOURS = 5


class Interpolate(Maker):
    """Walk an edge of the graph that joins each sample with its nearest of the same class, and stop on the way.

    ``x = xᵢ + u (xⱼ - xᵢ), j ∈ kNN(i), u ∼ U(0, 1)``

    Source: Chawla et al., SMOTE, JAIR 2002.
    """

    name = "interpolate"
    title = "interpolation along the graph of neighbours of a class"

    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return ``n`` interpolated samples."""
        random = seeding.generator(seed, "edges")
        device = real.images.device
        flat = real.images.flatten(1)
        distance = torch.cdist(flat, flat)
        distance[real.labels[:, None] != real.labels] = torch.inf
        distance.fill_diagonal_(torch.inf)
        order = distance.argsort(dim=1)
        degree = distance.isfinite().sum(1).clamp(max=_NEIGHBOURS)

        first = parents_of(real, n)
        pick = (torch.rand(n, generator=random).to(device) * degree[first]).long()
        second = torch.where(degree[first] > 0, order[first, pick], first)  # the only one of its class stays itself
        share = torch.rand(n, generator=random).to(device)
        images = torch.lerp(real.images[first], real.images[second], share.view(-1, 1, 1, 1))
        descent = [
            Descent((i, j), settings={"share": round(u, 6)})
            for i, j, u in zip(first.tolist(), second.tolist(), share.tolist(), strict=True)
        ]
        return Samples(images, one_hot(real.labels[first], real.classes), descent, None)
