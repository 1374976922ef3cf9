"""What the commands print and how they end."""

from __future__ import annotations

import json
import os
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from gradtape.augmentation.experiment import ARMS
from gradtape.cli import doctor
from tests.augmentation import jobs
from tests.augmentation.jobs import gradtape, result_of, tree


def test_augment_prints_the_table_the_verdict_and_the_next_command(base: Path, finished: Path) -> None:
    run, said = jobs.finished(base)
    assert said.code == 0
    result = result_of(run)
    rows = [line.split() for line in said.out.splitlines() if line.split()[:1] and line.split()[0] in ARMS]
    assert [row[0] for row in rows] == list(ARMS)
    for row in rows:
        arm = result["arms"][row[0]]
        assert row[1] == arm["kind"]
        assert row[2:4] == [f"{100 * np.mean(arm['validation']):.1f}", f"{100 * np.mean(arm['test']):.1f}"]
        if row[0] != "real":
            assert row[4] == f"{arm['gain']['mean']:+.1f}"
    assert result["verdict"]["sentence"] in said.out
    assert result["verdict"]["advice"] in said.out
    assert f"report          {run / 'report.html'}" in said.out
    assert f"synthetic data  {run / 'synthetic'} (18 images)" in said.out
    assert said.out.splitlines()[-1].endswith(f"gradtape report {run}")
    stages = said.err.splitlines()
    assert stages[0] == "repeat 1 of 5, training: real"
    assert stages[-1] == "evidence"
    assert len(stages) == 5 * (8 + 6) + 1


def test_augment_json_is_the_result_and_nothing_else(digits: jobs.Digits) -> None:
    assert json.loads(digits.said.out) == result_of(digits.run)
    assert digits.said.out == (digits.run / "result.json").read_text()


def test_ctrl_c_says_how_to_go_on(base: Path, tmp_path: Path) -> None:
    run, said = jobs.ready(base)
    assert (said.code, said.out) == (130, "")
    assert said.errors == ["stopped", f"what was done is kept; go on with the same command and: --run {run} --resume"]
    (row,) = [row for row in json.loads(gradtape("runs", base, "--json").out) if row["path"] == str(run)]
    assert (row["command"], row["status"]) == ("augment", "interrupted")
    assert not jobs.leftovers(run)
    refused = gradtape("report", run)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"error: {run} is interrupted, not finished: finish it with the command that began it and: "
        f"--run {run} --resume\n"
    )


def test_other_settings_and_a_finished_run_are_one_sentence(base: Path, ready: Path, finished: Path) -> None:
    npz = jobs.small_npz(base)
    said = gradtape("augment", npz, "--run", ready, "--resume", *jobs.OPTIONS, "--seed", "8")
    assert (said.code, said.out) == (2, "")
    assert said.err == (f"error: {ready} was started with other settings (seed): give the same, or start a new run\n")
    said = gradtape("augment", npz, "--run", finished, "--resume", *jobs.OPTIONS)
    assert said.code == 2
    assert said.err == f"error: {finished} is finished: see it with: gradtape report {finished}\n"


def test_report_makes_the_same_page_again(finished: Path, tmp_path: Path) -> None:
    run = jobs.copy(finished, tmp_path / "r")
    before = tree(run)
    (run / "report.html").unlink()
    said = gradtape("report", run)
    assert (said.code, said.err) == (0, "")
    assert tree(run) == before
    assert said.out.splitlines()[0] == result_of(run)["verdict"]["sentence"]
    assert f"report  {run / 'report.html'}" in said.out


def test_report_json_writes_nothing(finished: Path) -> None:
    before = tree(finished)
    said = gradtape("report", finished, "--json")
    assert (said.code, said.err) == (0, "")
    assert said.out == (finished / "result.json").read_text()
    assert tree(finished) == before


def test_report_of_no_run(tmp_path: Path) -> None:
    said = gradtape("report", tmp_path / "never")
    assert (said.code, said.out) == (2, "")
    assert said.err == f"error: there is no run folder {tmp_path / 'never'}: list the runs with: gradtape runs\n"


def test_runs(finished: Path, ready: Path, tmp_path: Path) -> None:
    jobs.copy(finished, tmp_path / "whole")
    (tmp_path / "junk").mkdir()
    said = gradtape("runs", tmp_path, "--json")
    rows = {Path(row["path"]).name: row for row in json.loads(said.out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "junk": "damaged", "ready": "interrupted", "whole": "finished",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", rows["whole"]["started"])
    assert set(rows["whole"]) == {"path", "command", "status", "started", "note"}
    plain = gradtape("runs", tmp_path)
    assert (plain.code, plain.err) == (0, "")
    for name, status in (("junk", "damaged"), ("ready", "interrupted"), ("whole", "finished")):
        assert re.search(rf"^  {re.escape(str(tmp_path / name))} .* {status} ", plain.out, re.M)


def test_runs_where_there_are_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = gradtape("runs")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: there is no folder runs: make a run first: gradtape augment digits\n"
    (tmp_path / "runs").mkdir()
    assert gradtape("runs").out == "no runs in runs; make one with: gradtape augment digits\n"
    assert gradtape("runs", "--json").out == "[]\n"


def test_doctor_finds_all_well(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADTAPE_DATA", raising=False)
    said = gradtape("doctor", "--device", "cpu")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "all is well; begin with: gradtape augment digits"
    said = gradtape("doctor", "--device", "cpu", "--json")
    checks = {check["name"]: check for check in json.loads(said.out)}
    assert set(checks) == {"python", "packages", "device", "this folder", "data sets", "reversal", "tape"}
    assert all(check["well"] for check in checks.values())
    assert f"torch {metadata.version('torch')}" in checks["packages"]["seen"]
    assert checks["device"]["seen"].startswith("cpu, ")
    assert os.listdir(tmp_path) == []


def test_doctor_says_what_is_wrong_and_ends_with_2(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GRADTAPE_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(doctor, "_tape", lambda: (_ for _ in ()).throw(RuntimeError("a replay gave another output")))
    said = gradtape("doctor", "--device", "nosuch", "--json")
    assert said.code == 2
    bad = {check["name"]: check for check in json.loads(said.out) if not check["well"]}
    assert set(bad) == {"device", "data sets", "tape"}
    assert bad["device"]["seen"] == "device 'nosuch' cannot be used on this machine"
    assert bad["device"]["remedy"] == "use cpu, or auto"
    assert str(tmp_path / "nowhere") in bad["data sets"]["seen"]
    assert bad["tape"]["seen"] == "a replay gave another output"
    plain = gradtape("doctor", "--device", "nosuch")
    assert plain.code == 2
    assert plain.out.count("BAD") == 3
    assert "all is well" not in plain.out


def test_version_and_help() -> None:
    assert gradtape("--version") == (0, f"gradtape {metadata.version('gradtape')}\n", "")
    said = gradtape("--help")
    assert (said.code, said.err) == (0, "")
    commands = ["augment", "report", "runs", "export", "doctor"]
    assert re.findall(r"^  (augment|report|runs|export|doctor) ", said.out, re.M) == commands
    assert "Begin with: gradtape augment digits" in said.out
    for command in commands:
        assert f"Usage: gradtape {command}" in gradtape(command, "--help").out


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error", "some/file"), OSError(28, "No space left on device")]
)
def test_errors_of_the_system_are_one_sentence_too(monkeypatch, tmp_path, error) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gradtape.runs.list_runs", broken)
    said = gradtape("runs", tmp_path)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert error.strerror in line
