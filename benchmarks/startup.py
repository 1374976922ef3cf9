"""How long it takes to import gradtape and to print its help, beside an empty program.

Prints medians of process time (user and system) over several runs, and the ratio to `python -c pass` in the same run.
The limits are 100 ms for the import and 300 ms for the help.

    python benchmarks/startup.py
"""

import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import gradtape": [sys.executable, "-c", "import gradtape"],
    "gradtape --help": [sys.executable, "-c", "from gradtape.cli.app import main; main(['--help'])"],
}
RUNS = 9


def process_time(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(process_time(command))
    empty = statistics.median(times["python -c pass"])
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:<18}{middle:7.0f} ms  {middle / empty:5.1f} x an empty program  (n = {RUNS})")


if __name__ == "__main__":
    main()
