"""The tracker: reads every measure at every optimizer step, stores it, and judges."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradtape.errors import InputError
from gradtape.runs import Run, SeriesStore
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import SEPARATOR, gradient_channel, read_history, reversal_channel, value_channel
from gradtape.tracking.measures import MEASURES
from gradtape.tracking.reversals import ReversalWatch
from gradtape.tracking.rules import judge
from gradtape.transforms import Reverse, before_step


class Tracker:
    """Watches one or more players while they train; ``track`` makes it."""

    def __init__(
        self,
        players: Mapping[str, tuple[nn.Module, Optimizer]],
        store: SeriesStore,
        run: Run | None,
        reversals: Mapping[str, Reverse],
    ) -> None:
        self._store = store
        self._run = run
        self._ended: Run | None = None
        first = next(iter(players))
        self._players = {
            name: _Player(name, model, optimizer, store, reversals if name == first else {})
            for name, (model, optimizer) in players.items()
        }

    @property
    def findings(self) -> list[Finding]:
        """What the rules say of everything tracked so far, in the order in which it began."""
        if self._ended is None:
            return self._judged(self._store)
        with closing(Run.open(self._ended.path)) as run:
            return self._judged(run.series)

    def log(self, name: str, value: float | Tensor, player: str | None = None) -> None:
        """Store a number, such as ``loss``, at the player's latest step.

        Args:
            name: What it is; the rules read ``loss``.
            value: The number, or a tensor of one element.
            player: Whose it is; may be left out with a single player.

        Raises:
            InputError: The player is not known, or must be named.
        """
        if player is None and len(self._players) == 1:
            player = next(iter(self._players))
        if player not in self._players:
            raise InputError(f"player {player!r} is not tracked", remedy=f"name one of {', '.join(self._players)}")
        if isinstance(value, Tensor) and value.numel() != 1:
            raise InputError(f"{name!r} has shape {tuple(value.shape)}", remedy="log one number at a time")
        channel = self._store.channel(value_channel(player, name), [name])
        channel.append(
            max(self._players[player].step - 1, 0), [float(value.detach() if isinstance(value, Tensor) else value)]
        )

    def resume_at(self, step: int) -> None:
        """Count on from ``step``, as after loading a checkpoint; later steps stored before are replaced."""
        for player in self._players.values():
            player.step = step

    def flush(self) -> None:
        """Store what was read so far, so that a process that is killed loses none of it."""
        self._store.flush()

    def close(self) -> None:
        """Stop watching: the optimizers and models are as they were, what was read is stored."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        for player in self._players.values():
            player.remove()
        if self._run is None:
            self._store.flush()
        elif self._ended is None:
            self._ended = self._run
            self._run.__exit__(kind, error, trace)

    def _judged(self, store: SeriesStore) -> list[Finding]:
        return judge([read_history(store, name) for name in self._players])


class _Player:
    def __init__(
        self, name: str, model: nn.Module, optimizer: Optimizer, store: SeriesStore, reversals: Mapping[str, Reverse]
    ) -> None:
        named = _held(name, model, optimizer)
        self.step = 0
        self._parameters = [parameter for _, parameter in named]
        self._measures = [measure() for measure in MEASURES]
        columns = [f"{path}{SEPARATOR}{measure.name}" for path, _ in named for measure in self._measures]
        self._channel = store.channel(gradient_channel(name), columns)
        self._watch = ReversalWatch(model, reversals)
        self._passed = store.channel(reversal_channel(name), self._watch.columns) if self._watch.columns else None
        self._reading = False
        self._handles = [
            before_step(optimizer, self._before),
            optimizer.register_step_post_hook(lambda *_: self._after()),
        ]

    def _gradients(self) -> list[Tensor | None]:
        grads = [parameter.grad for parameter in self._parameters]
        return [grad if grad is None or grad.layout == torch.strided else grad.to_dense() for grad in grads]

    def _before(self) -> None:
        if self._reading:  # a closure may be called several times in a step: the first finds the weights as they were
            return
        self._reading = True
        grads = self._gradients()
        for measure in self._measures:
            measure.before_step(self._parameters, grads)

    def _after(self) -> None:
        grads = self._gradients()
        numbers = torch.stack([measure.after_step(self._parameters, grads) for measure in self._measures], dim=1)
        self._channel.append(self.step, numbers.flatten().numpy().astype(np.float32))
        if self._passed is not None:
            self._passed.append(self.step, self._watch.row())
        self.step += 1
        self._reading = False

    def remove(self) -> None:
        self._watch.remove()
        for handle in self._handles:
            handle.remove()


def _held(name: str, model: nn.Module, optimizer: Optimizer) -> list[tuple[str, nn.Parameter]]:
    """Return the model's parameters that the optimizer holds, with their paths."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = [(path, parameter) for path, parameter in model.named_parameters() if id(parameter) in held]
    if not named:
        raise InputError(
            f"the optimizer of player {name!r} holds no parameter of its model",
            remedy="pass the pair that belongs together",
        )
    return named


def track(
    models: nn.Module | Mapping[str, nn.Module],
    optimizers: Optimizer | Mapping[str, Optimizer],
    run: str | os.PathLike[str] | Run | SeriesStore | None = None,
    reversals: Reverse | Mapping[str, Reverse] | None = None,
) -> Tracker:
    """Watch gradients while your own loop trains; nothing else in it changes.

    At every optimizer step, for every parameter: gradient 2-norm, weight 2-norm, update-to-weight ratio, and the
    counts of zero and of non-finite gradient elements.

    Args:
        models: The model, or player's name -> model.
        optimizers: Its optimizer, or player's name -> optimizer, of the same names.
        run: Folder of a new run, an open run or its series, or nothing to keep the series in memory.
        reversals: A ``Reverse``, or name -> ``Reverse``, that is no submodule of a model; those are found. They belong
            to the first player.

    Returns:
        The tracker; ``tracker.findings`` says what is wrong, ``tracker.close()`` stops.

    Raises:
        InputError: The names differ, or an optimizer holds none of its model's parameters.
        RunError: The folder cannot be made.

    Examples:
        >>> model = nn.Linear(3, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e-12)
        >>> with track(model, optimizer) as tracker:
        ...     for _ in range(30):
        ...         optimizer.zero_grad()
        ...         model(torch.ones(8, 3)).square().mean().backward()
        ...         optimizer.step()
        ...     [(finding.rule, finding.since_step) for finding in tracker.findings]
        [('stalled', 0)]
    """
    named_models = models if isinstance(models, Mapping) else {"model": models}
    named_optimizers = optimizers if isinstance(optimizers, Mapping) else {"model": optimizers}
    if named_models.keys() != named_optimizers.keys():
        raise InputError(
            f"models are named {', '.join(named_models)} and optimizers {', '.join(named_optimizers)}",
            remedy="give both the same names",
        )
    for name, model in named_models.items():
        _held(name, model, named_optimizers[name])  # before a folder is made
    own = Run.create(Path(run), command="track", settings={}) if isinstance(run, str | os.PathLike) else None
    if own is not None:
        store = own.series
    elif isinstance(run, Run):
        store = run.series
    else:
        store = run if isinstance(run, SeriesStore) else SeriesStore(Path(":memory:"))
    named_reversals = {"reversal": reversals} if isinstance(reversals, Reverse) else dict(reversals or {})
    return Tracker(
        {name: (model, named_optimizers[name]) for name, model in named_models.items()}, store, own, named_reversals
    )
