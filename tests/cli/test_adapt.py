"""``gradtape adapt``: what it says, what it refuses, and that labels of the target change nothing but the figures."""

from __future__ import annotations

import functools
import json
from contextlib import closing
from pathlib import Path

import pytest

from gradtape.runs import Run
from tests.adaptation.domains import ROWS, images, table
from tests.augmentation.jobs import Said, gradtape, leftovers, tree

FAST = ("--steps", "6", "--device", "cpu")


@functools.cache
def made(base: Path) -> tuple[Path, Said]:
    """A finished run with three sources, and a target with labels."""
    folder = base / "adapt"
    folder.mkdir(exist_ok=True)
    paths = [table(folder / f"{name}.csv", seed) for seed, name in enumerate(("s", "a", "b"))]
    target = table(folder / "t.csv", 7, 1.0)
    said = gradtape(
        "adapt", paths[0], target, "--sources", *paths[1:], "--label", "state", "--run", folder / "r", *FAST
    )
    assert said.code == 0, said.err
    return folder, said


def test_the_table_the_verdict_and_the_next_command(base: Path) -> None:
    folder, said = made(base)
    result = json.loads((folder / "r" / "result.json").read_text())
    lines = said.out.splitlines()
    for row in result["table"]:
        figure = row["accuracy"]
        shown = f"{figure['mean']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"
        assert any(row["name"] in line and shown in line for line in lines)
    assert [row["name"] for row in result["table"]] == ["source only", "chosen", "oracle"]
    assert result["verdict"]["sentence"] in lines
    assert lines[-1] == f"open the report in a browser; make it again with: gradtape report {folder / 'r'}"
    assert f"predictions  {folder / 'r' / 'predictions.csv'} ({ROWS} rows)" in lines


def test_further_sources_are_domains(base: Path) -> None:
    folder, _ = made(base)
    with closing(Run.open(folder / "r")) as run:
        data = run.info["settings"]["data"]
    assert (data["sources"], data["target"], data["source_rows"]) == (["s", "a", "b"], "t", 3 * ROWS)


def test_the_report_is_made_again(base: Path) -> None:
    folder, _ = made(base)
    before = tree(folder / "r")
    (folder / "r" / "report.html").unlink()
    said = gradtape("report", folder / "r")
    assert (said.code, said.err) == (0, "")
    assert tree(folder / "r") == before


def test_labels_of_the_target_never_change_predictions(base: Path, tmp_path: Path) -> None:
    folder, _ = made(base)
    blind = table(tmp_path / "t.csv", 7, 1.0, label=None)
    said = gradtape("adapt", folder / "s.csv", blind, "--sources", folder / "a.csv", "--sources", folder / "b.csv",
                    "--label", "state", "--run", tmp_path / "r", "-o", tmp_path / "p.csv", "--json", *FAST)  # fmt: skip
    assert said.code == 0, said.err
    assert (tmp_path / "p.csv").read_bytes() == (folder / "r" / "predictions.csv").read_bytes()
    for name in ("adapter.safetensors", "maps.npz"):
        assert tree(tmp_path / "r")[name] == tree(folder / "r")[name]
    result = json.loads(said.out)
    assert result == json.loads((tmp_path / "r" / "result.json").read_text())
    assert (result["verdict"]["kind"], result["oracle"], result["gain"]) == ("unknown", None, None)
    assert "No labels of the target were given" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--label", "stat"), "has no column 'stat', did you mean 'state'?: give one of age, city, dose and 1 more"),
        ((), "s.csv has no labels: name their column with --label"),
        (("--label", "state", "--method", "dan"), "'dan'"),
        (("--label", "state", "--strength", "much"), "--strength is 'much': give a number, or several with commas"),
        (("--label", "state", "--strength", "0.1,1"), "several"),
        (("--label", "state", "--steps", "1"), "steps is 1: give a whole number from 2 up"),
        (("--label", "state", "--resume"), "resume needs a run: name the run folder to go on with"),
        (("--label", "state", "-o", "out.txt"), "out.txt is to hold predictions: let its name end in .csv"),
        (("--label", "state", "-o", "s.csv"), "s.csv exists already: remove it or choose another name with -o"),
        (("--label", "state", "--target-label", "x"), "t has no column 'x'"),
        (("more.csv", "--label", "state"), "more.csv is one name too many: write further sources after --sources"),
        (("--label", "state", "--sources", "p.npz"), "s.csv is a table and p.npz is none: give domains of one kind"),
    ],
)
def test_one_sentence_before_anything_is_trained(options, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table(Path("s.csv"), 1)
    table(Path("t.csv"), 2)
    images(Path("p.npz"), 1)
    before = tree(tmp_path)
    said = gradtape("adapt", "s.csv", "t.csv", *options)
    assert (said.code, said.out) == (2, "")
    assert words in said.errors[0]
    assert said.errors[0].startswith("error: ")
    assert len(said.errors) == 1
    assert tree(tmp_path) == before


def test_ctrl_c_and_resume_end_in_the_same_bytes(base: Path, tmp_path: Path, monkeypatch) -> None:
    folder, _ = made(base)
    run = tmp_path / "r"
    command = ("adapt", folder / "s.csv", folder / "t.csv", "--sources", folder / "a.csv", folder / "b.csv",
               "--label", "state", "--run", run, *FAST)  # fmt: skip
    from gradtape.adaptation import _training

    original, calls = _training.outputs_of, []

    def stop(*given):
        calls.append(given)
        if len(calls) == 8:  # in the midst of the second training
            raise KeyboardInterrupt
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(_training, "outputs_of", stop)
        said = gradtape(*command)
    assert (said.code, said.out) == (130, "")
    assert f"--run {run} --resume" in said.err
    assert not (run / "predictions.csv").exists()
    refused = gradtape(*command, "--resume", "--seed", "1")
    assert refused.code == 2
    assert "was started with other settings (seed)" in refused.err
    assert gradtape(*command, "--resume").code == 0
    assert not leftovers(run)
    same = ("predictions.csv", "adapter.safetensors", "maps.npz", "result.json", "report.html")
    assert {name: tree(run)[name] for name in same} == {name: tree(folder / "r")[name] for name in same}
