"""The runs of a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from gradtape.errors import RunError
from gradtape.runs.run import read_info


class RunSummary(NamedTuple):
    """One line about a run.

    Attributes:
        path: Its folder.
        command: The command that made it, empty where it cannot be read.
        status: How it stands: running, finished, interrupted, failed, or damaged.
        started: When it began, ISO 8601 in UTC, empty where it cannot be read.
        note: The error it ended with, or what is damaged.
    """

    path: Path
    command: str
    status: str
    started: str
    note: str


def list_runs(folder: str | os.PathLike[str]) -> list[RunSummary]:
    """Return the runs in a folder, by name; a damaged one is listed as such and hides no other.

    Raises:
        RunError: The folder does not exist.
    """
    base = Path(folder)
    if base.exists() and not base.is_dir():
        raise RunError(f"{base} is a file, not a folder of runs", remedy="name the folder that holds the runs")
    if not base.is_dir():
        raise RunError(f"there is no folder {base}", remedy="make a run first: gradtape augment digits")
    return [_summary(path) for path in sorted(base.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def next_path(folder: str | os.PathLike[str], stem: str) -> Path:
    """Return the first unused ``folder/stem-001``, ``-002``, ..."""
    base = Path(folder)
    pattern = re.compile(re.escape(stem) + r"-(\d+)$")
    names = [path.name for path in base.iterdir()] if base.is_dir() else []
    numbers = [int(match[1]) for name in names if (match := pattern.match(name))]
    return base / f"{stem}-{max(numbers, default=0) + 1:03d}"


def _summary(path: Path) -> RunSummary:
    try:
        info = read_info(path)
    except RunError as error:
        return RunSummary(path, "", "damaged", "", error.what)
    return RunSummary(path, info["command"], info["status"], info.get("started", ""), info.get("error", ""))
