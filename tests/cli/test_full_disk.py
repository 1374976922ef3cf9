"""The disk fills up while the job delivers: at every moment one sentence, nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.augmentation import jobs
from tests.augmentation.jobs import gradtape, resume, tree


class Full:
    """Lets so many calls of a function pass, then refuses for lack of space until it is told otherwise."""

    def __init__(self, original, passing: float) -> None:
        self.original, self.left, self.calls = original, passing, 0

    def __call__(self, *given, **named):
        self.calls += 1
        if self.left < 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1
        return self.original(*given, **named)


def delivering(base: Path, run: Path, function: str, passing: float, monkeypatch) -> tuple[jobs.Said, Full]:
    full = Full(getattr(os, function), passing)
    with monkeypatch.context() as patch:
        patch.setattr(f"gradtape.atomic.os.{function}", full)
        return resume(base, run), full


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.75, 0.88, 0.97])
def test_at_any_moment_of_the_delivery(base: Path, ready: Path, finished: Path, tmp_path: Path, monkeypatch, part):
    whole = jobs.copy(ready, tmp_path / "counted")
    said, counted = delivering(base, whole, "fsync", float("inf"), monkeypatch)
    assert said.code == 0
    assert counted.calls == 39  # 18 pictures in 3 folders of 1, and 8 files each with its folder, run.json twice

    before = tree(ready)
    said, _ = delivering(base, ready, "fsync", int(part * counted.calls), monkeypatch)
    assert (said.code, said.out) == (2, "")
    error, *kept = said.errors
    assert error.startswith(f"error: disk full while writing {ready}/")
    assert ": free some space and " in error
    if part:
        assert kept == [f"what was done is kept; go on with the same command and: --run {ready} --resume"]
    after = tree(ready)
    assert before.keys() <= after.keys()
    assert {name for name in before if before[name] != after[name]} <= {"run.json", "series.sqlite"}
    assert not jobs.leftovers(ready)
    for name in after.keys() - before.keys():  # what is there is whole
        assert after[name] == tree(finished)[name], name
    assert '"status"' in gradtape("runs", tmp_path, "--json").out

    assert resume(base, ready).code == 0
    assert (ready / "result.json").read_bytes() == (finished / "result.json").read_bytes()
    assert tree(ready).keys() == tree(finished).keys()


@pytest.mark.parametrize("function", ["replace", "rename"])
def test_at_the_move_to_the_final_name(base: Path, ready: Path, monkeypatch, function) -> None:
    passing = {"replace": 3, "rename": 0}[function]
    said, _ = delivering(base, ready, function, passing, monkeypatch)
    assert said.code == 2
    assert said.errors[0].startswith(f"error: disk full while writing {ready}/")
    assert not jobs.leftovers(ready)
    assert not (ready / "result.json").exists()


def test_the_old_report_stays_where_a_new_one_finds_no_space(finished: Path, tmp_path: Path, monkeypatch) -> None:
    run = jobs.copy(finished, tmp_path / "r")
    before = tree(run)
    with monkeypatch.context() as patch:
        patch.setattr("gradtape.atomic.os.fsync", Full(os.fsync, 0))
        said = gradtape("report", run)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"error: disk full while writing {run / 'report.html'}: free some space and try again\n"
    assert tree(run) == before
