"""The page docs/calibration.md, from the figures."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from benchmarks.calibration import figures
from benchmarks.calibration.baselines import BASELINES
from benchmarks.calibration.figures import Runs
from benchmarks.calibration.healthy import HEALTHY, STEPS
from benchmarks.calibration.held_out import HELD_OUT
from benchmarks.calibration.online import EVERY
from benchmarks.calibration.planted import PLANTED
from benchmarks.calibration.slow import AT, SLOW

HEAD = """\
---
hide:
  - toc
---

# Calibration of the tracking rules

How often the [rules](tracking.md) speak where nothing is wrong, and whether they name what is. Every training here is
small and real, most are of handwritten digits or a text; they run on a CPU. This page was written by the run itself,
with gradtape {gradtape}, torch {torch}, NumPy {numpy} and Python {python}, on {machine}, one thread per training. To
repeat it in a checkout of gradtape, after `make test` has set it up (about {minutes:.0f} minutes of processor time;
MNIST and Shakespeare are read from `$GRADTAPE_DATA` or `../shared/data`, and the digits and another text take their
place where they are missing):

```shell
.venv/bin/python -m benchmarks.calibration
```

Rules are asked as they would be in a running training: again after every {every} steps, on what was known then. An
alarm is any finding that ever appeared, counted once per rule, player and place, also if it was withdrawn later. Dear
measures were read on a schedule of step numbers (`budget=None`), so that the page can be repeated.
"""

HEALTHY_WORDS = """\
## False alarms

{trainings} healthy trainings of {steps} steps, {seeds} each. They are healthy by a check that knows nothing of
the rules: the loss fell to a stated share, or the game's samples cover the data. {known} of them were in view, with
all their seeds, while the rules were written; the other {held} were made afterwards.

"""

PLANTED_WORDS = """
## Planted failures

{failures} failures, each planted in one of the healthy trainings above, with {seeds}. Found means: the right rule
spoke, named the right place first, and dated it no earlier than the step at which the failure was planted and no later
than the number of steps in brackets after it. {right} of {total} runs; {whole} of {failures} failures in every run.

"""

BESIDE_WORDS = """
## Beside alarms in use

The same runs, and {slow} slow divergences with {seeds}: from step {at} on the learning rate grows by 3% or 1% a
step, or a layer's weights by 2%. The harm is the loss at three times its level before; {harmed} of {runs} such runs
came to that within 600 steps, the others are left out. The lead is the number of steps from the first alarm since the
planting to the harm: the median, and the quarters in brackets; 0 where the alarm came too late or never. The longest
possible lead is {ceiling}. *Seen* counts any alarm after the planting, of whatever kind; only our rules also name the
failure and the layer, as above. An alarm that rings often is always early, so each is also asked with its threshold
raised until it is as quiet as the aim, 1 false alarm in 600 steps.

"""

SOURCES = """
Sources of the other alarms, and their exact rules, are in `benchmarks/calibration/baselines.py`. ZClip reads the
gradient norm of the whole model, the others the loss. In a game each is asked for both players.
"""


def many(seeds: int) -> str:
    """Say how many seeds."""
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def machine() -> str:
    """Describe the machine in words, without its name."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores ({model})"


