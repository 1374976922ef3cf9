"""The layout of a series file: its tables, its version, and how rows become blocks and blocks rows again.

``docs/runs.md`` describes it for people who read it without gradtape: what changes here changes there, and the version.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradtape.runs.series import Numbers, Steps

VERSION = 2  # 1 has only `channels` and `steps`, and no number in `user_version`
BLOCK = 1000  # steps: a piece of 4,000 bytes fills a page of 4,096, and 100,000 steps of a series are 100 pages
LOWEST, HIGHEST = -(2**63), 2**63 - 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS channels (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, columns TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS steps (channel INTEGER NOT NULL, step INTEGER NOT NULL, numbers BLOB NOT NULL,"
    " PRIMARY KEY (channel, step)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS blocks (channel INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"
    " count INTEGER NOT NULL, part INTEGER NOT NULL, steps BLOB, UNIQUE (channel, last))",
    "CREATE TABLE IF NOT EXISTS parts (id INTEGER PRIMARY KEY, numbers BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS writer (process INTEGER NOT NULL, started INTEGER)",
)
_IN_RANGE = "FROM blocks WHERE channel = ? AND last >= ? AND first <= ?"


def version_of(connection: sqlite3.Connection) -> int:
    """Return the layout's version; 0 is a file without one: new, or of the first layout."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing, which brings a file of the first layout up to this one."""
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


class Writer:
    """Stores rows and packs them into blocks.

    Args:
        connection: The open file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loose: dict[int, int] = {}  # channel -> how many rows it may have at most; counted when first needed

    def write(self, rows: Mapping[tuple[int, int], bytes]) -> None:
        """Store (channel, step) -> numbers in place of what was there, and pack; in the caller's transaction.

        As many blocks are packed as rows come in and one more, so that no call takes long and none is left over. Rows
        after the one that came last, left from before a run was resumed, are about to be replaced: they are packed
        once it has passed them, so that no block is taken apart twice.
        """
        written: dict[int, list[int]] = {}
        for channel, step in rows:
            written.setdefault(channel, []).append(step)
        try:
            for channel, steps in written.items():
                if _unpack_where(self._connection, channel, steps):
                    self._loose.pop(channel, None)
            self._connection.executemany(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", ((*place, numbers) for place, numbers in rows.items())
            )
            allowed = len(rows) // BLOCK + 1
            for channel, steps in written.items():
                if channel in self._loose:
                    self._loose[channel] += len(steps)
                while allowed and self._loose.get(channel, BLOCK) >= BLOCK:
                    self._loose[channel] = _rows_up_to(self._connection, channel, steps[-1])
                    if self._loose[channel] >= BLOCK:
                        _pack(self._connection, channel, steps[-1])
                        self._loose[channel] -= BLOCK
                        allowed -= 1
        except BaseException:
            self._loose.clear()
            raise


def read(
    connection: sqlite3.Connection, channel: int, width: int, chosen: Sequence[int], low: int, high: int
) -> tuple[Steps, Numbers]:
    """Return the steps from ``low`` to ``high``, both included, and the chosen columns' numbers, shape (n, chosen)."""
    blocks: list[tuple[Any, ...]] = []
    if version_of(connection) > 1:
        select = f"SELECT first, last, count, steps {_IN_RANGE} ORDER BY last"
        blocks = connection.execute(select, (channel, low, high)).fetchall()
    rows = connection.execute(
        "SELECT step, numbers FROM steps WHERE channel = ? AND step BETWEEN ? AND ? ORDER BY step", (channel, low, high)
    ).fetchall()
    steps = np.concatenate(
        [*(_steps(*block) for block in blocks), np.array([step for step, _ in rows], dtype=np.int64)]
    )
    packed = len(steps) - len(rows)
    values = np.empty((len(chosen), len(steps)), dtype=np.float32)
    values[:, packed:] = _matrix([numbers for _, numbers in rows], len(rows), width)[:, chosen].T
    for index, column in enumerate(chosen if packed else ()):
        found = connection.execute(
            f"SELECT numbers FROM (SELECT part, last {_IN_RANGE}) JOIN parts ON id = part + ? ORDER BY last",
            (channel, low, high, column),
        ).fetchall()
        values[index, :packed] = _matrix([numbers for (numbers,) in found], 1, packed)[0]
    if len(steps) > 1 and not (steps[1:] > steps[:-1]).all():  # steps written out of order, or rows of a resumed run
        order = np.argsort(steps)
        steps, values = steps[order], values[:, order]
    begin, end = np.searchsorted(steps, low), np.searchsorted(steps, high, side="right")
    return steps[begin:end], values[:, begin:end].T


