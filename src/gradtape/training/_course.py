"""The course of a game: its quality, its best average, where it was healthy, what was changed."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

from gradtape.games import GAN
from gradtape.tracking import Finding, Tracker
from gradtape.training._rollback import MOST, Rollback, Weights, change
from gradtape.training.loop import RandomState, Stateful

_KEPT = 2  # healthy states: a failure that is found after a look may have begun before it


class Best(NamedTuple):
    """The best average so far.

    Attributes:
        step: The number of steps it took.
        value: Its quality.
        weights: Its state.
    """

    step: int
    value: float
    weights: dict[str, Any]


class Course:
    """The course of a game, something a checkpoint can hold.

    Args:
        game: The game.
        random: Where batches are drawn from.
        tracker: What watches the game.
        keeps: Whether healthy states are kept.
    """

    def __init__(self, game: GAN, random: RandomState, tracker: Tracker, *, keeps: bool) -> None:
        self._game, self._random, self._tracker = game, random, tracker
        self._keeps = keeps
        self._weights = Weights(game)
        self._healthy: list[dict[str, Any]] = []
        self.curve: list[tuple[int, float]] = []
        self.best: Best | None = None
        self.rollbacks: list[Rollback] = []
        self.steps = 0
        self.stopped = ""
        self.given_up: Finding | None = None

    def record(self, step: int, value: float) -> None:
        """Note the quality after a look, and the average if it is the best."""
        self.steps = step
        self.curve.append((step, value))
        if math.isfinite(value) and (self.best is None or value < self.best.value):
            self.best = Best(step, value, copy.deepcopy(self._game.average.state_dict()))

    def keep(self, step: int) -> None:
        """Keep the state, which is healthy."""
        if self._keeps:
            self._healthy = [*self._healthy[1 - _KEPT :], self._now(step)]

    @property
    def stale(self) -> int:
        """Number of looks since the best."""
        return sum(self.best is None or step > self.best.step for step, _ in self.curve)

    def go_back(self, step: int, finding: Finding) -> int | None:
        """Go back to the last healthy state before the failure began; return its step.

        After ``MOST`` times there is no further change: the state is the healthy one, and None is returned.
        """
        before = [kept for kept in self._healthy if kept["step"] <= finding.since_step]
        kept = before[-1] if before else self._healthy[0]
        self._restore(kept)
        if len(self.rollbacks) == MOST:
            return None
        changed = change(self._game, self._weights, finding)
        self.rollbacks.append(Rollback(step, kept["step"], finding.rule, str(finding), changed))
        self._healthy = [*(other for other in self._healthy if other["step"] < kept["step"]), self._now(kept["step"])]
        return int(kept["step"])

    def finish(self) -> None:
        """Put the best average into the game."""
        if self.best is not None:
            self._game.average.load_state_dict(self.best.weights)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, in plain values."""
        return {
            "healthy": self._healthy,
            "rollbacks": [tuple(done) for done in self.rollbacks],
            "factor": self._weights.factor,
            "stopped": self.stopped,
            "given_up": None if self.given_up is None else tuple(self.given_up),
            **self._progress(),
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from there."""
        self._healthy = state["healthy"]
        self.rollbacks = [Rollback(*done) for done in state["rollbacks"]]
        self._weights.set(state["factor"])
        self.stopped = state["stopped"]
        self.given_up = None if state["given_up"] is None else Finding(*state["given_up"])
        self._resume(state)

    def _progress(self) -> dict[str, Any]:
        return {"steps": self.steps, "curve": list(self.curve), "best": None if self.best is None else tuple(self.best)}

    def _resume(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.curve = [(step, value) for step, value in state["curve"]]
        self.best = None if state["best"] is None else Best(*state["best"])

    def _now(self, step: int) -> dict[str, Any]:
        """Return everything that the game's going on from here depends on."""
        held: dict[str, Stateful] = {"game": self._game, "random": self._random, "tracker": self._tracker}
        copied = {name: copy.deepcopy(thing.state_dict()) for name, thing in held.items()}
        return {"step": step, "factor": self._weights.factor, **copied, **self._progress()}

    def _restore(self, kept: dict[str, Any]) -> None:
        copied = copy.deepcopy({name: kept[name] for name in ("game", "random", "tracker")})
        self._game.load_state_dict(copied["game"])
        self._random.load_state_dict(copied["random"])
        self._tracker.load_state_dict(copied["tracker"])
        self._weights.set(kept["factor"])
        self._resume(kept)
