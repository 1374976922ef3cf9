"""Samples moved at a node of the tape: the loss ascended there, the label kept."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import cross_entropy

from gradtape import seeding
from gradtape.synthesis.maker import Descent, Maker, Real, Samples, Workplace, one_hot, parents_of, weights_hash
from gradtape.tape import record
from gradtape.transforms import Reverse

_GROUPS = 8
_STEPS = 2
_SIZES = (0.02, 0.10)  # of a node's root mean square, per step
_INVERSION_STEPS = 25


class Steer(Maker):
    """Record the classifier on real samples, ascend its loss at a random node, find the images that yield that node.

    The samples are made in groups; each group draws its own node and step size. Ascent makes a sample harder without
    leaving its class's neighbourhood, which is why the label can be kept; descent would only confirm what the model
    knows.
    """

    name = "steer"
    title = "gradient ascent at a random tape node, label kept"

    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return ``n`` steered samples."""
        random = seeding.generator(seed, "nodes")
        parents = parents_of(real, n)[torch.randperm(n, generator=random).to(real.labels.device)]
        images, descent = torch.empty_like(real.images[parents]), []
        for rows in torch.arange(n, device=parents.device).chunk(_GROUPS):
            group = parents[rows]
            labels = real.labels[group]
            tape = record(real.model, real.images[group])
            nodes = [node for node in tape.nodes if node.value.requires_grad and node.value is not tape.output]
            node = nodes[int(torch.randint(len(nodes), (1,), generator=random))]
            size = _SIZES[0] + (_SIZES[1] - _SIZES[0]) * float(torch.rand(1, generator=random))
            steered = tape.steer(
                node.position,
                partial(cross_entropy, target=labels, reduction="sum"),
                steps=_STEPS,
                lr=size,
                through=Reverse(),
            )
            if node.op == "input":
                images[rows] = steered.value.clamp(0, 1)
            else:
                images[rows] = tape.invert(
                    node.position, steered.value, steps=_INVERSION_STEPS, lr=0.02, bounds=(0.0, 1.0)
                ).input
            settings = {"steps": _STEPS, "size": round(size, 6)}
            descent += [Descent((parent,), node.name, "cross-entropy, ascended", settings) for parent in group.tolist()]
        return Samples(images, one_hot(real.labels[parents], real.classes), descent, weights_hash(real.model))
