"""The tracker: one or more players watched while they train, what was read of them, and the verdict."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self, SupportsFloat, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradtape.errors import InputError
from gradtape.runs import Run, SeriesStore
from gradtape.tracking._player import Player, Progress
from gradtape.tracking._watched import watched_pair
from gradtape.tracking.finding import Finding, in_words
from gradtape.tracking.history import LOSS, RESERVED, History, course, read_history
from gradtape.tracking.measures import MEASURES
from gradtape.tracking.rules import judge
from gradtape.transforms import Reverse

TAKEN = {"", *(measure.name for measure in MEASURES), *RESERVED} - {LOSS}  # names that nothing can be logged under
_T = TypeVar("_T")


class Tracker:
    """Watches one or more players while they train; ``track`` makes it."""

    def __init__(
        self,
        store: SeriesStore | None,
        run: Run | None,
        *,
        budget: float | None = 0.01,
        activations: bool = True,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._store = store
        self._run = run
        self._ended: Run | None = None
        self._budget = budget
        self._activations = activations
        self._on_error = on_error
        self._known: dict[str, weakref.ref[Player]] = {}  # players live as long as their optimizers, which hold them
        self._progress: dict[str, Progress] = {}
        self._paused: list[Player] = []

    def add(
        self, name: str, model: nn.Module, optimizer: Optimizer, reversals: Mapping[str, Reverse] | None = None
    ) -> None:
        """Watch a further player.

        Args:
            name: Its name, not one of those that are watched.
            model: Its model.
            optimizer: Its optimizer.
            reversals: Its reversals that are no submodules of the model, by name.

        Raises:
            InputError: The name is taken, or the optimizer holds none of the model's parameters.
        """
        if name in self._known:
            raise InputError(f"a player {name!r} is tracked already", remedy="give another name")
        watched = watched_pair(name, model, optimizer)
        player = Player(
            name,
            watched,
            self._store,
            reversals or {},
            budget=self._budget,
            activations=self._activations,
            on_error=self._on_error,
        )
        self._known[name], self._progress[name] = weakref.ref(player), player.progress
        players = self._players.values()
        held = {id(parameter) for player in players for parameter in player.parameters}
        for player in players:
            of_model = dict(player.watched.model.named_parameters())
            unheld = [path for path in player.watched.unheld if id(of_model.get(path)) not in held]
            player.note_settings(unheld, [other for other in self._known if other != player.name])

    @property
    def _players(self) -> dict[str, Player]:
        """Those whose optimizer is still there."""
        return {name: player for name, known in self._known.items() if (player := known()) is not None}

    @property
    def findings(self) -> list[Finding]:
        """What the rules say of everything tracked so far, in the order in which it began."""
        return self._asked(judge)

    @property
    def intervals(self) -> dict[str, dict[str, int]]:
        """Player's name -> measure -> steps between two readings of it; the budget widens them."""
        return {name: player.intervals for name, player in self._players.items()}

    def verdict(self) -> str:
        """Return what was found in words, of each finding three lines; how the loss went, and what was read rarely."""
        steps = " and ".join(f"{progress.step:,} steps of {name}" for name, progress in self._progress.items())
        found, courses = self._asked(lambda histories: (judge(histories), [course(known) for known in histories]))
        lines = in_words(found) or [f"nothing found wrong in {steps or 'no steps'}"]
        lines += [said for said in courses if said]
        for name, progress in self._progress.items():
            rare = progress.schedule.said()
            if rare:
                lines.append(f"{name}: {rare}")
        return "\n".join(lines)

    def log(self, name: str, value: float | Tensor, player: str | None = None) -> None:
        """Store a number, such as ``val_loss``, at the player's latest step.

        The loss that ``backward`` is called on is caught; log ``loss`` where that is not the number to judge by.

        Args:
            name: What it is; the rules read ``loss``, ``val_loss``, ``accuracy`` and ``val_accuracy``.
            value: The number, or a tensor of one element.
            player: Whose it is; may be left out with a single player.

        Raises:
            InputError: The player is not known, or must be named; or the name is that of a measure.
        """
        if isinstance(value, Tensor) and value.numel() != 1:
            raise InputError(f"{name!r} has shape {tuple(value.shape)}", remedy="log one number at a time")
        if value.is_complex() if isinstance(value, Tensor) else not isinstance(value, SupportsFloat):
            raise InputError(f"{name!r} is {value!r}", remedy="log a real number or a tensor of one element")
        if self._ended is not None:
            raise InputError(f"{name!r} was logged after the tracker was closed", remedy="log before tracker.close()")
        if not isinstance(name, str) or name in TAKEN:
            raise InputError(f"{name!r} is the name of something that is measured", remedy="log it under another name")
        self._player(player).log(name, value if isinstance(value, Tensor) else torch.tensor(float(value)))

    def log_losses(self, losses: Mapping[str, Tensor], player: str | None = None) -> None:
        """Store several losses by name and, now and then, how far their gradients agree at each parameter.

        Call it before ``backward``, at every step: at some steps each loss is differentiated by itself, which costs as
        much as a backward pass for each and leaves gradients and graph as they are.

        Args:
            losses: Name -> loss, a tensor of one element with its graph.
            player: Whose they are; may be left out with a single player.

        Raises:
            InputError: Fewer than two losses, one without a graph, or an unknown player.
        """
        if len(losses) < 2:
            raise InputError(
                f"log_losses got {len(losses)} loss", remedy="give two or more that may disagree, or use log"
            )
        for name, loss in losses.items():
            if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
                raise InputError(
                    f"loss {name!r} is no tensor of one element with a graph",
                    remedy="give it before backward, undetached",
                )
        self._player(player).log_losses(losses)

    def resume_at(self, step: int) -> None:
        """Count on from ``step``, as after loading a checkpoint; later steps stored before are replaced.

        Raises:
            InputError: ``step`` is no whole number from 0 on.
        """
        if not isinstance(step, int) or not 0 <= step < 2**62:
            raise InputError(f"step is {step!r}", remedy="give the number of steps that were made, 0 or more")
        for player in self._players.values():
            player.begin_at(step)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next readings depend on, for a checkpoint of an open tracker."""
        return {name: player.state_dict() for name, player in self._players.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: with ``budget=None``, what is read is what would have been read without it."""
        for name, player in self._players.items():
            player.load_state_dict(state[name])

    def pause(self) -> None:
        """Stop reading until ``resume``; meanwhile models and optimizers are as if they were never watched."""
        self._paused = [*self._paused, *self._players.values()]
        for player in self._paused:
            player.pause()

    def resume(self) -> None:
        """Read again after ``pause``; steps made meanwhile are not counted."""
        for player in self._paused:
            player.resume()
        self._paused = []

    def flush(self) -> None:
        """Store what was read so far, so that a process that is killed loses none of it."""
        for player in self._players.values():
            player.drain()
        if self._store is not None and self._ended is None:
            self._store.flush()

    def close(self) -> None:
        """Stop watching: the optimizers and models are as they were, what was read is stored."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.pause()
        self.flush()
        self._paused = []
        if self._run is not None and self._ended is None:
            self._ended = self._run
            self._run.__exit__(kind, error, trace)

    def _player(self, name: str | None) -> Player:
        if name is None and len(self._known) == 1:
            name = next(iter(self._known))
        player = self._known[name]() if name in self._known else None
        if player is None:
            raise InputError(f"player {name!r} is not tracked", remedy=f"name one of {', '.join(self._known)}")
        return player

    def _asked(self, ask: Callable[[list[History]], _T]) -> _T:
        """Return what is answered about everything tracked so far."""
        if self._store is None:
            return ask([])
        if self._ended is None:
            self.flush()
            return ask(self._histories(self._store))
        with closing(Run.open(self._ended.path)) as run:
            return ask(self._histories(run.series))

    def _histories(self, store: SeriesStore) -> list[History]:
        known = set(store.names())
        return [read_history(store, name) for name in self._known if f"{name}/grad_norm" in known]


def track(
    models: nn.Module | Mapping[str, nn.Module],
    optimizers: Optimizer | Mapping[str, Optimizer],
    run: str | os.PathLike[str] | Run | SeriesStore | None = None,
    reversals: Reverse | Mapping[str, Reverse] | None = None,
    *,
    budget: float | None = 0.01,
    activations: bool = True,
) -> Tracker:
    """Watch gradients while your own loop trains; nothing else in it changes.

    At every optimizer step, for every parameter: 2-norm of the gradient before and after clipping, number of elements
    that are not finite, 2-norms of weights and of the update. In turns, at every 16th step or more rarely: the dear
    measures of ``MEASURES``, and those of modules' outputs in ``ACTIVATIONS``.

    With ``torch.distributed``, call it on every process; that of rank 0 stores and judges.

    Args:
        models: The model, or player's name -> model.
        optimizers: Its optimizer, or player's name -> optimizer, of the same names.
        run: Folder of a new run, an open run or its series, or nothing to keep the series in memory.
        reversals: A ``Reverse``, or name -> ``Reverse``, that is no submodule of a model; those are found. They belong
            to the first player.
        budget: Share of the time of a step that reading may take, in (0, 1]. What does not fit is read at fewer steps,
            but for norms of gradients; ``tracker.intervals`` and the verdict say so. None reads at fixed steps,
            whatever it takes, so that the same training is read at the same steps on any machine.
        activations: Whether outputs of modules are read.

    Returns:
        The tracker; ``tracker.findings`` says what is wrong, ``tracker.close()`` stops.

    Raises:
        InputError: The names differ, an optimizer holds none of its model's parameters, or the budget is out of range.
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
    if named_models.keys() != named_optimizers.keys() or not named_models:
        names = [", ".join(map(str, named)) or "nothing" for named in (named_models, named_optimizers)]
        raise InputError(
            f"models are named {names[0]} and optimizers {names[1]}",
            remedy="give both the same names",
        )
    if budget is not None and not (isinstance(budget, int | float) and 0 < budget <= 1):
        raise InputError(f"budget is {budget}", remedy="give a share of the step time in (0, 1], such as 0.01, or None")
    for name, model in named_models.items():
        watched_pair(name, model, named_optimizers[name])  # before a folder is made
    store, own = _store(run)
    tracker = Tracker(store, own, budget=budget, activations=activations)
    named_reversals = {"reversal": reversals} if isinstance(reversals, Reverse) else dict(reversals or {})
    for index, (name, model) in enumerate(named_models.items()):
        tracker.add(name, model, named_optimizers[name], None if index else named_reversals)
    return tracker


def _store(run: str | os.PathLike[str] | Run | SeriesStore | None) -> tuple[SeriesStore | None, Run | None]:
    """Return where numbers go, and the run if it is made here; neither on a process that is not rank 0."""
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
        return None, None
    if isinstance(run, SeriesStore):
        return run, None
    if isinstance(run, Run):
        return run.series, None
    if run is None:
        return SeriesStore(Path(":memory:")), None
    own = Run.create(Path(run), command="track", settings={})
    return own.series, own
