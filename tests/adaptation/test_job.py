"""Reading domains, the job's files, its report."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gradtape.adaptation import DomainAdapter
from gradtape.adaptation._domains import read_domains
from gradtape.adaptation._maps import _principal, _projection
from gradtape.adaptation.job import adapt
from gradtape.adaptation.page import render
from gradtape.data import read_images, read_table
from gradtape.errors import DataError, InputError
from gradtape.runs import Run
from tests.adaptation.domains import ROWS, images, table
from tests.report.reading import read

FAST = {"steps": 6, "device": "cpu"}


def test_tables_of_several_domains_are_one_kind(tmp_path: Path) -> None:
    first, second = table(tmp_path / "a.csv", 1), table(tmp_path / "b.csv", 2)
    given = read_domains([first, second], table(tmp_path / "t.csv", 3, label=None), label="state")
    assert len(given.X) == len(given.y) == 2 * ROWS
    assert given.domains is not None
    assert np.bincount(given.domains).tolist() == [ROWS, ROWS]
    alone, labels = read_table(second, target="state")
    assert given.X.take(np.arange(ROWS, 2 * ROWS)).column("city").tolist() == alone.column("city").tolist()
    assert given.y[ROWS:].tolist() == labels.tolist()
    assert (given.names, given.target, given.yt) == (("a", "b"), "t", None)
    assert given.Xt.names == given.X.names == ("age", "city", "dose")


def test_labels_of_the_target_are_found_by_either_name(tmp_path: Path) -> None:
    source, target = table(tmp_path / "a.csv", 1), table(tmp_path / "t.csv", 3, label="truth")
    given = read_domains([source], target, label="state", target_label="truth")
    assert given.yt.tolist() == read_table(target, target="truth")[1].tolist()
    assert given.Xt.names == given.X.names
    assert given.domains is None
    same = read_domains([source], table(tmp_path / "t.csv", 3), label="state")
    assert same.yt.tolist() == given.yt.tolist()


def test_images_are_brought_to_the_smaller_size_and_to_one_colour(tmp_path: Path) -> None:
    grey, colour = images(tmp_path / "grey.npz", 1, side=16), images(tmp_path / "colour.npz", 1, channels=3)
    given = read_domains([grey], colour)
    assert given.X.shape == given.Xt.shape == (40, 3, 8, 8)
    np.testing.assert_allclose(given.X[:, 0], given.X[:, 2])
    np.testing.assert_array_equal(given.Xt, read_images(colour).images)
    assert np.abs(given.X - given.Xt).mean() < 0.06  # what was grown by two and shrunk again
    assert given.y.dtype.kind == "i"
    assert given.notes[2:] == ["grey resized to 8x8", "grey: grey repeated in three channels"]


def test_labels_of_the_target_follow_those_of_the_source(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.eye(4), y=np.array([0, 1, 0, 1]))
    np.savez(tmp_path / "t.npz", X=np.eye(4), y=np.array(["0", "1", "x", "1"]))
    given = read_domains([tmp_path / "a.npz"], tmp_path / "t.npz")
    assert given.y.tolist() == [0, 1, 0, 1]
    assert given.yt.tolist() == [0, 1, -1, 1]
    np.savez(tmp_path / "t.npz", X=np.eye(4), y=np.array([0.5, 1.0, 0.0, 1.0]))
    given = read_domains([tmp_path / "a.npz"], tmp_path / "t.npz")
    assert given.y.dtype.kind == "i"


def test_domains_that_do_not_fit_together(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv", 1)
    pictures = images(tmp_path / "p.npz", 1)
    np.savez(tmp_path / "n.npz", X=np.ones((4, 3)), y=np.arange(4))
    np.savez(tmp_path / "m.npz", X=np.ones((4, 3)), y=np.arange(4) + 9)
    for call, kind, words in (
        (
            lambda: read_domains([source], pictures, label="state"),
            DataError,
            "a.csv is a table and .*p.npz is none: give",
        ),
        (lambda: read_domains([source], source), DataError, "a.csv has no labels: name their column with --label"),
        (lambda: read_domains([source], source, label="stat"), DataError, "no column 'stat', did you mean 'state'"),
        (lambda: read_domains([pictures], pictures, label="x"), InputError, "--label x names a column, and these are"),
        (lambda: read_domains([images(tmp_path / "u.npz", 1, labels=False)], pictures), DataError, "u has no labels"),
        (lambda: read_domains([tmp_path / "n.npz"], tmp_path / "m.npz"), DataError, r"\(9, ...\) is one of the source"),
        (lambda: read_domains([tmp_path / "n.npz"], source), DataError, "n has a column 'x0' that a has not"),
    ):
        with pytest.raises((DataError, InputError), match=words) as caught:
            call()
        assert isinstance(caught.value, kind)


def test_the_principal_plane_keeps_what_lies_in_a_plane() -> None:
    draws = np.random.default_rng(0)
    flat = draws.normal(size=(50, 2)) * [5, 1] @ np.linalg.qr(draws.normal(size=(6, 2)))[0].T
    places = _principal(flat.astype(np.float32))
    distances = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (flat, places)]
    np.testing.assert_allclose(*distances, atol=1e-5)
    assert places[:, 0].std() > 3 * places[:, 1].std()
    assert _principal(np.ones((3, 1), dtype=np.float32)).tolist() == [[0, 0]] * 3


def test_umap_is_taken_where_it_is_installed(monkeypatch) -> None:
    class UMAP:
        def __init__(self, random_state: int, n_jobs: int) -> None:
            self.seed = random_state

        def fit_transform(self, features):
            return features[:, :2] + self.seed

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    name, project = _projection(3)
    assert (name, project(np.zeros((2, 5))).tolist()) == ("UMAP", [[3, 3], [3, 3]])
    monkeypatch.setitem(sys.modules, "umap", None)
    assert _projection(3) == ("PCA", _principal)


def test_a_regression_has_numbers_and_no_classes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("t", 2)):
        draws = np.random.default_rng(seed)
        X = draws.normal(size=(40, 2))
        np.savez(tmp_path / f"{name}.npz", X=X, y=X @ [1.0, 2.0] + 0.5)
    result = adapt(tmp_path / "a.npz", tmp_path / "t.npz", run=tmp_path / "r", **FAST)
    assert result.predictions.read_text().splitlines()[0] == "row,predicted"
    assert result.details["task"] == "regression"
    assert result.details["table"][0]["accuracy"]["mean"] < 0
    assert "minus the error" in result.report.read_text()


def test_images_end_to_end(tmp_path: Path) -> None:
    source, target = images(tmp_path / "a.npz", 1), images(tmp_path / "t.npz", 2, side=16)
    result = adapt(source, target, run=tmp_path / "r", out=tmp_path / "p.csv", **FAST)
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "adapter.safetensors", "maps.npz", "report.html", "result.json", "run.json", "series.sqlite",
    }  # fmt: skip
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(40))
    shares = np.array([[float(row["p(0)"]), float(row["p(1)"])] for row in rows])
    assert [int(row["predicted"]) for row in rows] == shares.argmax(axis=1).tolist()
    np.testing.assert_allclose([float(row["probability"]) for row in rows], shares.max(axis=1))
    given = read_domains([source], target)
    again = DomainAdapter.load(tmp_path / "r" / "adapter.safetensors")
    np.testing.assert_allclose(again.predict_proba(given.Xt), shares, atol=1e-6)
    details = json.loads((tmp_path / "r" / "result.json").read_text())
    assert details == result.details
    assert details["classes"] == ["0", "1"]
    assert details["candidates"][details["chosen"]]["method"] == "dann"
    page = read(result.report.read_text().partition("<main")[2].partition(">")[2].partition("</main>")[0])
    assert [n.text for n in page.all("h2")] == [
        "Does adaptation help?", "All candidates", "Features before and after", "Training of what was chosen",
        "Which classes are confused", "Shares of the classes",
    ]  # fmt: skip
    assert len(page.all("figure", "scatter")) == 4
    with np.load(tmp_path / "r" / "maps.npz") as maps:
        assert maps["target"].tolist() == [False] * 40 + [True] * 40
        assert maps["labels"][:40].tolist() == [str(i % 2) for i in range(40)]
        assert not np.allclose(maps["source only"], maps["chosen"])
    opened = Run.open(tmp_path / "r")
    assert render(opened) == result.report.read_text()
    opened.close()


def test_many_classes_are_not_drawn_in_ten_colours(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for name in "at":
        np.savez(tmp_path / f"{name}.npz", X=draws.normal(size=(72, 3)), y=np.arange(72) % 12)
    result = adapt(tmp_path / "a.npz", tmp_path / "t.npz", run=tmp_path / "r", select=["entropy", "snd"], **FAST)
    page = result.report.read_text()
    assert all(each["scores"].keys() == {"entropy", "snd"} for each in result.details["candidates"])
    assert "Chosen by entropy, snd, without labels of the target." in page
    assert page.count('<figure class="chart scatter">') == 2
    assert "more than can be told apart by colour" in page
