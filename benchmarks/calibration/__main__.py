"""Calibrate the tracking rules: run everything, write docs/calibration.md.

.venv/bin/python -m benchmarks.calibration                 from the root of a checkout
.venv/bin/python -m benchmarks.calibration --seeds 1       quicker, and to standard output only
.venv/bin/python -m benchmarks.calibration --runs FOLDER   keep the runs, and judge kept ones again without training

"""

import argparse
import sys
from pathlib import Path

from benchmarks.calibration.data import ROOT
from benchmarks.calibration.jobs import all_jobs, do_all
from benchmarks.calibration.report import page

PAGE = ROOT / "docs" / "calibration.md"
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each training")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page is written")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, help="a folder in which runs are kept")
    asked = parser.parse_args()
    jobs = all_jobs(asked.seeds)
    runs = {}
    for job, record in do_all(jobs, asked.processes, asked.runs):
        runs[job] = record
        print(f"{len(runs)} of {len(jobs)}: {job.kind}, {job.name}, seed {job.seed}", file=sys.stderr, flush=True)
    written = page({job: runs[job] for job in jobs})
    asked.page.write_text(written)
    print(f"wrote {asked.page}")


if __name__ == "__main__":
    main()
