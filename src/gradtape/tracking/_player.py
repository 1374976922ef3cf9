"""One player: the hooks on its optimizer and model, and the numbers on their way to the store."""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradtape.runs import SeriesStore
from gradtape.tracking._backward import BackwardWatch, dense
from gradtape.tracking._clock import Clock
from gradtape.tracking._combine import Combiner, Parts
from gradtape.tracking._conflict import agreement
from gradtape.tracking._guard import Guard
from gradtape.tracking._schedule import BASE, SIZES, Schedule
from gradtape.tracking._sender import Sender
from gradtape.tracking._watched import Watched, groups_of, number, settings_of
from gradtape.tracking.activations import ACTIVATIONS as MEASURES_OF_OUTPUTS
from gradtape.tracking.activations import ActivationWatch
from gradtape.tracking.history import ACTIVATIONS, CONFLICTS, LOSS, RATES, REVERSALS, SEPARATOR, channel_of
from gradtape.tracking.measures import MEASURES, Measure, Reading, local
from gradtape.tracking.reversals import ReversalWatch
from gradtape.transforms import Reverse, on_gradients

SIZE_MEASURES = ("weight_norm", "update_norm")


class Progress:
    """How far a player is and what is read of it when: what is still known once it is gone."""

    def __init__(self) -> None:
        self.step = 0
        self.schedule = Schedule((), None)


