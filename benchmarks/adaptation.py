"""What adaptation gains on real and procedural shifts; method, strength and step chosen without labels of the target.

Per task and seed: source only, the default method (DANN, λ 0.5, last step), and what a validator chooses among several.
The oracle is the best candidate by labels of the target, which nothing else has seen. Figures are of test data that no
training saw, but for hearts, where the patients of the target are few. Heart: area under the ROC curve.

    python -m benchmarks.adaptation --data-dir FOLDER --seeds 5 [--tasks usps-mnist moons ...] [--steps 600]
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from benchmarks import _domains
from benchmarks._domains import HOSPITALS, Pair
from sklearn.metrics import roc_auc_score

import gradtape as gt
from gradtape.evidence import mean_interval


class Task(NamedTuple):
    """A pair of domains and what is tried on it."""

    pair: Callable[[int, str | None], Pair]
    methods: tuple[str, ...]
    strengths: tuple[float, ...] = (0.5,)
    select: str | tuple[str, ...] = "ensemble"
    steps: int = 600
    default: str = "dann"


IMAGES = ("dann", "dann+self-training")
TASKS = {
    "usps-mnist": Task(_domains.usps_to_mnist, IMAGES),
    "mnist-usps": Task(_domains.mnist_to_usps, IMAGES),
    "moons": Task(_domains.moons, ("dann", "dann+self-training"), (0.5, 1.0), steps=1200),
    **{
        shift: Task(lambda seed, folder, shift=shift: _domains.procedural(shift, seed, folder), IMAGES)
        for shift in ("rotated", "inverted", "textured")
    },
}
HEART = Task(partial(_domains.heart), ("mcc", "dann"), (0.1,), steps=300, default="mcc")


def accuracy(adapter: Any, pair: Pair) -> float:
    return float(np.mean(adapter.predict(pair.test) == pair.test_labels))


def area(adapter: Any, pair: Pair) -> float:
    return float(roc_auc_score(pair.test_labels, adapter.predict_proba(pair.test)[:, 1]))


def measured(
    task: Task, pair: Pair, seed: int, figure: Callable[[Any, Pair], float], steps: int | None
) -> dict[str, Any]:
    """Return the figures of one seed."""
    plain = {"seed": seed, "steps": steps or task.steps}
    first = gt.DomainAdapter(task.default, strength=task.strengths[0], **plain).fit(
        pair.source, pair.labels, pair.target
    )
    several = gt.DomainAdapter(list(task.methods), strength=list(task.strengths), select=task.select, **plain)
    several.fit(pair.source, pair.labels, pair.target)
    chosen = several.outcome_.candidates[several.outcome_.chosen]
    return {
        "source only": figure(first.unadapted(), pair),
        "default": figure(first, pair),
        "chosen": figure(several, pair),
        "choice": f"{chosen.method}@{chosen.step}",
    }


def shown(values: list[float]) -> str:
    return f"{mean_interval(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def report(name: str, rows: list[dict[str, Any]], started: float) -> None:
    figures = " | ".join(shown([row[key] for row in rows]) for key in ("source only", "default", "chosen"))
    choices = ", ".join(row["choice"] for row in rows)
    print(f"| {name} | {figures} | {choices} | {time.process_time() - started:.0f} |", flush=True)


def hearts(seeds: int, data_dir: str | None, steps: int | None) -> None:
    gains: dict[str, list[float]] = {"default": [], "chosen": []}
    for one, other in itertools.permutations(HOSPITALS, 2):
        started = time.process_time()
        pair = _domains.heart(one, other, data_dir)
        rows = [measured(HEART, pair, seed, area, steps) for seed in range(seeds)]
        report(f"heart {one} -> {other}", rows, started)
        for key, found in gains.items():
            found.append(float(np.mean([row[key] - row["source only"] for row in rows])))
    for key, found in gains.items():
        print(f"heart, {key} over source only, {len(found)} pairs: mean {np.mean(found):+.3f}, worst {min(found):+.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default=os.environ.get("GRADTAPE_DATA"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--tasks", nargs="+", default=[*TASKS, "heart"], choices=[*TASKS, "heart"])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        "| task | source only | default | chosen without labels | choices | CPU-s |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for name in asked.tasks:
        if name == "heart":
            hearts(asked.seeds, asked.data_dir, asked.steps)
            continue
        started, task = time.process_time(), TASKS[name]
        rows = []
        for seed in range(asked.seeds):
            rows.append(measured(task, task.pair(seed, asked.data_dir), seed, accuracy, asked.steps))
        report(name, rows, started)


if __name__ == "__main__":
    main()
