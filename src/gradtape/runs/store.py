"""The series of a run: one SQLite file, one row of numbers per channel and step."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gradtape.errors import InputError, RunError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, columns TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS steps (
    channel INTEGER NOT NULL, step INTEGER NOT NULL, numbers BLOB NOT NULL, PRIMARY KEY (channel, step)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_ROWS_KEPT_BACK = 64


class Series(NamedTuple):
    """What one channel holds.

    Attributes:
        columns: Names of the columns.
        steps: The steps, ascending, shape (n,), int64.
        values: The numbers, shape (n, columns), float32.
    """

    columns: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    def column(self, name: str) -> npt.NDArray[np.float32]:
        """Return the numbers of one column, shape (n,)."""
        return self.values[:, self.columns.index(name)]


class SeriesStore:
    """The SQLite file behind a run's series, in write-ahead mode: one process writes while others read.

    Args:
        path: The file; made when missing.
        read_only: Open an existing file for reading.

    Raises:
        RunError: The file cannot be opened, or is no series file.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._channels: dict[str, Channel] = {}
        with self._explained():
            if read_only:
                self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            else:
                self._connection = sqlite3.connect(path)
            try:
                if read_only:
                    self._connection.execute("SELECT id FROM channels LIMIT 1")
                else:
                    self._connection.execute("PRAGMA journal_mode=WAL")
                    self._connection.execute("PRAGMA synchronous=NORMAL")
                    self._connection.executescript(_SCHEMA)
            except sqlite3.DatabaseError:
                self._connection.close()
                raise

    def channel(self, name: str, columns: Sequence[str]) -> Channel:
        """Return the channel of that name for writing; made when missing.

        Raises:
            InputError: The channel exists with other columns.
        """
        if name not in self._channels:
            with self._explained(), self._connection:
                self._connection.execute(
                    "INSERT OR IGNORE INTO channels (name, columns) VALUES (?, ?)", (name, json.dumps(list(columns)))
                )
                key, stored = self._connection.execute(
                    "SELECT id, columns FROM channels WHERE name = ?", (name,)
                ).fetchone()
            self._channels[name] = Channel(self, key, name, tuple(json.loads(stored)))
        channel = self._channels[name]
        if channel.columns != tuple(columns):
            raise InputError(
                f"channel {name!r} has the columns {', '.join(channel.columns)}",
                remedy="use another channel for others",
            )
        return channel

    def note(self, key: str, value: Any) -> None:
        """Keep a small fact, anything that JSON can say; an earlier one of that key is replaced."""
        with self._explained(), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, json.dumps(value)))

    def notes(self) -> dict[str, Any]:
        """Return all facts that were kept."""
        with self._explained():
            return {key: json.loads(value) for key, value in self._connection.execute("SELECT key, value FROM notes")}

    def names(self) -> list[str]:
        """Return the names of all channels, in the order of their making."""
        with self._explained():
            return [name for (name,) in self._connection.execute("SELECT name FROM channels ORDER BY id")]

    def read(self, name: str) -> Series:
        """Return all of a channel.

        Raises:
            RunError: There is no such channel.
        """
        self.flush()
        with self._explained():
            found = self._connection.execute("SELECT id, columns FROM channels WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise RunError(f"{self.path} has no channel {name!r}", remedy=f"use one of {', '.join(self.names())}")
            rows = self._connection.execute(
                "SELECT step, numbers FROM steps WHERE channel = ? ORDER BY step", (found[0],)
            ).fetchall()
        columns = tuple(json.loads(found[1]))
        values = np.frombuffer(b"".join(numbers for _, numbers in rows), dtype="<f4").reshape(len(rows), len(columns))
        return Series(columns, np.array([step for step, _ in rows], dtype=np.int64), values)

    def flush(self) -> None:
        """Write what is kept back."""
        pending = [(c.key, step, numbers) for c in self._channels.values() for step, numbers in c.take_pending()]
        if pending:
            with self._explained(), self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", pending)

    def close(self) -> None:
        """Write what is kept back and close the file, whether or not the writing works.

        The last writer leaves one file alone, which readers of it, also from a medium that cannot be written, add
        nothing to.
        """
        try:
            self.flush()
        finally:
            if not self._read_only:
                with suppress(sqlite3.DatabaseError):  # others read it now, or the disk is full
                    self._connection.execute("PRAGMA journal_mode=DELETE")
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                raise RunError(
                    f"disk full while writing {self.path}", remedy="free some space and continue with --resume"
                ) from error
            raise RunError(
                f"{self.path} cannot be used as the series of a run ({text})",
                remedy="restore the file or start a new run",
            ) from error


class Channel:
    """One named series: the same columns at every step."""

    def __init__(self, store: SeriesStore, key: int, name: str, columns: tuple[str, ...]) -> None:
        self.key = key
        self.name = name
        self.columns = columns
        self._store = store
        self._pending: list[tuple[int, bytes]] = []

    def append(self, step: int, values: Sequence[float] | npt.NDArray[np.floating]) -> None:
        """Add the numbers of one step; a step written before is replaced."""
        numbers = np.asarray(values, dtype="<f4")
        if numbers.shape != (len(self.columns),):
            raise InputError(
                f"channel {self.name!r} takes {len(self.columns)} numbers, got shape {numbers.shape}",
                remedy="give one number per column",
            )
        self._pending.append((step, numbers.tobytes()))
        if len(self._pending) >= _ROWS_KEPT_BACK:
            self._store.flush()

    def take_pending(self) -> list[tuple[int, bytes]]:
        """Return and forget the rows that are not yet written."""
        pending, self._pending = self._pending, []
        return pending
