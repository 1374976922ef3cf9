"""Run folders that are half written or damaged: one sentence, and nothing in them changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.augmentation import jobs
from tests.augmentation.jobs import gradtape, resume, tree


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scribble(path: Path) -> None:
    path.write_bytes(b"garbage " * (path.stat().st_size // 8))


def remove(path: Path) -> None:
    path.unlink()


def clear(path: Path) -> None:
    path.write_bytes(b"")


REPORTS = [
    (remove, "run.json", "is not a run folder (it has no run.json): list the runs with: gradtape runs"),
    (halve, "run.json", "run.json is damaged (not valid JSON, as after a cut-off copy): restore the file or start"),
    (clear, "run.json", "run.json is damaged (not valid JSON"),
    (scribble, "series.sqlite", "series.sqlite cannot be used as the series of a run (file is not a database)"),
    (halve, "series.sqlite", "series.sqlite cannot be used as the series of a run ("),
    (remove, "series.sqlite", "series.sqlite cannot be used as the series of a run ("),
    (clear, "series.sqlite", "series.sqlite cannot be used as the series of a run ("),
    (remove, "pictures.npz", "pictures.npz is missing or damaged: start a new run"),
    (halve, "pictures.npz", "pictures.npz is missing or damaged: start a new run"),
    (clear, "pictures.npz", "pictures.npz is missing or damaged: start a new run"),
    (scribble, "pictures.npz", "pictures.npz is missing or damaged: start a new run"),
    (remove, "result.json", "result.json is missing: the run did not come so far"),
    (halve, "result.json", "result.json is damaged (not valid JSON"),
]
RESUMES = [
    (remove, "run.json", "is not a run folder (it has no run.json)"),
    (halve, "run.json", "run.json is damaged (not valid JSON"),
    (scribble, "series.sqlite", "series.sqlite cannot be used as the series of a run (file is not a database)"),
    (remove, "series.sqlite", "series.sqlite is missing or empty: restore the file or start a new run"),
    (clear, "series.sqlite", "series.sqlite is missing or empty: restore the file or start a new run"),
    (halve, "checkpoints/0-steer.npz", "0-steer.npz is missing or damaged: delete it and continue with --resume"),
    (scribble, "checkpoints/0-interpolate.npz", "0-interpolate.npz is missing or damaged: delete it and continue with"),
    (clear, "checkpoints/0-adversarial.npz", "0-adversarial.npz is missing or damaged: delete it and continue with"),
    (halve, "checkpoints/3-real.safetensors", "3-real.safetensors is missing or damaged"),
    (scribble, "checkpoints/2-mix.safetensors", "2-mix.safetensors is missing or damaged"),
    (clear, "checkpoints/1-shift.safetensors", "1-shift.safetensors is missing or damaged"),
    (remove, "checkpoints/4-mixup.safetensors", "4-mixup.safetensors is missing or damaged"),
    (halve, "checkpoints/done.json", "done.json is damaged"),
]


def name(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("damage", "file", "sentence"), REPORTS, ids=name)
def test_report(finished: Path, tmp_path: Path, damage, file, sentence) -> None:
    run = jobs.copy(finished, tmp_path / "r")
    damage(run / file)
    before = tree(run)
    said = gradtape("report", run)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert tree(run) == before
    assert gradtape("runs", tmp_path).code == 0


@pytest.mark.parametrize(("damage", "file", "sentence"), RESUMES, ids=name)
def test_resume(base: Path, ready: Path, tmp_path: Path, damage, file, sentence) -> None:
    damage(ready / file)
    before = tree(ready)
    said = resume(base, ready)
    assert (said.code, said.out) == (2, "")
    assert said.errors[0].startswith("error: ")
    assert sentence in said.errors[0]
    assert [line for line in said.errors if "error" in line] == said.errors[:1]
    after = tree(ready)
    apart = {"run.json"} if file == "series.sqlite" else {"run.json", "series.sqlite"}  # which a resume opens
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= apart
    (row,) = json.loads(gradtape("runs", tmp_path, "--json").out)
    if file == "run.json":
        assert row["status"] == "damaged"
    elif file.startswith("checkpoints"):
        assert row["status"] == "failed"
        assert sentence.split(":")[0] in row["note"]
    else:
        assert row["status"] == "interrupted"


def test_a_damaged_state_of_a_training(base: Path, ready: Path) -> None:
    done = json.loads((ready / "checkpoints" / "done.json").read_text())
    del done["4/mixup"]
    (ready / "checkpoints" / "done.json").write_text(json.dumps(done))
    (ready / "checkpoints" / "4-mixup.part").write_bytes(b"PK\x03\x04 cut off")
    said = resume(base, ready)
    assert said.code == 2
    assert "4-mixup.part is damaged: delete it to start this training again" in said.errors[0]
    (ready / "checkpoints" / "4-mixup.part").unlink()
    assert resume(base, ready).code == 0


def test_samples_deleted_as_told_are_made_again(base: Path, ready: Path, finished: Path) -> None:
    halve(ready / "checkpoints" / "0-steer.npz")
    assert resume(base, ready).code == 2
    (ready / "checkpoints" / "0-steer.npz").unlink()
    assert resume(base, ready).code == 0
    assert (ready / "result.json").read_bytes() == (finished / "result.json").read_bytes()


def test_runs_lists_damaged_ones_beside_good_ones(finished: Path, tmp_path: Path) -> None:
    for folder in ("a-good", "b-cut", "c-bare", "d-other"):
        jobs.copy(finished, tmp_path / folder)
    halve(tmp_path / "b-cut" / "run.json")
    remove(tmp_path / "c-bare" / "run.json")
    (tmp_path / "d-other" / "run.json").write_text('{"format": 1, "command": "augment", "status": 7, "process": "x"}')
    said = gradtape("runs", tmp_path, "--json")
    assert said.code == 0
    assert [row["status"] for row in json.loads(said.out)] == ["finished", "damaged", "damaged", "damaged"]