class Player:
    """Reads one player at each of its optimizer's steps.

    Args:
        name: The player's name.
        watched: What is read.
        store: Where numbers go; None on a process that only takes part in combining them.
        reversals: Reversals that are no submodule of the model.
        budget: Share of the step time that reading may take; None for fixed intervals.
        activations: Whether outputs of modules are read.
        on_error: Called with an error of ours while the player trains, which otherwise ends the training.
    """

    def __init__(
        self,
        name: str,
        watched: Watched,
        store: SeriesStore | None,
        reversals: Mapping[str, Reverse],
        *,
        budget: float | None,
        activations: bool,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.name = name
        self.progress = Progress()
        self._guard = Guard(on_error)
        self.catches_loss = True
        self.watched = watched
        self._sender = Sender(name, store)
        self._parameters = list(watched.named.values())
        self._rows = len(watched.optimizer.param_groups)  # of the learning rates
        self._grouped: tuple[int, int] | None = None
        measures = [kind() for kind in MEASURES if kind.applies(watched.optimizer)]
        self._always = [measure for measure in measures if not measure.dear]
        self._dear = {measure.name: measure for measure in measures if measure.dear}
        self._columns = {measure.name: _columns(list(watched.named), measure.fields) for measure in measures}
        if store is not None:  # players are listed in the order in which they were named
            store.channel(channel_of(name, "grad_norm"), self._columns["grad_norm"])
        self._activations = [kind() for kind in MEASURES_OF_OUTPUTS] if activations else []
        self._named_reversals = reversals
        dear = [*self._dear, *([ACTIVATIONS] if self._activations else [])]
        self.schedule = self.progress.schedule = Schedule(dear, budget)
        self._combiner = Combiner(self._parameters)
        self._reading: Reading | None = None
        self._depth = 0
        self._begun = False
        self._due: list[Measure] = []
        self._clock = Clock()
        self._rates: list[float] = []
        self._stored = 1  # steps of which something may be stored, and is replaced when they are made again
        self._remove: list[Callable[[], None]] = []
        self.resume()

    @property
    def step(self) -> int:
        """The step that comes next."""
        return self.progress.step

    @step.setter
    def step(self, step: int) -> None:
        self.progress.step = step

    def resume(self) -> None:
        """Listen, if it does not."""
        if self._remove:
            return
        optimizer, model = self.watched.optimizer, self.watched.model
        guard = self._guard
        untraced: Any = torch.compiler.disable  # a step that was compiled breaks there and goes on
        self._backward = BackwardWatch(self._parameters, guard)
        self._reversals = ReversalWatch(model, self._named_reversals)
        self._outputs = ActivationWatch(model, self._activations, guard) if self._activations else None
        enter = optimizer.register_step_pre_hook(untraced(guard(lambda *_: self._enter())))
        self._gradients = on_gradients(optimizer, untraced(guard(self._before)))
        leave = optimizer.register_step_post_hook(untraced(guard(lambda *_: self._leave())))
        self._remove = [
            enter.remove,
            self._gradients.remove,
            leave.remove,
            self._backward.remove,
            self._reversals.remove,
        ]
        if self._outputs is not None:
            self._remove.append(self._outputs.remove)
        self._clock.restart()
        self._arm()

    def pause(self) -> None:
        """Leave no hook anywhere; what was read stays."""
        for remove in self._remove:
            remove()
        self._remove = []
        self._reading = None
        for measure in self._dear.values():
            measure.close()

    @property
    def intervals(self) -> dict[str, int]:
        """Steps between two readings of each measure."""
        return {
            **{m.name: self.schedule.sizes_interval if m.name in SIZE_MEASURES else 1 for m in self._always},
            **dict.fromkeys(self.schedule.dear, self.schedule.dear_interval),
        }

    def drain(self) -> None:
        """Wait for numbers on their way."""
        self._sender.drain()

    def log(self, name: str, value: Tensor) -> None:
        """Store a number at the latest step."""
        self.catches_loss = self.catches_loss and name != LOSS
        self._sender.put(name, [name], max(self.step - 1, 0), value)

    def log_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Store named losses at the step under way, and when it is their turn how far their gradients agree."""
        for name, value in losses.items():
            self._sender.put(f"{LOSS}/{name}", [name], self.step, value)
        if CONFLICTS not in self.schedule.dear:
            self.schedule.dear.append(CONFLICTS)
        if CONFLICTS in self.schedule.dear_due(self.step):
            with self._clock.of(CONFLICTS):
                for pair, cosines in agreement(losses, self._parameters).items():
                    self._sender.put(f"{CONFLICTS}{pair}", list(self.watched.named), self.step, cosines)

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The parameters that are read."""
        return self._parameters

    def state_dict(self) -> dict[str, Any]:
        """Return what the next readings depend on."""
        kept = {name: measure.state_dict() for name, measure in self._dear.items()}
        return {
            "step": self.step,
            "stored": max(self._stored, self.step),
            "begun": self._begun,
            "rates": self._rates,
            "measures": kept,
            "backward": self._backward.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; later steps stored before are replaced."""
        self._begun = state["begun"]
        self._stored = max(self._stored, state["stored"])
        self._rates = state["rates"]
        for name, kept in state["measures"].items():
            self._dear[name].load_state_dict(kept)
        self._backward.load_state_dict(state["backward"])
        self.begin_at(state["step"])

    def begin_at(self, step: int) -> None:
        """Count on from ``step``; what was stored of later steps is replaced."""
        self._stored = max(self._stored, self.step)
        self.step = step
        self._arm()

    def note_settings(self, unheld: Sequence[str], beside: Sequence[str]) -> None:
        """Store what does not change from step to step.

        Args:
            unheld: Parameters of the model that no player's optimizer holds.
            beside: Names of the other players.
        """
        found = settings_of(self.watched, self._current_groups())
        self._sender.note("settings", {**found, "unheld": list(unheld), "beside": list(beside)})

    def _enter(self) -> None:
        """A step begins; that of a subclass may call the step that it overrides, which has hooks of its own."""
        if self._depth and not _within_step(self.watched.optimizer):
            self._depth, self._reading = 0, None  # the last one ended in an error
        self._depth += 1

    def _leave(self) -> None:
        self._depth -= 1
        hooks = self.watched.optimizer._optimizer_step_pre_hooks
        if self._gradients.id in hooks and next(reversed(hooks)) != self._gradients.id:
            cast(OrderedDict[int, Any], hooks).move_to_end(self._gradients.id)  # to read what others changed
        if not self._depth and self._reading is not None:
            self._after(self._reading)
            self._reading = None

    @torch.no_grad()
    def _before(self) -> None:
        if self._reading is not None:  # a closure may be called several times: the first finds the weights as they were
            return
        with self._clock.of(BASE):
            reading = self._read()
            due = self.schedule.dear_due(self.step)
            self._due = [m for m in self._always if m.name not in SIZE_MEASURES or self.schedule.sizes_due(self.step)]
            self._due += [self._dear[name] for name in due if name in self._dear]
            if not self._begun:
                self._begun = True
                for measure in self._dear.values():
                    measure.begin(reading)
            leading = [self._dear[name] for name in self.schedule.dear_due(self.step + 1) if name in self._dear]
        for measure in self._due:
            with self._clock.of(_cost_of(measure)):
                measure.before_step(reading)
        for measure in leading:
            if measure.lead:
                with self._clock.of(_cost_of(measure)):
                    measure.prepare(reading)
        self._reading = reading

    def _current_groups(self) -> list[dict[str, Any]]:
        """Return the group of each parameter: loading a state makes new ones, and some may be added."""
        groups = self.watched.optimizer.param_groups
        if self._grouped != (id(groups), len(groups)):
            known = len(groups) if self._grouped is None else self._grouped[1]
            self._grouped = (id(groups), len(groups))
            self._groups = groups_of(self.watched.optimizer, self._parameters)
            if len(groups) > known:
                warnings.warn(
                    f"the optimizer of player {self.name!r} was given parameters after tracking began; they are not "
                    "read: track it anew, under another name, to read them",
                    stacklevel=2,
                )
        return self._groups

    def _read(self) -> Reading:
        optimizer = self.watched.optimizer
        grads = [None if p.grad is None else local(dense(p.grad)) for p in self._parameters]
        scale = getattr(optimizer, "grad_scale", None)
        if scale is not None:  # a fused optimizer divides by it as it steps
            grads = [None if grad is None else grad / scale.to(grad.device) for grad in grads]
        weights = [local(parameter) for parameter in self._parameters]
        raw, self._loss = self._backward.at_step(weights[0].device)
        skipped = getattr(optimizer, "found_inf", None)
        return Reading(self._parameters, weights, grads, optimizer, self._current_groups(), self.step, raw, skipped)

    @torch.no_grad()
    def _after(self, reading: Reading) -> None:
        found = []
        for measure in self._due:
            with self._clock.of(_cost_of(measure)):
                found.append(Parts(measure.name, self._columns[measure.name], measure, measure.after_step(reading)))
        if self._outputs is not None and ACTIVATIONS in self.schedule.dear_due(self.step):
            with self._clock.of(ACTIVATIONS):
                found += self._read_outputs(self._outputs)
            self._clock.add(ACTIVATIONS, self._outputs.spent)
        with self._clock.of(BASE):
            self._sender.send(self.step, self._combiner(found))
            self._send_rest()
            self.step += 1
            self._arm()
        self._adapt()

    def _read_outputs(self, outputs: ActivationWatch) -> list[Parts]:
        read = outputs.collect()
        return [
            Parts(f"{ACTIVATIONS}{m.name}", list(outputs.modules(m.name)), m, read[m.name], shards=False)
            for m in self._activations
            if len(read[m.name])
        ]

    def _arm(self) -> None:
        if self._outputs is not None and ACTIVATIONS in self.schedule.dear_due(self.step):
            self._outputs.arm()

    def _send_rest(self) -> None:
        """Put the loss, the learning rates where they changed, and what passed through reversals on their way."""
        if self.catches_loss and self._loss is not None:
            self._sender.put(LOSS, [LOSS], self.step, self._loss)
        rates = [number(group.get("lr")) for group in self.watched.optimizer.param_groups[: self._rows]]
        if not np.array_equal(rates, self._rates, equal_nan=True) or self.step < self._stored:
            self._rates = rates
            self._sender.append(RATES, [f"group {index}" for index in range(len(rates))], self.step, np.array(rates))
        if self._reversals.columns:
            self._sender.put(REVERSALS, self._reversals.columns, self.step, self._reversals.row())

    def _adapt(self) -> None:
        took = self._clock.step()
        if took is None:
            return
        wanted = self._combiner.agree(self.schedule.stepped(*took))
        if wanted is not None and wanted != (self.schedule.sizes_interval, self.schedule.dear_interval):
            self.schedule.sizes_interval, self.schedule.dear_interval = wanted
            self._sender.note("intervals", self.intervals)


def _within_step(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer is under way, beside the one that just began."""
    code = type(optimizer).step.__code__ if hasattr(type(optimizer).step, "__code__") else None
    frame: FrameType | None = sys._getframe()
    found = 0
    while frame is not None:
        found += frame.f_code is code and frame.f_locals.get("args", (None,))[:1] == (optimizer,)
        frame = frame.f_back
    return found > 1


def _cost_of(measure: Measure) -> str:
    if measure.dear:
        return measure.name
    return SIZES if measure.name in SIZE_MEASURES else BASE


def _columns(names: Sequence[str], fields: Sequence[str]) -> list[str]:
    return [f"{name}{SEPARATOR}{field}" for name in names for field in fields] if fields else list(names)
