"""Samples moved at a node of the tape: the loss ascended there, the label kept."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gradtape import seeding
from gradtape.synthesis.maker import Descent, Maker, Real, Samples, Workplace, one_hot, parents_of, weights_hash
from gradtape.tape import Node, Tape, record
from gradtape.training import evaluating
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
            with evaluating(real.model):
                tape = record(real.model, real.images[group])
            nodes = _movable(tape)
            node = nodes[int(torch.randint(len(nodes), (1,), generator=random))]
            size = _SIZES[0] + (_SIZES[1] - _SIZES[0]) * float(torch.rand(1, generator=random))
            steered = tape.steer(
                node.position,
                partial(_odds_against, labels=labels),
                steps=_STEPS,
                lr=size,
                through=Reverse(),
            )
            if node.op == "input":
                images[rows] = steered.value.clamp(0, 1)
            else:
                images[rows] = tape.invert(
                    node.position, steered.value, steps=_INVERSION_STEPS, lr=0.01, bounds=(0.0, 1.0)
                ).input
            settings = {"steps": _STEPS, "size": round(size, 6)}
            descent += [
                Descent((parent,), node.name, "log-odds against the label, ascended", settings)
                for parent in group.tolist()
            ]
        return Samples(images, one_hot(real.labels[parents], real.classes), descent, weights_hash(real.model))


def _odds_against(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-odds against the labels, summed over samples.

    Cross-entropy is its softplus, so both rise in the same direction; but this gradient does not vanish where the
    model is sure, and a sample that it is sure of still moves.
    """
    of_label = logits.gather(1, labels[:, None]).squeeze(1)
    of_others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return (of_others - of_label).sum()


def _movable(tape: Tape) -> list[Node]:
    """Return the nodes on the way from the input to the output, the output aside, with a row per sample."""
    source, samples = tape.nodes[0], tape.nodes[0].shape[0]
    end = [node for node in tape.nodes if node.value is tape.output][-1]
    return [
        node
        for node in tape.between(source.position, end.position)
        if node.value.requires_grad and node is not end and node.shape[:1] == (samples,)
    ]
