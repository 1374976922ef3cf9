"""Self-training on the target, with an averaged teacher."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradtape import seeding
from gradtape.adaptation.methods._base import Inputs, Method, Seen, called
from gradtape.errors import InputError
from gradtape.games import View


class SelfTraining(Method):
    """The target's own labels by a teacher, a moving average of the networks, wherever it is sure.

    The term is the cross-entropy of the network's logits with the teacher's classes, over the rows whose probability
    exceeds ``threshold``, divided by all rows: so it grows as the teacher becomes sure. With a ``view`` the network
    sees changed inputs, and the teacher the inputs as they are.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.
        threshold: Probability from which the teacher is sure, in [0, 1].
        decay: Of the moving average, per step, in [0, 1).
        view: How the network sees the target, such as ``gt.DiffAugment(("affine",))``; None shows it as it is.
        seed: Of the view.
        settings: Those of ``Method``.

    Source: Tarvainen and Valpola, Mean Teachers Are Better Role Models, NeurIPS 2017, for adaptation French et al.,
        Self-Ensembling for Visual Domain Adaptation, ICLR 2018; the threshold as in Sohn et al., FixMatch, NeurIPS
        2020.
    """

    name = "self-training"
    title = "self-training"
    tasks = ("classification",)
    calls: Tensor

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        threshold: float = 0.9,
        decay: float = 0.99,
        view: View | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(features, head, **settings)
        if not (0 <= threshold <= 1 and 0 <= decay < 1):
            what = f"threshold is {threshold} and decay {decay}"
            raise InputError(what, remedy="give a threshold in [0, 1] and a decay in [0, 1)")
        self.threshold, self.decay, self.view, self.seed = threshold, decay, view, seed
        self.teacher = nn.ModuleList([copy.deepcopy(features), copy.deepcopy(head)]).requires_grad_(False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def term(self, seen: Seen) -> Tensor:
        """Return the cross-entropy with what the teacher is sure of."""
        assert seen.target_inputs is not None
        with torch.no_grad():
            sure, labels = torch.softmax(self.taught(seen.target_inputs), dim=1).max(1)
        logits = seen.target_logits
        if self.view is not None:
            logits = self.head(self.features_of(self.shown(seen.target_inputs)))
        losses = cross_entropy(self.gate(logits), labels, reduction="none")
        self.figures["sure"] = (sure > self.threshold).float().mean()
        return (losses * (sure > self.threshold)).mean()

    def taught(self, x: Inputs) -> Tensor:
        """Return the teacher's logits."""
        features, head = self.teacher
        logits: Tensor = head(called(features, x))
        return logits

    def shown(self, x: Inputs) -> Tensor:
        """Return a view of the target's inputs."""
        if not isinstance(x, Tensor) or self.view is None:
            raise InputError("a view shows one input, and there are several", remedy="leave the view out")
        return self.view(x, seeding.generator(self.seed, "views", int(self.calls)))

    def advance(self) -> None:
        """Move the teacher towards the network, further in the first steps."""
        super().advance()
        self.calls += 1
        decay = min(self.decay, (1 + int(self.calls)) / (10 + int(self.calls)))
        networks = nn.ModuleList([self.features, self.head])
        with torch.no_grad():
            for mine, theirs in zip(self.teacher.parameters(), networks.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
            for old, new in zip(self.teacher.buffers(), networks.buffers(), strict=True):
                old.copy_(new)
