"""What an exporter reads, and how it is named elsewhere."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from gradtape.errors import InputError
from gradtape.runs.series import Series
from gradtape.runs.store import SeriesStore


class Source(NamedTuple):
    """A run that is exported.

    Attributes:
        name: Name of its folder.
        info: Content of its ``run.json``.
        series: Its series.
    """

    name: str
    info: dict[str, Any]
    series: SeriesStore

    @property
    def started(self) -> float:
        """When the run began, in seconds since 1970."""
        return datetime.fromisoformat(self.info["started"]).timestamp()

    def columns(self, channel: str) -> Iterator[tuple[str, Series]]:
        """Yield each column of a channel; all end at the same step, also while the run goes on."""
        stop = self.series.latest(channel)
        for column in self.series.columns(channel):
            if stop is not None:
                yield column, self.series.read(channel, [column], stop=stop + 1)

    def tags(self, spelling: Callable[[str], str] = str) -> dict[tuple[str, str], str]:
        """Return a different name, ``channel/column`` as it is spelled elsewhere, for every (channel, column)."""
        found: dict[tuple[str, str], str] = {}
        taken: set[str] = set()
        for channel in self.series.names():
            for column in self.series.columns(channel):
                found[channel, column] = unused(spelling(f"{channel}/{column}"), taken)
        return found


def file_names(channels: Iterable[str], ending: str) -> dict[str, str]:
    """Return channel -> a different file name that every system takes."""
    taken: set[str] = set()
    return {
        channel: unused(spelled(channel.replace("/", "."), r"[\w .-]")[:100].strip(". ") or "_", taken) + ending
        for channel in channels
    }


def spelled(name: str, allowed: str) -> str:
    """Return the name with ``_`` for every character that does not match."""
    return re.sub(f"(?!{allowed}).", "_", name, flags=re.ASCII | re.DOTALL)


def unused(name: str, taken: set[str]) -> str:
    """Return the name, or the name with a number, that is not taken yet, and take it; case makes no difference."""
    found, number = name, 1
    while found.lower() in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found.lower())
    return found


@contextmanager
def needed(extra: str) -> Iterator[None]:
    """Say in one sentence which package is missing.

    Raises:
        InputError: An import in the block failed.
    """
    try:
        with warnings.catch_warnings():  # what a package says of its own use of others is not about this export
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise InputError(
            f"exporting to {extra} needs a package that cannot be imported ({error})",
            remedy=f"pip install 'gradtape[{extra}]'",
        ) from error


@contextmanager
def environment(**defaults: str) -> Iterator[None]:
    """Set environment variables that the user has not set, for as long as the block runs."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def about(source: Source, files: dict[str, str], folder: Path) -> None:
    """Write ``about.json``: which file holds which channel, what the run was, and its notes."""
    import json

    content = {
        "run": source.name,
        "info": source.info,
        "notes": source.series.notes(),
        "channels": {file: channel for channel, file in files.items()},
    }
    (folder / "about.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
