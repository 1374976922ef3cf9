"""From runs to figures: false alarms with intervals, what is found, leads; ours and the baselines' alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from benchmarks.calibration.baselines import RAISED, Baseline, starts
from benchmarks.calibration.jobs import Job
from benchmarks.calibration.online import Record
from benchmarks.calibration.planted import PLANTED
from benchmarks.calibration.slow import AT, harmed
from scipy.stats import chi2

Runs = dict[Job, Record]


class Rate(NamedTuple):
    """False alarms per 600 healthy steps.

    Attributes:
        alarms: In all runs together.
        runs: How many.
        most: In the worst run.
        quiet: Share of runs without any.
    """

    alarms: int
    runs: int
    most: int
    quiet: float

    @property
    def mean(self) -> float:
        """Alarms per run."""
        return self.alarms / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean for counts, after Garwood 1936; runs are taken as independent."""
        low = chi2.ppf(0.025, 2 * self.alarms) / 2 if self.alarms else 0.0
        return float(low / self.runs), float(chi2.ppf(0.975, 2 * self.alarms + 2) / 2 / self.runs)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.mean:.2f} [{low:.2f}, {high:.2f}]"


def of_kind(runs: Runs, kind: str) -> Runs:
    """Return the runs of a kind."""
    return {job: record for job, record in runs.items() if job.kind == kind}


def rate_of(counts: Sequence[int]) -> Rate:
    """Return the rate of false alarms from their number in each run."""
    return Rate(sum(counts), len(counts), max(counts), float(np.mean([count == 0 for count in counts])))


def our_rate(runs: Runs) -> Rate:
    """Return the rate of our rules on healthy runs."""
    return rate_of([len(record.alarms) for record in runs.values()])


def heard(baseline: Baseline, record: Record, limit: float) -> list[int]:
    """Return the steps at which a baseline begins to alarm for any player."""
    found = []
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges overflows
        for loss, norm in record.series.values():
            found += starts(baseline.alarms(loss if baseline.reads == "loss" else norm, limit=limit))
    return sorted(found)


def baseline_rate(baseline: Baseline, runs: Runs, limit: float) -> Rate:
    """Return its rate on healthy runs."""
    return rate_of([len(heard(baseline, record, limit)) for record in runs.values()])


def quiet_limit(baseline: Baseline, runs: Runs, most: float) -> float | None:
    """Return the lowest raised threshold at which the baseline is as quiet as asked, or None."""
    low, high = 0, len(RAISED)  # a higher threshold is quieter, so halve
    while low < high:
        middle = (low + high) // 2
        if baseline_rate(baseline, runs, RAISED[middle] * baseline.limit).mean <= most:
            high = middle
        else:
            low = middle + 1
    return RAISED[low] * baseline.limit if low < len(RAISED) else None


class Found(NamedTuple):
    """A planted failure: in how many of its runs the right finding was heard, when, and what else was said first."""

    right: int
    runs: int
    since: list[int]
    said: list[int]
    others: dict[str, int]


def found(runs: Runs, name: str) -> Found:
    """Return what was heard of a planted failure."""
    failure = PLANTED[name]
    records = [record for job, record in runs.items() if job.kind == "planted" and job.name == name]
    since, said, others = [], [], {}
    for record in records:
        right = [alarm for alarm in record.alarms if failure.right(alarm.finding)]
        if right:
            first = min(right, key=lambda alarm: alarm.said)
            since.append(first.finding.since_step)
            said.append(first.said)
        for rule in {alarm.finding.rule for alarm in record.alarms} - {failure.rule}:
            others[rule] = others.get(rule, 0) + 1
    return Found(len(since), len(records), since, said, others)


class Leads(NamedTuple):
    """Steps between an alarm and the harm, run by run; 0 where it came with the harm, later, or never."""

    steps: list[int]

    @property
    def before(self) -> int:
        """In how many runs it was heard before the harm."""
        return sum(step > 0 for step in self.steps)

    @property
    def middle(self) -> str:
        """The median, to print."""
        return f"{np.median(self.steps):.0f}"

    def __str__(self) -> str:
        low, high = np.percentile(self.steps, [25, 75])
        return f"{np.median(self.steps):.0f} ({low:.0f} to {high:.0f})"


def lead(harm: int, alarms: Sequence[int]) -> int:
    """Return the steps from the first alarm since the planting to the harm, at least 0."""
    after = [step for step in alarms if step >= AT]
    return max(0, harm - min(after)) if after else 0


def harms(runs: Runs) -> dict[Job, int]:
    """Return when the harm was done, in those slow runs in which it was."""
    return {job: harm for job, record in of_kind(runs, "slow").items() if (harm := harmed(record.losses)) is not None}


def our_leads(runs: Runs) -> Leads:
    """Return our leads on the slow runs; an alarm is heard at the end of the prefix that has it."""
    return Leads([lead(harm, [alarm.said for alarm in runs[job].alarms]) for job, harm in harms(runs).items()])


def baseline_leads(baseline: Baseline, runs: Runs, limit: float) -> Leads:
    """Return a baseline's leads on the slow runs."""
    return Leads([lead(harm, heard(baseline, runs[job], limit)) for job, harm in harms(runs).items()])


def seen(baseline: Baseline, runs: Runs, limit: float) -> float:
    """Return the share of planted runs in which a baseline alarms after the planting, for whatever reason."""
    planted = of_kind(runs, "planted")
    return float(
        np.mean([any(s >= PLANTED[job.name].at for s in heard(baseline, r, limit)) for job, r in planted.items()])
    )


def gained(ours: Leads, theirs: Leads) -> tuple[float, float, float]:
    """Return the median of our lead minus theirs, run by run, and its 95% bootstrap interval."""
    differences = np.array(ours.steps) - np.array(theirs.steps)
    draws = np.random.default_rng(0).choice(differences, (2000, len(differences)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(np.median(differences)), float(low), float(high)
