"""The series of a run: one SQLite file, many channels, one row of numbers per channel and step."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import ref

from gradtape.errors import InputError, RunError, listed
from gradtape.runs import _layout, _process
from gradtape.runs.channel import Channel
from gradtape.runs.series import Envelope, Series, envelope_of

_WAIT = 2.0  # seconds for another process's transaction
_KEPT_BACK = 0.25  # seconds that a row waits for company; twice that when none comes
_ROWS_KEPT_BACK = 1024
_STOP_IT = "wait for it or stop it first"


class SeriesStore:
    """The SQLite file behind a run's series, in write-ahead mode: one process writes while others read.

    Rows are kept back for at most half a second, then stored together; a process that is killed loses no more. The
    layout is that of ``docs/runs.md``, for any program that reads SQLite.

    Args:
        path: The file; made when missing. ``Path(":memory:")`` keeps everything in memory.
        read_only: Open an existing file for reading.

    Raises:
        RunError: The file cannot be opened, is no series file or one of a newer version, or another process writes it.

    Examples:
        >>> store = SeriesStore(Path(":memory:"))
        >>> norms = store.channel("model/grad_norm", ["0.weight", "0.bias"])
        >>> for step in range(1000):
        ...     norms.append(step, [1 / (step + 1), step])
        >>> store.read("model/grad_norm", columns=["0.bias"], start=500, stop=503).values.tolist()
        [[500.0], [501.0], [502.0]]
        >>> store.envelope("model/grad_norm", "0.bias", pixels=4).maximum.tolist()
        [249.0, 499.0, 749.0, 999.0]
        >>> store.close()
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._on_disk = path != Path(":memory:")
        self._channels: dict[str, Channel] = {}
        self._pending: dict[tuple[int, int], bytes] = {}
        self._since = 0.0
        self._closed = threading.Event()
        self._watched = not self._on_disk
        self._failure: RunError | None = None
        self._lock = threading.RLock()
        with self._explained():
            source = f"{path.absolute().as_uri()}?mode=ro" if read_only else path
            self._connection = sqlite3.connect(
                source, uri=read_only, timeout=_WAIT, isolation_level=None, check_same_thread=False
            )
            self._writer = _layout.Writer(self._connection)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def channel(self, name: str, columns: Sequence[str]) -> Channel:
        """Return the channel of that name for writing; made when missing.

        Args:
            name: Its name, such as ``model/grad_norm``.
            columns: Names of its columns, each once; they may hold any characters.

        Raises:
            InputError: The channel exists with other columns, or a column is named twice.
        """
        if name not in self._channels:
            if len(set(columns)) < len(columns):
                twice = [column for column in dict.fromkeys(columns) if list(columns).count(column) > 1]
                raise InputError(f"channel {name!r} has {listed(twice)} twice", remedy="name each column once")
            with self._transaction("IMMEDIATE"):
                self._connection.execute(
                    "INSERT OR IGNORE INTO channels (name, columns) VALUES (?, ?)", (name, json.dumps(list(columns)))
                )
                key, stored = self._found(name)
            self._channels[name] = Channel(self, key, name, stored)
        channel = self._channels[name]
        if channel.columns != tuple(columns):
            raise InputError(
                f"channel {name!r} has the columns {listed(channel.columns)}", remedy="use another channel for others"
            )
        return channel

    def names(self) -> list[str]:
        """Return the names of all channels, in the order of their making."""
        with self._explained():
            return [name for (name,) in self._connection.execute("SELECT name FROM channels ORDER BY id")]

    def columns(self, name: str) -> tuple[str, ...]:
        """Return the names of a channel's columns.

        Raises:
            RunError: There is no such channel.
        """
        with self._transaction():
            return self._found(name)[1]

    def read(
        self, name: str, columns: Sequence[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> Series:
        """Return a channel, or some of its columns and steps; no others are read from the disk.

        Args:
            name: The channel.
            columns: The columns, in the order in which they come back; all if None.
            start: First step; the first stored if None.
            stop: First step that is left out; none is if None.

        Raises:
            RunError: There is no such channel, or the file is damaged.
            InputError: There is no such column.
        """
        self.flush()
        low = _layout.LOWEST if start is None else max(start, _layout.LOWEST)
        high = _layout.HIGHEST if stop is None else min(stop - 1, _layout.HIGHEST)
        if high < low:
            low, high = 1, 0  # nothing, in numbers that fit into 64 bits
        with self._transaction():
            key, stored = self._found(name)
            places = {column: index for index, column in enumerate(stored)}
            wanted = stored if columns is None else tuple(columns)
            for column in wanted:
                if column not in places:
                    raise InputError(
                        f"channel {name!r} has no column {column!r}", remedy=f"use one of {listed(stored)}"
                    )
            chosen = [places[column] for column in wanted]
            steps, values = _layout.read(self._connection, key, len(stored), chosen, low, high)
        return Series(wanted, steps, values)

    def envelope(
        self, name: str, column: str, pixels: int, start: int | None = None, stop: int | None = None
    ) -> Envelope:
        """Return one column drawn into at most ``pixels`` equally wide parts: smallest, largest and last value of each.

        NaN and infinite values are left out of smallest and largest and counted instead.

        Args:
            name: The channel.
            column: The column.
            pixels: Width of the drawing, at least 1.
            start: Step at its left edge; the first stored if None.
            stop: Step after its right edge; one after the last stored if None.

        Raises:
            RunError: There is no such channel, or the file is damaged.
            InputError: There is no such column, or ``pixels`` is below 1.
        """
        series = self.read(name, [column], start, stop)
        return envelope_of(series.steps, series.values[:, 0], pixels, start, stop)

    def latest(self, name: str) -> int | None:
        """Return the last step of a channel, or None where it holds none or does not exist."""
        self.flush()
        with self._transaction():
            found = self._connection.execute("SELECT id FROM channels WHERE name = ?", (name,)).fetchone()
            return None if found is None else _layout.latest(self._connection, found[0])

    def note(self, key: str, value: Any) -> None:
        """Keep a small fact, in place of what ``key`` held before; it is stored at once.

        Args:
            key: Its name, such as ``model/optimizer``.
            value: What JSON can hold: numbers (finite), texts, lists, dictionaries, True, False, None.

        Raises:
            InputError: The value cannot be written as JSON.
        """
        try:
            text = json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the note {key!r} cannot be written as JSON ({error})", remedy="give plain values"
            ) from None
        with self._transaction("IMMEDIATE"):
            self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, text))

    def notes(self) -> dict[str, Any]:
        """Return all notes, by name."""
        with self._transaction():
            if _layout.version_of(self._connection) < _layout.VERSION:
                return {}
            found = self._connection.execute("SELECT key, value FROM notes ORDER BY key").fetchall()
        return {key: json.loads(value) for key, value in found}

    def flush(self) -> None:
        """Store what is kept back.

        Raises:
            RunError: It cannot be stored, or what was kept back before could not.
        """
        with self._lock:
            pending, self._pending = self._pending, {}
            failure, self._failure = self._failure, None
            try:
                if pending:
                    with self._transaction("IMMEDIATE"):
                        self._writer.write(pending)
            except KeyboardInterrupt:
                self._pending = pending
                raise
            if failure is not None:
                raise failure

    def close(self) -> None:
        """Store what is kept back and close the file, whether or not the storing works.

        The last writer leaves one file alone, which readers of it, also from a medium that cannot be written, add
        nothing to.
        """
        self._closed.set()
        with self._lock:
            try:
                self.flush()
            finally:
                if not self._read_only:
                    with suppress(sqlite3.DatabaseError):  # others read it now, or the disk is full
                        self._connection.execute("DELETE FROM writer WHERE process = ?", (os.getpid(),))
                        self._connection.execute("PRAGMA busy_timeout=200")
                        self._connection.execute("PRAGMA journal_mode=DELETE")
                self._connection.close()

    def put(self, key: int, step: int, numbers: bytes) -> None:
        """Keep a row back until it is worth storing; ``Channel.append`` calls it."""
        with self._lock:
            if not self._pending:
                self._since = time.monotonic()
            if not self._watched:
                self._watched = True
                with suppress(RuntimeError):  # no thread can be started while the interpreter ends
                    threading.Thread(target=_watch, args=(ref(self), self._closed), daemon=True).start()
            self._pending[key, step] = numbers
            waited = time.monotonic() - self._since
            if len(self._pending) >= _ROWS_KEPT_BACK or waited >= _KEPT_BACK or self._failure is not None:
                self.flush()

    def flush_late(self) -> None:
        """Store what waits for rows that do not come; the next call says what went wrong."""
        with self._lock:
            try:
                if self._pending and time.monotonic() - self._since >= _KEPT_BACK:
                    self.flush()
            except RunError as error:
                self._failure = error

    def _open(self) -> None:
        version = _layout.version_of(self._connection)
        if version > _layout.VERSION:
            raise RunError(
                f"{self.path} has layout version {version}, and this gradtape reads up to {_layout.VERSION}",
                remedy="update gradtape",
            )
        if self._read_only:
            self._connection.execute("SELECT id FROM channels LIMIT 1")
            return
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: fewer waits for the disk than with 4
        with self._transaction("IMMEDIATE"):
            if version < _layout.VERSION:
                _layout.prepare(self._connection)
            for process, began in self._connection.execute("SELECT process, started FROM writer").fetchall():
                if process != os.getpid() and _process.alive(process, began):
                    raise RunError(f"{self.path} is being written by process {process}", remedy=_STOP_IT)
            self._connection.execute("DELETE FROM writer")
            self._connection.execute("INSERT INTO writer VALUES (?, ?)", (os.getpid(), _process.started(os.getpid())))

    def _found(self, name: str) -> tuple[int, tuple[str, ...]]:
        found = self._connection.execute("SELECT id, columns FROM channels WHERE name = ?", (name,)).fetchone()
        if found is None:
            names = self.names()
            remedy = f"use one of {listed(names)}" if names else "it holds none yet"
            raise RunError(f"{self.path} has no channel {name!r}", remedy=remedy)
        return found[0], tuple(json.loads(found[1]))

    @contextmanager
    def _transaction(self, kind: str = "") -> Iterator[None]:
        with self._explained():
            self._connection.execute(f"BEGIN {kind}")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.DatabaseError):  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                text = str(error)
                if "full" in text or "disk I/O" in text:
                    raise RunError(
                        f"disk full while writing {self.path}", remedy="free some space and continue with --resume"
                    ) from error
                if "locked" in text:
                    raise RunError(f"{self.path} is in use by another process ({text})", remedy=_STOP_IT) from error
                raise RunError(
                    f"{self.path} cannot be used as the series of a run ({text})",
                    remedy="restore the file or start a new run",
                ) from error
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise RunError(f"{self.path} is damaged", remedy="restore the file or start a new run") from error


def _watch(store: ref[SeriesStore], closed: threading.Event) -> None:
    """Store what is kept back while nothing is appended, as during a long evaluation."""
    while not closed.wait(_KEPT_BACK):
        open_store = store()
        if open_store is None:
            return
        open_store.flush_late()
        del open_store