def table(head: list[str], rows: list[list[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def counted(rules: Counter[str]) -> str:
    """Say which rules spoke how often."""
    return ", ".join(f"{rule} ({count})" if count > 1 else rule for rule, count in rules.most_common()) or "-"


def false_alarms(runs: Runs) -> Iterator[str]:
    """Yield the part on healthy trainings."""
    healthy = figures.of_kind(runs, "healthy")
    seeds = len({job.seed for job in healthy})
    halves = {held: {job: r for job, r in healthy.items() if (job.name in HELD_OUT) is held} for held in (False, True)}
    yield HEALTHY_WORDS.format(
        trainings=len(HEALTHY) + len(HELD_OUT), steps=STEPS, seeds=many(seeds), known=len(HEALTHY), held=len(HELD_OUT)
    )
    rows: list[list[object]] = []
    for label, part in (("all", healthy), ("in view", halves[False]), ("hold-out", halves[True])):
        rate = figures.our_rate(part)
        rows.append([label, rate.runs, rate, rate.most, f"{100 * rate.quiet:.0f}%"])
    head = ["trainings", "runs", "false alarms per 600 steps, 95% interval", "most in a run", "runs without any"]
    yield table(head, rows)
    yield "\nThe floor is 0; the aim was at most 1.\n\n"
    rows = []
    for name in HEALTHY | HELD_OUT:
        records = [record for job, record in healthy.items() if job.name == name]
        said = Counter(alarm.finding.rule for record in records for alarm in record.alarms)
        fine = sum(record.healthy for record in records)
        total = sum(len(record.alarms) for record in records)
        rows.append(
            [name, "hold-out" if name in HELD_OUT else "in view", f"{fine} of {len(records)}", total, counted(said)]
        )
    yield table(
        ["training", "seen before", "healthy", f"false alarms in {seeds} run" + "s" * (seeds > 1), "rules that spoke"],
        rows,
    )


def failures(runs: Runs) -> Iterator[str]:
    """Yield the part on planted failures."""
    all_found = {name: figures.found(runs, name) for name in PLANTED}
    right, total = sum(f.right for f in all_found.values()), sum(f.runs for f in all_found.values())
    whole = sum(f.right == f.runs for f in all_found.values())
    seeds = many(total // len(PLANTED))
    yield PLANTED_WORDS.format(failures=len(PLANTED), seeds=seeds, right=right, total=total, whole=whole)
    rows: list[list[object]] = []
    for name, failure in PLANTED.items():
        f = all_found[name]
        since = f"{np.median(f.since):.0f}" if f.since else "-"
        said = f"{np.median(f.said):.0f}" if f.said else "-"
        share = f"{f.right} of {f.runs}" if f.right == f.runs else f"**{f.right} of {f.runs}**"
        where = " or ".join(f"`{place}`" if place != "all parameters" else place for place in failure.where)
        rows.append(
            [
                name,
                f"{failure.at} (+{failure.within})",
                failure.rule,
                where,
                share,
                since,
                said,
                counted(Counter(f.others)),
            ]
        )
    head = ["failure", "planted at", "rule", "place", "found", "dated, median", "heard, median", "also said (runs)"]
    yield table(head, rows)


def comparison(runs: Runs) -> Iterator[str]:
    """Yield the part beside rules in use."""
    healthy, harms = figures.of_kind(runs, "healthy"), figures.harms(runs)
    ours, our_leads = figures.our_rate(healthy), figures.our_leads(runs)
    planted = figures.of_kind(runs, "planted")
    any_finding = np.mean([any(a.said >= PLANTED[j.name].at for a in r.alarms) for j, r in planted.items()])
    ceiling = figures.Leads([harm - AT for harm in harms.values()])
    slow = figures.of_kind(runs, "slow")
    yield BESIDE_WORDS.format(
        slow=len(SLOW), seeds=many(len(slow) // len(SLOW)), at=AT, harmed=len(harms), runs=len(slow), ceiling=ceiling
    )
    rows: list[list[object]] = []
    early = f"{our_leads.before} of {len(harms)}"
    rows.append(["**gradtape, all rules**", "-", ours, ours.most, f"{100 * any_finding:.0f}%", early, our_leads, "-"])
    for baseline in BASELINES:
        limits = [baseline.limit]
        quiet = figures.quiet_limit(baseline, healthy, 1.0)
        limits += [quiet] if quiet is not None and quiet != baseline.limit else []
        for limit in limits:
            rate, leads = figures.baseline_rate(baseline, healthy, limit), figures.baseline_leads(baseline, runs, limit)
            gain, low, high = figures.gained(our_leads, leads)
            rows.append(
                [
                    baseline.name,
                    f"{limit:.3g}" + (", raised" if limit != baseline.limit else ""),
                    rate,
                    rate.most,
                    f"{100 * figures.seen(baseline, runs, limit):.0f}%",
                    f"{leads.before} of {len(harms)}",
                    leads,
                    f"{gain:+.0f} [{low:+.0f}, {high:+.0f}]",
                ]
            )
    head = [
        "alarm",
        "threshold",
        "false alarms per 600 steps",
        "most in a run",
        "planted failures seen",
        "heard before the harm",
    ]
    yield table([*head, "lead in steps", "ours minus its, median [95%]"], rows)
    yield "\nBy kind of divergence, median lead in steps:\n\n"
    rows = []
    for name in SLOW:
        part = {job: record for job, record in runs.items() if job.kind != "slow" or job.name == name}
        n = len(figures.harms(part))
        if n:
            most = figures.Leads([harm - AT for harm in figures.harms(part).values()])
            cells = [figures.baseline_leads(b, part, b.limit).middle for b in BASELINES]
            rows.append([name, n, most.middle, figures.our_leads(part).middle, *cells])
    yield table(["divergence", "runs", "longest possible", "gradtape", *(b.name for b in BASELINES)], rows)
    yield SOURCES


def page(runs: Runs) -> str:
    """Return the page."""
    words = {
        "gradtape": version("gradtape"),
        "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": machine(),
        "minutes": sum(record.seconds for record in runs.values()) / 60 * 2,
        "every": EVERY,
    }
    parts = [HEAD.format(**words), "\n", *false_alarms(runs), *failures(runs), *comparison(runs)]
    return "".join(parts)
