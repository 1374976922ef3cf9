"""How long `gradtape augment digits` takes, and what its claims are worth.

    python benchmarks/main_job.py              time of the default and of --quick
    python benchmarks/main_job.py --seeds 10   the verdict for ten seeds, and how often a control without effect "helps"

The control `repeat` adds nothing but copies of the real images, so each of its 95% intervals that does not cover 0 is a
false alarm: about one in twenty is to be expected. The limits are 180 s for the default and 60 s for --quick.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import gradtape as gt


def timed(**settings: object) -> tuple[float, float, gt.AugmentResult]:
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
        result = gt.augment("digits", run=Path(folder) / "run", **settings)
        cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
        return time.perf_counter() - wall, cpu, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=0, help="number of seeds whose verdicts are compared")
    parser.add_argument("--quick", action="store_true", help="compare verdicts of quick runs")
    asked = parser.parse_args()
    if not asked.seeds:
        for name, quick, limit in (("default", False, 180), ("--quick", True, 60)):
            wall, cpu, _ = timed(quick=quick)
            print(f"{name:<10}{wall:6.1f} s on the clock, {cpu:6.1f} s of processor time; the limit is {limit} s")
        return
    alarms = 0
    for seed in range(asked.seeds):
        *_, result = timed(seed=seed, quick=asked.quick)
        gains = {row["arm"]: (row["gain"], row["low"], row["high"]) for row in result.table if row["gain"] is not None}
        alarms += not gains["repeat"][1] <= 0 <= gains["repeat"][2]
        figures = "  ".join(f"{arm} {gain:+.1f} [{low:+.1f}, {high:+.1f}]" for arm, (gain, low, high) in gains.items())
        print(f"seed {seed}: {result.helped:<8}{figures}", flush=True)
    print(f"false alarms of the control without effect: {alarms} of {asked.seeds}")


if __name__ == "__main__":
    main()
