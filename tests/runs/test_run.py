"""Run folders: what they keep, and what they survive."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradtape.errors import InputError, RunError
from gradtape.runs import Run, SeriesStore, list_runs, next_path


def make(path: Path) -> Run:
    return Run.create(path, command="augment", settings={"seed": 3})


def test_series_come_back_as_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 3)).astype(np.float32)
    values[5, 1], values[6, 2] = np.nan, np.inf
    with make(tmp_path / "a") as run:
        channel = run.series.channel("grads", ["x", "y", "z"])
        other = run.series.channel("loss", ["train"])
        for step, row in enumerate(values):
            channel.append(step, row)
            other.append(2 * step, [step])
    series = Run.open(tmp_path / "a").series
    assert series.names() == ["grads", "loss"]
    assert np.array_equal(series.read("grads").values, values, equal_nan=True)
    assert series.read("grads").column("y")[7] == values[7, 1]
    assert series.read("loss").steps.tolist() == list(range(0, 400, 2))
    series.close()


def test_a_step_written_again_is_replaced(tmp_path: Path) -> None:
    store = SeriesStore(tmp_path / "s.sqlite")
    channel = store.channel("loss", ["train"])
    for step in range(100):
        channel.append(step, [1.0])
    store.flush()
    for step in range(50, 120):
        channel.append(step, [2.0])
    read = store.read("loss")
    assert read.steps.tolist() == list(range(120))
    assert read.values[:, 0].tolist() == [1.0] * 50 + [2.0] * 70
    store.close()


def test_wrong_rows_and_columns_are_refused(tmp_path: Path) -> None:
    store = SeriesStore(tmp_path / "s.sqlite")
    channel = store.channel("loss", ["train"])
    with pytest.raises(InputError, match="takes 1 numbers"):
        channel.append(0, [1.0, 2.0])
    with pytest.raises(InputError, match="has the columns train"):
        store.channel("loss", ["test"])
    with pytest.raises(RunError, match="no channel 'x'"):
        store.read("x")
    store.close()


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "a") as run:
        run.series.channel("loss", ["train"]).append(0, [1.0])
        raise KeyboardInterrupt
    again = Run.open(tmp_path / "a", resume=True)
    assert again.series.read("loss").steps.tolist() == [0]
    assert list_runs(tmp_path)[0].status == "running"
    with again:
        pass
    assert list_runs(tmp_path)[0][2::2] == ("finished", "")


def test_end_states(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), make(tmp_path / "failed"):
        raise ValueError("bad")
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "stopped"):
        raise KeyboardInterrupt
    with make(tmp_path / "whole"):
        pass
    rows = [(run.path.name, run.status, run.note) for run in list_runs(tmp_path)]
    assert rows == [
        ("failed", "failed", "bad"),
        ("stopped", "interrupted", "KeyboardInterrupt"),
        ("whole", "finished", ""),
    ]


def test_finished_and_busy_runs_are_not_resumed(tmp_path: Path) -> None:
    with make(tmp_path / "a"):
        pass
    with pytest.raises(RunError, match=r"is finished: see it with: gradtape report"):
        Run.open(tmp_path / "a", resume=True)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        busy = make(tmp_path / "b")
        busy.close()
        busy.write_json("run.json", {**busy.info, "process": other.pid})
        with pytest.raises(RunError, match=f"in use by process {other.pid}"):
            Run.open(tmp_path / "b", resume=True)
    finally:
        other.kill()
        other.wait()
    Run.open(tmp_path / "b", resume=True).close()  # its process is gone: killed without a word


def test_existing_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"exists and is not empty: choose another folder"):
        make(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty").close()
    with pytest.raises(RunError, match="--resume"):
        make(tmp_path / "empty")


def test_damaged_runs_are_named_and_hide_no_other(tmp_path: Path) -> None:
    for name in ("good", "cut", "noise", "bare"):
        make(tmp_path / name).close()
    (tmp_path / "cut" / "run.json").write_text('{"format": 1, "comm')
    (tmp_path / "noise" / "series.sqlite").write_bytes(b"no database" * 100)
    (tmp_path / "bare" / "run.json").unlink()
    assert {run.path.name: run.status for run in list_runs(tmp_path)} == {
        "bare": "damaged", "cut": "damaged", "good": "running", "noise": "running"
    }  # fmt: skip
    with pytest.raises(RunError, match=r"run\.json is damaged \(not valid JSON"):
        Run.open(tmp_path / "cut")
    with pytest.raises(RunError, match="cannot be used as the series"):
        Run.open(tmp_path / "noise")
    with pytest.raises(RunError, match="is not a run folder"):
        Run.open(tmp_path / "bare")
    with pytest.raises(RunError, match="there is no run folder"):
        Run.open(tmp_path / "never")


def test_a_killed_writer_leaves_a_readable_run(tmp_path: Path) -> None:
    script = (
        "import os, sys; from gradtape.runs import Run\n"
        "run = Run.create(sys.argv[1], command='augment', settings={})\n"
        "channel = run.series.channel('loss', ['train'])\n"
        "for step in range(1000):\n"
        "    channel.append(step, [step])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    run = Run.open(tmp_path / "a", resume=True)
    assert run.series.read("loss").steps.tolist() == list(range(960))  # all but the last, unfilled block of 64
    run.close()


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SeriesStore(tmp_path / "s.sqlite")
    channel = store.channel("loss", ["train"])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages + 1}")
    with pytest.raises(RunError, match="disk full while writing .*free some space"):
        for step in range(100_000):
            channel.append(step, [1.0])
    store.close()
    assert sqlite3.connect(tmp_path / "s.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_json_is_the_same_bytes_and_refuses_nan(tmp_path: Path) -> None:
    with make(tmp_path / "a") as run:
        run.write_json("result.json", {"b": 1, "a": [1.5, None]})
        first = (tmp_path / "a" / "result.json").read_bytes()
        run.write_json("result.json", {"a": [1.5, None], "b": 1})
        assert (tmp_path / "a" / "result.json").read_bytes() == first
        assert json.loads(first) == {"a": [1.5, None], "b": 1}
        with pytest.raises(ValueError, match="JSON"):
            run.write_json("result.json", {"a": float("nan")})
        assert (tmp_path / "a" / "result.json").read_bytes() == first
        assert run.read_json("result.json")["b"] == 1


def test_the_next_free_name(tmp_path: Path) -> None:
    assert next_path(tmp_path / "runs", "augment-digits").name == "augment-digits-001"
    for name in ("augment-digits-002", "augment-digits-x", "augment-mnist-009"):
        (tmp_path / name).mkdir()
    assert next_path(tmp_path, "augment-digits").name == "augment-digits-003"
    assert os.listdir(tmp_path) != []
