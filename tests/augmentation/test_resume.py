"""A job that was stopped anywhere goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradtape as gt
from gradtape.augmentation import experiment, job
from gradtape.errors import InputError, RunError
from gradtape.runs import Run, list_runs
from gradtape.training import Checkpoint, Silent
from tests.augmentation import jobs
from tests.augmentation.jobs import SETTINGS, gradtape, leftovers, result_of, resume, tree


def alike(run: Path, whole: Path) -> None:
    """Everything but run.json and the layout of the database is equal, byte for byte."""
    apart = {"run.json", "series.sqlite"}
    mine, theirs = ({k: v for k, v in tree(folder).items() if k not in apart} for folder in (run, whole))
    assert (run / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    assert mine == theirs
    runs = [Run.open(folder) for folder in (run, whole)]
    names = [opened.series.names() for opened in runs]
    assert names[0] == names[1]
    for name in names[0]:
        a, b = (opened.series.read(name) for opened in runs)
        assert (a.columns, a.steps.tolist()) == (b.columns, b.steps.tolist())
        assert a.values.tobytes() == b.values.tobytes(), name
    for opened in runs:
        opened.close()
    assert not leftovers(run)


class Stopper(Silent):
    """Counts the steps of a stage and presses Ctrl-C at one of them, once."""

    at: tuple[str, int] | None = None

    def __init__(self) -> None:
        self._stage, self._steps = "", 0

    def stage(self, name: str) -> None:
        self._stage, self._steps = name, 0
        self._stop()

    def advance(self, work: float) -> None:
        self._steps += 1
        self._stop()

    def _stop(self) -> None:
        if Stopper.at == (self._stage, self._steps):
            Stopper.at = None
            raise KeyboardInterrupt


def test_stopped_at_many_points_it_ends_in_the_same_bytes(base: Path, finished: Path, tmp_path: Path, monkeypatch):
    run, npz = tmp_path / "r", jobs.small_npz(base)
    monkeypatch.setattr(job, "Silent", Stopper)
    monkeypatch.setattr(experiment, "Checkpoint", lambda path: Checkpoint(path, every=7))
    points = [
        ("repeat 1 of 5, training: real", 0),
        ("repeat 1 of 5, making: adversarial", 10),  # loads real's model; the game goes on from a checkpoint at 7
        ("repeat 1 of 5, training: steer", 16),
        ("repeat 2 of 5, making: steer", 0),
        ("repeat 4 of 5, training: mixup", 9),
        ("evidence", 0),
    ]
    again = False
    for point in points:
        Stopper.at = point
        with pytest.raises(KeyboardInterrupt) as caught:
            gt.augment(npz, run=run, resume=again, **SETTINGS)
        assert Stopper.at is None, point
        assert caught.value.run_path == run
        (found,) = list_runs(tmp_path)
        assert found.status == "interrupted"
        assert not (run / "result.json").exists()
        again = True

    def render_once(opened: Run) -> str:
        monkeypatch.setattr(job, "render", render)
        raise KeyboardInterrupt

    render = job.render
    monkeypatch.setattr(job, "render", render_once)
    with pytest.raises(KeyboardInterrupt):  # everything delivered, the report not yet made
        gt.augment(npz, run=run, resume=True, **SETTINGS)
    assert (run / "result.json").exists()
    assert list_runs(tmp_path)[0].status == "interrupted"
    assert gt.augment(npz, run=run, resume=True, **SETTINGS).details == result_of(finished)
    assert list_runs(tmp_path)[0].status == "finished"
    alike(run, finished)


def test_nothing_is_trained_twice(base: Path, ready: Path, finished: Path, monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(experiment, "train_classifier", never)
    assert resume(base, ready).code == 0
    alike(ready, finished)


def test_a_run_stopped_while_checkpoints_are_removed_is_a_finished_one(base, ready, finished, monkeypatch) -> None:
    def stopped(path: Path, **_: object) -> None:
        next(Path(path).iterdir()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job.shutil, "rmtree", stopped)
        said = resume(base, ready)
    assert said.code == 130
    assert list_runs(ready.parent)[0].status == "finished"
    assert (ready / "result.json").read_bytes() == (finished / "result.json").read_bytes()
    assert gradtape("report", ready).code == 0


def child(base: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    """The real program as a process of its own."""
    # a shell starts background jobs with Ctrl-C ignored, and children inherit that: listen to it again
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [sys.executable, "-c", f"{listen}; from gradtape.cli.app import main; main()"]
    arguments = ["augment", str(jobs.small_npz(base)), "--run", str(run), *jobs.OPTIONS, *more]
    return subprocess.Popen(
        [*program, *arguments], env=jobs.environment(base), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stderr is not None
    for said in process.stderr:
        if said.strip() == line:
            return
    raise AssertionError(f"the process never said {line!r}")


def test_ctrl_c_and_then_a_kill_of_the_real_program(base: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "my runs" / "r"
    with child(base, run) as process:
        read_until(process, "repeat 2 of 5, training: real")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    said = [line for line in err.splitlines() if line and not line.startswith("repeat ")]
    assert said == [
        "stopped",
        f"what was done is kept; go on with the same command and: --run '{run}' --resume",
    ]
    listed = json.loads(gradtape("runs", run.parent, "--json").out)
    assert [(row["path"], row["command"], row["status"]) for row in listed] == [(str(run), "augment", "interrupted")]
    assert not leftovers(run)
    done = json.loads((run / "checkpoints" / "done.json").read_text())
    assert len(done) == 8  # the first repeat is kept

    with child(base, run, "--resume") as process:
        read_until(process, "repeat 3 of 5, making: adversarial")
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    listed = json.loads(gradtape("runs", run.parent, "--json").out)
    assert [(row["status"], row["note"]) for row in listed] == [("interrupted", "its process ended without a word")]
    refused = gradtape("report", run)
    assert refused.code == 2
    assert refused.errors == [
        f"error: {run} is interrupted, not finished: finish it with the command that began it and: --run {run} --resume"
    ]
    assert {**done, **json.loads((run / "checkpoints" / "done.json").read_text())}.keys() >= done.keys()

    (run / ".gradtape-0123456789ab.part").write_text("half")  # as a kill in the middle of a write leaves it
    (run / ".gradtape-ba9876543210.part").mkdir()
    assert resume(base, run).code == 0
    alike(run, finished)


def test_other_settings_or_other_data_are_refused_and_change_nothing(base: Path, ready: Path, tmp_path: Path) -> None:
    before = tree(ready)
    npz = jobs.small_npz(base)
    with pytest.raises(RunError, match=r"was started with other settings \(added, seed\): give the same, or start"):
        gt.augment(npz, run=ready, resume=True, **{**SETTINGS, "added": 3, "seed": 9})
    images, labels = jobs.small_arrays()
    changed = images.copy()
    changed[0, 0, 0] ^= 1
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / npz.name  # of the same name, with one bit or labels that differ
    for X, y in ((changed, labels), (images, labels[::-1])):
        np.savez(other, images=X, labels=y)
        with pytest.raises(RunError, match=r"was started with other settings \(data\)"):
            gt.augment(other, run=ready, resume=True, **SETTINGS)
    assert tree(ready) == before
    assert {run.path.name: run.status for run in list_runs(tmp_path)}["ready"] == "interrupted"


def test_finished_absent_and_unnamed_runs_are_refused(base: Path, finished: Path, tmp_path: Path) -> None:
    before, npz = tree(finished), jobs.small_npz(base)
    with pytest.raises(RunError, match="is finished: see it with: gradtape report"):
        gt.augment(npz, run=finished, resume=True, **SETTINGS)
    with pytest.raises(RunError, match=r"exists and is not empty: choose another folder, or remove the run"):
        gt.augment(npz, run=finished, **SETTINGS)
    with pytest.raises(RunError, match="there is no run folder"):
        gt.augment(npz, run=tmp_path / "never", resume=True, **SETTINGS)
    with pytest.raises(InputError, match="resume needs a run: name the run folder"):
        gt.augment(npz, resume=True, **SETTINGS)
    assert tree(finished) == before
