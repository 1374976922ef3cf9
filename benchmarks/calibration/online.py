"""What the rules would have said while a training ran: judged again on every prefix of its history."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.calibration.baselines import Series, norms
from benchmarks.calibration.healthy import Make
from benchmarks.calibration.planted import Plant
from benchmarks.calibration.training import Trainee

import gradtape as gt
from gradtape.runs import SeriesStore
from gradtape.tracking import Finding, History, judge, players, read_history

EVERY = 10  # steps between two judgements


class Alarm(NamedTuple):
    """A finding and the step at which it was first said."""

    said: int
    finding: Finding


class Record(NamedTuple):
    """What is left of a run.

    Attributes:
        losses: As the loop saw them, shape (t,).
        healthy: Whether the training achieved what it should.
        alarms: Every finding that some prefix had, distinct by rule, player and place.
        series: Player -> its loss and its gradient norm, shape (t,) each, as the baselines read them.
        seconds: Process time of the training, tracked.
    """

    losses: Series
    healthy: bool
    alarms: list[Alarm]
    series: dict[str, tuple[Series, Series]]
    seconds: float


def run(
    make: Make,
    seed: int,
    steps: int,
    plant: Plant | None = None,
    at: int = 0,
    every: int = EVERY,
    kept: Path | None = None,
) -> Record:
    """Train under the tracker and judge the prefixes; a run that was kept is judged without training it again.

    A failure planted at step 0 is there before the tracker sees the model. What is dear to measure is read on a
    schedule by step number, not by time, so that a run can be repeated.
    """
    notes = kept and kept.with_suffix(".json")
    if notes is None or not notes.exists():
        if kept is not None:
            kept.unlink(missing_ok=True)
        series = SeriesStore(kept or Path(":memory:"))
        told = train(make(seed), steps, series, plant, at)
        series.flush()
        if notes is not None:
            notes.write_text(json.dumps(told))
    else:
        series, told = SeriesStore(kept, read_only=True), json.loads(notes.read_text())
    histories = [read_history(series, player) for player in players(series)]
    return Record(
        np.array(told["losses"]),
        told["healthy"],
        listen(histories, steps, every),
        {history.player: (history.loss, norms(history)) for history in histories},
        told["seconds"],
    )


def train(training: Trainee, steps: int, series: SeriesStore, plant: Plant | None, at: int) -> dict[str, Any]:
    """Run a training; return its losses, whether it was healthy, and its process time."""
    begun = time.process_time()
    if plant is not None and at == 0:
        plant(training, 0)
    losses = []
    with gt.track(training.models, training.optimizers, run=series, budget=None) as tracker:
        for step in range(steps):
            if plant is not None and step >= max(at, 1):
                plant(training, step - at)
            losses.append(training.step(tracker))
    seconds = time.process_time() - begun
    return {"losses": losses, "healthy": training.healthy(losses), "seconds": seconds}


def listen(histories: list[History], steps: int, every: int = EVERY) -> list[Alarm]:
    """Judge each prefix; return every distinct finding with the step after which it was first said."""
    alarms: dict[tuple[str, str, str], Alarm] = {}
    for end in range(every - 1, steps, every):
        for finding in judge([history.until(end) for history in histories]):
            alarms.setdefault((finding.rule, finding.player, finding.where), Alarm(end, finding))
    return list(alarms.values())
