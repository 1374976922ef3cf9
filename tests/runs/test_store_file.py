"""The file behind the series: kills, full disks, several processes, other versions."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradtape.errors import RunError
from gradtape.runs import SeriesStore, _layout, store

# says each step that is on its way with the time, so that the test knows what may be missing
WRITER = """
import sys, time
from pathlib import Path
from gradtape.runs import SeriesStore
path, begin, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
store = SeriesStore(path)
wide, sparse = store.channel("wide", [str(i) for i in range(50)]), store.channel("sparse", ["x"])
print("ready", flush=True)
for step in range(begin, 10**9):
    wide.append(step, [step + i for i in range(50)])
    if step % 32 == 0:
        sparse.append(step, [step])
    print(step, time.monotonic(), flush=True)
    if step % 64 == 0:
        time.sleep(pause)
"""


@contextmanager
def writing(path: Path, begin: int = 0, pause: float = 0.0, script: str = WRITER) -> Iterator[subprocess.Popen[str]]:
    """A process that writes, until it is killed at the end of the block; what it says goes to a file beside."""
    with open(path.with_name("said"), "w") as said:
        writer = subprocess.Popen([sys.executable, "-c", script, path, str(begin), str(pause)], stdout=said, text=True)
        try:
            while not said_by(path):
                time.sleep(0.01)
            yield writer
        finally:
            writer.kill()
            writer.wait()


def said_by(path: Path) -> list[list[str]]:
    """The lines that it has said to their end."""
    return [line.split() for line in path.with_name("said").read_text().rpartition("\n")[0].splitlines()]


def test_killed_at_any_moment_it_loses_less_than_a_second(tmp_path: Path) -> None:
    rng, path, begin = random.Random(0), tmp_path / "s.sqlite", 0
    for kill in range(10):
        with writing(path, begin, 0.0 if kill % 5 else 0.9) as writer:
            time.sleep(rng.uniform(0.02, 0.3) if kill % 5 else 1.3)
            killed = time.monotonic()
            writer.kill()
        stored = [int(step) for step, at in said_by(path)[1:] if float(at) < killed - 1]
        due = max(stored, default=begin - 1)
        check = sqlite3.connect(path)
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        check.close()
        again = SeriesStore(path, read_only=True)
        wide, sparse = again.read("wide"), again.read("sparse")
        again.close()
        last = int(wide.steps[-1]) if len(wide.steps) else -1
        assert last >= due
        assert wide.steps.tolist() == list(range(last + 1))  # nothing is missing before what is lost
        assert wide.column("49").tolist() == [step + 49 for step in range(last + 1)]
        assert sparse.steps.tolist()[: due // 32 + 1] == list(range(0, due + 1, 32))
        begin = max(last - 300, 0)  # as from a checkpoint: some steps are written again
    assert begin > 2 * _layout.BLOCK


def test_what_waits_in_a_pause_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with writing(path, 0, 60, WRITER.replace("if step % 64 == 0", "if step == 10")):
        while len(said_by(path)) < 12:
            time.sleep(0.01)
        time.sleep(max(0.0, float(said_by(path)[-1][1]) + 0.95 - time.monotonic()))
    reader = SeriesStore(path, read_only=True)
    assert reader.read("wide").steps.tolist() == list(range(11))
    reader.close()


def test_a_reader_beside_the_writer_sees_all_that_is_committed(tmp_path: Path) -> None:
    path, seen = tmp_path / "s.sqlite", [0]
    with writing(path):
        reader, begun = SeriesStore(path, read_only=True), time.monotonic()
        while (seen[-1] < 5 * _layout.BLOCK or len(set(seen)) < 5) and time.monotonic() < begun + 30:
            series = reader.read("wide", ["0", "49"])
            assert series.steps.tolist() == list(range(len(series.steps)))  # never a block and its rows, or neither
            assert (series.column("49") == series.steps + 49).all()
            seen.append(len(series.steps))
        said = int(said_by(path)[-1][0])
        time.sleep(0.6)
        assert reader.latest("wide") >= said
        reader.close()
    assert seen == sorted(seen)
    assert seen[-1] >= 5 * _layout.BLOCK


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with writing(path) as other, pytest.raises(RunError, match=f"is being written by process {other.pid}: wait for it"):
        SeriesStore(path)
    again = SeriesStore(path)  # its process is gone
    again.channel("wide", [str(i) for i in range(50)]).append(10**6, range(50))
    again.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM writer").fetchone() == (0,)


def test_a_file_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_WAIT", 0.1)
    SeriesStore(tmp_path / "s.sqlite").close()
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunError, match=r"is in use by another process \(database is locked\): wait for it"):
        SeriesStore(tmp_path / "s.sqlite")
    other.execute("ROLLBACK")
    other.close()
    SeriesStore(tmp_path / "s.sqlite").close()


def test_closing_leaves_one_file(tmp_path: Path) -> None:
    opened = SeriesStore(tmp_path / "s.sqlite")
    channel = opened.channel("a", ["x"])
    for step in range(3000):
        channel.append(step, [step])
    opened.close()
    assert os.listdir(tmp_path) == ["s.sqlite"]
    reader = SeriesStore(tmp_path / "s.sqlite", read_only=True)
    assert len(reader.read("a").steps) == 3000
    assert os.listdir(tmp_path) == ["s.sqlite"]
    reader.close()


def test_a_full_disk_is_one_sentence_and_nothing_stored_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    opened = SeriesStore(path)
    channel = opened.channel("loss", ["train"])
    channel.append(0, [0.0])
    opened.flush()
    pages = opened._connection.execute("PRAGMA page_count").fetchone()[0]
    opened._connection.execute(f"PRAGMA max_page_count={pages + 6}")
    with pytest.raises(RunError, match="disk full while writing .*free some space and continue with --resume"):
        for step in range(1, 100_000):
            channel.append(step, [step])
    opened.close()
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
    again = SeriesStore(path)  # space is freed
    kept = again.read("loss").column("train").tolist()
    assert kept == list(range(len(kept)))
    assert len(kept) >= 1
    again.channel("loss", ["train"]).append(len(kept), [len(kept)])
    assert again.read("loss").column("train").tolist() == list(range(len(kept) + 1))
    again.close()


def test_what_could_not_be_stored_in_a_pause_is_said_at_the_next_call(tmp_path: Path) -> None:
    opened = SeriesStore(tmp_path / "s.sqlite")
    channel = opened.channel("loss", [str(i) for i in range(3000)])
    opened._connection.execute("PRAGMA max_page_count=1")
    channel.append(0, [0.0] * 3000)
    begun = time.monotonic()
    while opened._failure is None and time.monotonic() - begun < 2:
        time.sleep(0.02)
    with pytest.raises(RunError, match="disk full while writing"):
        channel.append(1, [0.0] * 3000)
    opened._connection.execute("PRAGMA max_page_count=100000")
    opened.close()


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    SeriesStore(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version={_layout.VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(RunError, match=r"has layout version 3, and this gradtape reads up to 2: update gradtape"):
            SeriesStore(path, read_only=read_only)
    assert path.read_bytes() == before


def test_the_first_layout_is_read_and_brought_up_to_this_one(tmp_path: Path) -> None:
    path, count = tmp_path / "s.sqlite", 2 * _layout.BLOCK + 5
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE channels (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, columns TEXT NOT NULL);"
        "CREATE TABLE steps (channel INTEGER NOT NULL, step INTEGER NOT NULL, numbers BLOB NOT NULL,"
        " PRIMARY KEY (channel, step)) WITHOUT ROWID;"
        "INSERT INTO channels VALUES (1, 'loss', '[\"train\"]')"
    )
    old.executemany("INSERT INTO steps VALUES (1, ?, x'0000803f')", ((step,) for step in range(count)))
    old.commit()
    old.close()
    before = path.read_bytes()
    reader = SeriesStore(path, read_only=True)
    assert reader.read("loss").values[:, 0].tolist() == [1.0] * count
    assert (reader.latest("loss"), reader.notes(), reader.names()) == (count - 1, {}, ["loss"])
    reader.close()
    assert path.read_bytes() == before
    writer = SeriesStore(path)
    writer.channel("loss", ["train"]).append(count, [2.0])
    assert writer.read("loss").values[:, 0].tolist() == [1.0] * count + [2.0]
    writer.close()
    assert sqlite3.connect(path).execute("SELECT sum(count) FROM blocks").fetchone()[0] >= _layout.BLOCK
