"""``gradtape track`` and ``gradtape diagnose``: a script's output and exit code are its own, a verdict comes after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import gradtape as gt
from gradtape.runs import Run
from gradtape.tracking import players, read_history
from tests.augmentation import jobs
from tests.augmentation.jobs import gradtape

SCRIPTS = Path(__file__).parents[1] / "tracking" / "scripts"
NOTHING = "nothing was tracked: no optimizer stepped"


class Ended(NamedTuple):
    """How a program ended, without the lines of gradtape."""

    code: int
    out: str
    err: str
    ours: list[str]


def python(base: Path, folder: Path, *arguments: object, limit: float = 120) -> Ended:
    said = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=folder, env=jobs.environment(base), timeout=limit,
    )  # fmt: skip
    lines = said.stderr.splitlines(keepends=True)
    ours = [line.removeprefix("gradtape: ").rstrip() for line in lines if line.startswith("gradtape: ")]
    theirs = "".join(line for line in lines if not line.startswith("gradtape: "))
    return Ended(said.returncode, said.stdout, theirs, ours)


def both(base: Path, folder: Path, *arguments: object, more: Sequence[object] = ()) -> tuple[Ended, Ended]:
    """Run a script by itself, and tracked with ``more`` arguments."""
    return (
        python(base, folder, *arguments),
        python(base, folder, "-m", "gradtape", "track", "--run", "r", *arguments, *more),
    )


@pytest.mark.parametrize("how", ["three", "text", "none"])
def test_exits_are_the_scripts_own(base: Path, tmp_path: Path, how: str) -> None:
    plain, tracked = both(base, tmp_path, SCRIPTS / "endings.py", how)
    assert plain.code == tracked.code == {"three": 3, "text": 1, "none": 0}[how]
    assert tracked[:3] == plain[:3]  # torch was not imported for it, so that what it sets for torch counts
    assert tracked.ours[0] == "tracking endings into r"
    assert tracked.ours[1].startswith(NOTHING)
    assert tracked.ours[2] == "see it again with: gradtape diagnose r"


@pytest.mark.parametrize("how", ["raise", "interrupt", "killed"])
def test_a_training_that_breaks_off(base: Path, tmp_path: Path, how: str) -> None:
    plain, tracked = both(base, tmp_path, SCRIPTS / "endings.py", how, more=["train"])
    assert plain.code == tracked.code == {"raise": 1, "interrupt": -2, "killed": 7}[how]
    assert tracked[:3] == plain[:3]  # the traceback has no line of gradtape
    with closing(Run.open(tmp_path / "r")) as run:
        assert run.status == ("failed" if how == "raise" else "interrupted")
        history = read_history(run.series, "layer")
        first = history.measures["grad_norm"][:2, 0]
    if how == "killed":
        assert len(tracked.ours) == 1
    else:
        assert len(tracked.ours) >= 3
        assert tracked.ours[-1] == "see it again with: gradtape diagnose r"
    assert len(history.steps) == 100
    assert first == pytest.approx([np.sqrt(2), np.sqrt(2)])
    diagnosed = gradtape("diagnose", tmp_path / "r")
    assert (diagnosed.code, diagnosed.err) == (0, "")
    assert diagnosed.out.splitlines()[0] == f"{tmp_path / 'r'} is {run.status}"


def test_a_module_of_a_package(base: Path, tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    probe = "import sys\nprint(sys.argv, sys.path[0], __file__, __spec__.name, __package__, sorted(globals()))\n"
    (package / "train.py").write_text(probe)
    (package / "__main__.py").write_text(probe)
    for module in ("pack.train", "pack"):
        plain = python(base, tmp_path, "-m", module, "--run", "mine", "-h")
        tracked = python(base, tmp_path, "-m", "gradtape", "track", "-m", module, "--run", "mine", "-h")
        assert tracked[:3] == plain[:3]
        assert (plain.code, plain.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["track-pack-001", "track-train-001"]


@pytest.mark.slow
def test_workers_children_and_forks_are_left_alone(base: Path, tmp_path: Path) -> None:
    plain, tracked = both(base, tmp_path, SCRIPTS / "workers.py", more=["--json", "--", "-x"])
    assert plain.code == tracked.code == 0, tracked.err
    assert tracked.out == plain.out.replace("[] __main__", "['--json', '--', '-x'] __main__")
    assert len(tracked.ours) == 3, "each line once, not again from a child"
    with closing(Run.open(tmp_path / "r")) as run:
        assert players(run.series) == ["net"]
        norms = read_history(run.series, "net").measures["grad_norm"][:, 0]
    printed = [float(line.split()[-1]) for line in tracked.out.splitlines() if line.startswith(("fork ", "spawn "))]
    np.testing.assert_allclose(norms, printed, rtol=1e-4)


@pytest.mark.slow
def test_several_processes(base: Path, tmp_path: Path) -> None:
    script = SCRIPTS / "distributed.py"
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--")  # which has options like --run too
    together = python(base, tmp_path, *launch, "gradtape", "track", "--run", "two", script, "--quick", limit=240)
    alone = python(base, tmp_path, "-m", "gradtape", "track", "--run", "one", script)
    assert together.code == alone.code == 0, together.err
    assert sorted(together.out.splitlines()) == ["rank 0 of 2 --quick", "rank 1 of 2 --quick"]
    assert len(together.ours) == 3, "rank 0 alone speaks"
    with closing(Run.open(tmp_path / "two")) as two, closing(Run.open(tmp_path / "one")) as one:
        assert players(two.series) == ["net", "net-2"]  # distributed, sharded
        twin = read_history(one.series, "net")
        for player in players(two.series):
            history = read_history(two.series, player)
            assert history.parameters == twin.parameters == ("first.weight", "first.bias", "last.weight", "last.bias")
            assert history.settings.shapes == twin.settings.shapes
            for measure in ("grad_norm", "weight_norm", "update_norm", "nonfinite_count"):
                np.testing.assert_allclose(history.measures[measure], twin.measures[measure], rtol=2e-5, atol=1e-7)


BAD = [
    (["no.py"], "there is no script no.py: check the path; a module is run with: gradtape track -m MODULE"),
    (["torch.no"], "there is no script torch.no: check the path; a module is run with: gradtape track -m torch.no"),
    (["."], ". is a folder: name the script in it"),
    (["-m", "no_such_module"], "there is no module no_such_module: check the name"),
    (["-m", "json.no_such"], "there is no module json.no_such: check the name"),
    (["-m", "json"], "there is no module json.__main__: json is a package: name a module in it"),
    (["-m", "_thread"], "module _thread is not written in Python"),
    (["--budget", "2", "train.py"], "--budget is 2: give a share of the step time from 0 to 1"),
    (["--run", "full", "train.py"], "full exists and is not empty: choose another folder"),
    ([], "Missing argument 'SCRIPT'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD)
def test_bad_input_is_one_sentence_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "train.py").write_text("open('ran', 'w')")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    said = gradtape("track", *arguments)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {sentence}")
    assert sorted(os.listdir()) == ["full", "train.py"]


def stalled(folder: Path) -> gt.tracking.Tracker:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-12)
    tracker = gt.track(model, optimizer, run=folder)
    for _ in range(30):
        optimizer.zero_grad()
        model(torch.ones(8, 3)).square().mean().backward()
        optimizer.step()
    return tracker


def test_diagnose_where_nothing_was_tracked(tmp_path: Path) -> None:
    with Run.create(tmp_path / "r", command="track", settings={}):
        pass
    said = gradtape("diagnose", tmp_path / "r")
    assert (said.code, said.out) == (0, f"{tmp_path / 'r'} is finished\n\nnothing was tracked in it\n")
    assert gradtape("diagnose", tmp_path / "r", "--json").out == "[]\n"


def test_diagnose_a_run_under_way_and_afterwards(tmp_path: Path) -> None:
    tracker = stalled(tmp_path / "r")
    tracker.flush()
    (finding,) = tracker.findings
    under_way = gradtape("diagnose", tmp_path / "r")
    assert under_way.code == 0
    first, _, *told, _, course, count = under_way.out.splitlines()
    assert first == f"{tmp_path / 'r'} is running"
    assert [line.strip() for line in told] == [
        f"1. stalled since step 0: {finding.where} of model", finding.evidence, finding.remedy,
    ]  # fmt: skip
    assert course.startswith("model: the loss went from ")
    assert course.endswith(" in 30 steps")
    assert count == "1 finding in 30 steps of 1 player, the first cause first"
    tracker.close()
    assert gradtape("diagnose", tmp_path / "r").out == under_way.out.replace("is running", "is finished")
    assert json.loads(gradtape("diagnose", tmp_path / "r", "--json").out) == [finding._asdict()]
    listed = gradtape("runs", tmp_path).out
    assert listed.splitlines()[-1] == f"judge one with: gradtape diagnose {tmp_path / 'r'}"
    assert gradtape("report", tmp_path / "r").err == (
        f"error: {tmp_path / 'r'} is a run of 'track': reports exist for augment, synthesize, adapt; see what its "
        f"gradients tell with: gradtape diagnose {tmp_path / 'r'}\n"
    )


def test_diagnose_the_main_job(finished: Path) -> None:
    said = gradtape("diagnose", finished)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"{finished} is finished\n")
    assert "players" in said.out.splitlines()[-1]


def test_diagnose_no_run(tmp_path: Path) -> None:
    said = gradtape("diagnose", tmp_path / "never")
    assert (said.code, said.out) == (2, "")
    assert said.err == f"error: there is no run folder {tmp_path / 'never'}: list the runs with: gradtape runs\n"
