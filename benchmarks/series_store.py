"""What storing costs a training, and how fast a series is read and drawn.

    python benchmarks/series_store.py                  20 channels x 200 columns x 100,000 steps: about 1.7 GB, minutes
    python benchmarks/series_store.py --steps 10000    the same, a tenth of it

Every channel is appended to at every step, as by a tracker with 20 measures of 200 parameters. Steps come at full speed
here; the share is the time spent storing over the time of a training's step. The limits are 1% of a step, and 100 ms
to draw one series. Reading starts once with the file in the system's cache, and once, where the system allows it,
without.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gradtape.runs import SeriesStore

STEP_TIMES = (50, 100, 300, 500)  # milliseconds; a small GPT on two cores takes about 300


def write(path: Path, channels: int, columns: int, steps: int) -> None:
    store = SeriesStore(path)
    names = [f"layer.{i}.weight" for i in range(columns)]
    series = [store.channel(f"model/measure_{i:02d}", names) for i in range(channels)]
    numbers = np.random.default_rng(0).normal(size=(1000, columns)).astype(np.float32)
    times, processor = np.empty(steps), time.process_time()
    for step in range(steps):
        begun = time.perf_counter()
        for channel in series:
            channel.append(step, numbers[step % 1000])
        times[step] = 1000 * (time.perf_counter() - begun)
    begun = time.perf_counter()
    store.close()
    closing = time.perf_counter() - begun
    processor = 1000 * (time.process_time() - processor) / steps
    values, size = channels * columns * steps, path.stat().st_size
    mean = (times.sum() + 1000 * closing) / steps
    print(
        f"{channels} channels x {columns} columns x {steps:,} steps: {size / 1e9:.3f} GB, "
        f"{size / values:.2f} bytes a value"
    )
    print(f"appending: {mean:.3f} ms a step, {processor:.3f} of it processor time; closing {closing:.2f} s")
    print(f"median {np.median(times):.3f}, 99.9% {np.quantile(times, 0.999):.1f}, longest {times.max():.0f} ms")
    print("share of a step of " + ", ".join(f"{ms} ms: {mean / ms:.2%}" for ms in STEP_TIMES))


def forget(path: Path) -> bool:
    """Ask the system to drop the file from its cache."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def timed(path: Path, act: Callable[[SeriesStore], object], cold: bool) -> float:
    """Return the median time of five runs in milliseconds, opening the file included."""
    found = []
    for _ in range(5):
        if cold and not forget(path):
            return float("nan")
        begun = time.perf_counter()
        store = SeriesStore(path, read_only=True)
        act(store)
        found.append(1000 * (time.perf_counter() - begun))
        store.close()
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is written [a temporary folder]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "series.sqlite"
        write(path, asked.channels, asked.columns, asked.steps)
        name, column = f"model/measure_{asked.channels // 2:02d}", f"layer.{asked.columns // 2}.weight"
        print(f"{'':<34}{'cached':>10}{'cold':>10}   ms")
        acts: dict[str, Callable[[SeriesStore], object]] = {
            "one series": lambda store: store.read(name, [column]),
            "a whole channel": lambda store: store.read(name),
        }
        steps = 1000
        while steps <= asked.steps:
            acts[f"1,000 pixels of {steps:,} steps"] = lambda store, n=steps: store.envelope(name, column, 1000, 0, n)
            steps *= 10
        for what, act in acts.items():
            print(f"{what:<34}{timed(path, act, False):>10.1f}{timed(path, act, True):>10.1f}")


if __name__ == "__main__":
    main()
