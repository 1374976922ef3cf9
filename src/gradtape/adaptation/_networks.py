"""The networks of an adaptation, made anew for each candidate."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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
            size = self._try("features", features, torch.zeros(2, *self.shape))
            head = nn.Linear(size, self.outputs + more) if self.head is None else copy.deepcopy(self.head)
            outputs = self._try("head", head, torch.zeros(2, size))
            if outputs != self.outputs + more:
                what = f"the head has {outputs} outputs, and {self.outputs + more} are needed"
                raise InputError(what, remedy="give one output per class, one for a regression, one more for open-set")
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

    @staticmethod
    def _try(name: str, module: nn.Module, x: Tensor) -> int:
        """Return how many numbers a module makes of a row; refuse one that makes none."""
        if not isinstance(module, nn.Module):
            raise InputError(f"{name} is a {type(module).__name__}", remedy="give a torch.nn.Module")
        try:
            with torch.no_grad():
                made = copy.deepcopy(module).eval()(x)
            shape = tuple(made.shape)
        except Exception as error:  # a module may raise anything
            said = (str(error).splitlines() or [type(error).__name__])[0]
            what = f"the {name} cannot be called with a batch of shape {tuple(x.shape)} ({said})"
            raise InputError(what, remedy="let them fit the inputs and each other") from error
        if len(shape) != 2 or shape[0] != len(x):
            raise InputError(f"the {name} return shape {shape}", remedy="let them return (n, d), as by Flatten")
        return int(shape[1])
