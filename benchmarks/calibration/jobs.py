"""The runs of the calibration, spread over processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import torch
from benchmarks.calibration.healthy import HEALTHY, STEPS
from benchmarks.calibration.held_out import HELD_OUT
from benchmarks.calibration.online import Record, run
from benchmarks.calibration.planted import PLANTED
from benchmarks.calibration.slow import AT, SLOW
from benchmarks.calibration.slow import STEPS as SLOW_STEPS


class Job(NamedTuple):
    """A run: ``healthy``, ``planted`` or ``slow``; the name of what is run; the seed."""

    kind: str
    name: str
    seed: int


def all_jobs(seeds: int) -> list[Job]:
    """Return every run of the calibration."""
    return [
        *(Job("healthy", name, seed) for name in HEALTHY | HELD_OUT for seed in range(seeds)),
        *(Job("planted", name, seed) for name in PLANTED for seed in range(seeds)),
        *(Job("slow", name, seed) for name in SLOW for seed in range(seeds)),
    ]


def do(job: Job, folder: Path | None = None) -> Record:
    """Run one."""
    torch.set_num_threads(1)
    kept = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"{job.kind}-{hashlib.sha1(job.name.encode()).hexdigest()[:12]}-{job.seed}.sqlite"
    if job.kind == "healthy":
        return run((HEALTHY | HELD_OUT)[job.name], job.seed, STEPS, kept=kept)
    if job.kind == "planted":
        failure = PLANTED[job.name]
        return run(failure.twin, job.seed, failure.steps, failure.plant, failure.at, kept=kept)
    slow = SLOW[job.name]
    return run(slow.twin, job.seed, SLOW_STEPS, slow.plant, AT, every=5, kept=kept)


def do_all(jobs: list[Job], processes: int, folder: Path | None = None) -> Iterator[tuple[Job, Record]]:
    """Run all; give each as it ends."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes) as pool:
        started = {pool.submit(do, job, folder): job for job in jobs}
        for done in as_completed(started):
            error = done.exception()
            if error is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                raise RuntimeError(f"{started[done]} failed") from error
            yield started[done], done.result()
