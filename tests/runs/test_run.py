"""Run folders: what they keep, and what they survive."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradtape.errors import RunError
from gradtape.runs import Run, list_runs, next_path
from gradtape.runs._process import started


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
        busy.write_json("run.json", {**busy.info, "process": other.pid, "process_started": started(other.pid)})
        with pytest.raises(RunError, match=f"in use by process {other.pid}"):
            Run.open(tmp_path / "b", resume=True)
    finally:
        other.kill()
        other.wait()
    Run.open(tmp_path / "b", resume=True).close()  # its process is gone: killed without a word


def test_a_process_that_got_the_number_of_a_killed_one_blocks_nothing(tmp_path: Path) -> None:
    if started(os.getpid()) is None:
        pytest.skip("this system does not say when a process began")
    run = make(tmp_path / "a")
    run.close()
    parent = {"process": os.getppid(), "process_started": started(os.getppid())}
    run.write_json("run.json", {**run.info, **parent})
    assert list_runs(tmp_path)[0].status == "running"
    run.write_json("run.json", {**run.info, **parent, "process_started": parent["process_started"] - 1})
    assert list_runs(tmp_path)[0].status == "interrupted"
    Run.open(tmp_path / "a", resume=True).close()
    known = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (known["process"], known["process_started"]) == (os.getpid(), started(os.getpid()))
    old = {key: value for key, value in run.info.items() if key != "process_started"}  # of an earlier gradtape
    run.write_json("run.json", {**old, "process": os.getppid()})
    assert list_runs(tmp_path)[0].status == "running"


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
