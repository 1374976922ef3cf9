"""The networks of an adaptation, made anew for each candidate."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn

from gradtape import seeding
from gradtape.adaptation.methods import METHODS, Method, Task, make, parts_of, settings_of
from gradtape.errors import InputError
from gradtape.games import DiffAugment
from gradtape.nets import ImageFeatures, TableFeatures


class Networks(NamedTuple):
    """How features and head are made.

    Attributes:
        shape: Of an input.
        outputs: Of the head.
        task: What labels are.
        sources: How many sources there are.
        seed: Of the weights.
        features: The user's, or None.
        head: The user's, or None.
    """

    shape: tuple[int, ...]
    outputs: int
    task: Task
    sources: int
    seed: int
    features: nn.Module | None = None
    head: nn.Module | None = None

    def method(self, name: str, strength: Any, steps: int) -> Method:
        """Return a method with fresh networks; the same weights whatever the method."""
        parts = parts_of(name)
        more = max(METHODS[part].extra_outputs for part in parts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.derive(self.seed, "weights"))
            features = self._features()
            head = copy.deepcopy(self.head) or nn.Linear(self._size(features), self.outputs + more)
            torch.manual_seed(seeding.derive(self.seed, "weights", name))
            extras: dict[str, Any] = {"sources": self.sources, "seed": self.seed}
            if len(self.shape) == 3:
                extras["view"] = DiffAugment(("affine",))
            known = set().union(*(settings_of(METHODS[part]) for part in parts))
            chosen = {key: value for key, value in extras.items() if key in known}
            return make(name, features, head, strength=strength, steps=steps, task=self.task, **chosen)

    def _features(self) -> nn.Module:
        if self.features is not None:
            return copy.deepcopy(self.features)
        if len(self.shape) == 3:
            return ImageFeatures(self.shape)
        return TableFeatures(self.shape[0])

    def _size(self, features: nn.Module) -> int:
        with torch.no_grad():
            z = copy.deepcopy(features).eval()(torch.zeros(1, *self.shape))
        if z.dim() != 2:
            raise InputError(
                f"the features have shape {tuple(z.shape)}", remedy="let them end in (n, d), as by Flatten"
            )
        return int(z.shape[1])