def latest(connection: sqlite3.Connection, channel: int) -> int | None:
    """Return the last step of a channel, or None."""
    found = [connection.execute("SELECT max(step) FROM steps WHERE channel = ?", (channel,)).fetchone()[0]]
    if version_of(connection) > 1:
        found += connection.execute("SELECT max(last) FROM blocks WHERE channel = ?", (channel,)).fetchone()
    return max((step for step in found if step is not None), default=None)


def _rows_up_to(connection: sqlite3.Connection, channel: int, newest: int) -> int:
    found = connection.execute("SELECT count(*) FROM steps WHERE channel = ? AND step <= ?", (channel, newest))
    count: int = found.fetchone()[0]
    return count


def _pack(connection: sqlite3.Connection, channel: int, newest: int) -> None:
    """Turn the ``BLOCK`` earliest rows of a channel up to ``newest`` into a block."""
    among = "FROM steps WHERE channel = ? AND step <= ?"
    rows = connection.execute(f"SELECT step, numbers {among} ORDER BY step LIMIT {BLOCK}", (channel, newest)).fetchall()
    steps = np.array([step for step, _ in rows], dtype="<i8")
    even = (steps == _steps(rows[0][0], rows[-1][0], BLOCK, None)).all()
    columns = np.ascontiguousarray(_matrix([numbers for _, numbers in rows], BLOCK, len(rows[0][1]) // 4).T)
    (part,) = connection.execute("SELECT coalesce(max(id) + 1, 0) FROM parts").fetchone()
    connection.execute(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
        (channel, rows[0][0], rows[-1][0], BLOCK, part, None if even else steps.tobytes()),
    )
    connection.executemany("INSERT INTO parts VALUES (?, ?)", ((part + i, c.tobytes()) for i, c in enumerate(columns)))
    connection.execute(f"DELETE {among}", (channel, rows[-1][0]))


def _unpack_where(connection: sqlite3.Connection, channel: int, written: Sequence[int]) -> bool:
    """Turn the blocks that hold one of these steps back into rows; return whether there are any."""
    any_found = False
    select = f"SELECT rowid, part, first, last, count, steps {_IN_RANGE}"
    for block, part, *place in connection.execute(select, (channel, min(written), max(written))).fetchall():
        steps = _steps(*place)
        if not np.isin(written, steps).any():
            continue
        any_found = True
        (columns,) = connection.execute("SELECT columns FROM channels WHERE id = ?", (channel,)).fetchone()
        width = len(json.loads(columns))
        parts = (part, part + width)
        numbers = connection.execute("SELECT numbers FROM parts WHERE id >= ? AND id < ? ORDER BY id", parts).fetchall()
        matrix = np.ascontiguousarray(_matrix([number for (number,) in numbers], width, len(steps)).T)
        rows = ((channel, step, row.tobytes()) for step, row in zip(steps.tolist(), matrix, strict=True))
        connection.executemany("INSERT INTO steps VALUES (?, ?, ?)", rows)
        connection.execute("DELETE FROM blocks WHERE rowid = ?", (block,))
        connection.execute("DELETE FROM parts WHERE id >= ? AND id < ?", parts)
    return any_found


def _steps(first: int, last: int, count: int, steps: bytes | None) -> Steps:
    """Return the steps of a block; without a blob they are evenly spaced."""
    if steps is not None:
        return _whole(steps, 8 * count, "<i8").astype(np.int64, copy=False)
    return first + np.arange(count, dtype=np.int64) * ((last - first) // max(count - 1, 1))


def _matrix(blobs: Sequence[bytes], rows: int, columns: int) -> Numbers:
    numbers = _whole(b"".join(blobs), 4 * rows * columns, "<f4")
    return numbers.reshape(rows, columns)


def _whole(blob: bytes, size: int, kind: str) -> npt.NDArray[Any]:
    if len(blob) != size:
        raise sqlite3.DatabaseError(f"{len(blob)} bytes where {size} belong")
    return np.frombuffer(blob, dtype=kind)
