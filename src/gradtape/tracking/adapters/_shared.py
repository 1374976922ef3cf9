"""What the adapters have in common: players found behind optimizers, and the verdict at the end."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gradtape.runs import Run
from gradtape.tracking.discovery import discover
from gradtape.tracking.history import LOSS
from gradtape.tracking.tracker import TAKEN, Tracker, track

Folder = str | os.PathLike[str] | Run | None
_VALIDATION = ("val_loss", "eval_loss", "valid_loss", "validation_loss", "val/loss", "valid/loss", "validation/loss")


class Adapter:
    """A tracker that a framework's callback begins and ends.

    Args:
        run: As for ``gt.track``.
        budget: As for ``gt.track``.
        verbose: Whether the verdict is printed to standard error at the end.
    """

    def __init__(self, run: Folder, budget: float | None, verbose: bool) -> None:
        self._run = run
        self._budget = budget
        self._verbose = verbose
        self._players: list[str] = []
        self.tracker: Tracker | None = None

    def begin(self, optimizers: Sequence[Optimizer], *, first: bool) -> None:
        """Track what the optimizers train; the process that is not ``first`` writes nothing."""
        self._players = []
        models: dict[str, nn.Module] = {}
        of_models: dict[str, Optimizer] = {}
        for optimizer in optimizers:
            found = discover(optimizer, models)
            models[found.name], of_models[found.name] = found.model, optimizer
        if models:
            self._players = list(models)
            self.tracker = track(models, of_models, run=self._run if first else None, budget=self._budget)
        self._verbose = self._verbose and first

    def log(self, numbers: Mapping[str, Any]) -> None:
        """Log a validation's numbers, the loss among them as ``val_loss``; the training's own loss is caught anyway."""
        if self.tracker is None:
            return
        known = next((name for name in _VALIDATION if name in numbers), None)
        for name, value in numbers.items():
            if isinstance(value, Tensor) and value.numel() == 1:
                value = value.item()
            if name in TAKEN or name == LOSS:
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                for player in self._players:
                    self.tracker.log("val_loss" if name == known else name, value, player=player)

    def end(self) -> None:
        """Stop, store, and say what was found."""
        if self.tracker is None:
            return
        self.tracker.close()
        if self._verbose:
            for line in self.tracker.verdict().splitlines():
                print(f"gradtape: {line}", file=sys.stderr, flush=True)
