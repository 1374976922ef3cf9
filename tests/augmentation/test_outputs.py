"""What the user takes home: samples in the kind they came in, lineage, the model, the report."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import gradtape as gt
from gradtape.augmentation.deliver import deliver
from gradtape.augmentation.experiment import ARMS, MIX, SYNTHETIC, TITLES, Experiment
from gradtape.data import draw, read, split, write_image_folder
from gradtape.errors import InputError
from gradtape.evidence import read_lineage
from gradtape.nets import ImageClassifier
from gradtape.runs import Run
from gradtape.seeding import derive
from gradtape.training import Silent, predict
from tests.augmentation import jobs
from tests.augmentation.jobs import ADDED, ASKED, CLASSES, SETTINGS, result_of, tree

FILES = {"lineage.jsonl", "model.safetensors", "pictures.npz", "report.html", "result.json", "run.json"}


def npz(run: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(run / "synthetic.npz") as stored:
        assert set(stored.files) == {"images", "labels"}
        return stored["images"], stored["labels"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def pngs(run: Path) -> dict[str, np.ndarray]:
    """The pictures by their path, in the order of the lineage."""
    return {row.sample: pixels(run / "synthetic" / row.sample) for row in read_lineage(run / "lineage.jsonl")}


@pytest.mark.parametrize("which", ["finished", "digits"])
def test_the_run_folder_holds_what_it_should_and_no_checkpoints(which, finished, digits) -> None:
    run = finished if which == "finished" else digits.run
    files = set(tree(run))
    assert {name for name in files if not name.startswith("synthetic/")} == {*FILES, "series.sqlite", "synthetic.npz"}
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert {path.name for path in run.iterdir() if path.is_dir()} == {"synthetic"}


def test_pictures_equal_the_array_and_keep_its_type(finished: Path) -> None:
    images, labels = npz(finished)
    assert (images.shape, images.dtype, labels.dtype.kind) == ((ADDED, 4, 4), np.uint8, "U")
    assert sorted(labels.tolist()) == sorted(CLASSES * 6)
    found = sorted((finished / "synthetic").rglob("*.png"))
    assert len(found) == ADDED
    for name in CLASSES:
        pictures = sorted((finished / "synthetic" / name).glob("*.png"))
        stored = sorted(image.tobytes() for image in images[labels == name])
        assert sorted(pixels(path).tobytes() for path in pictures) == stored


def test_the_digits_come_back_in_their_range(digits: jobs.Digits) -> None:
    images, labels = npz(digits.run)
    assert (images.shape, images.dtype) == ((60, 8, 8), np.float64)
    assert labels.dtype.kind == "i"
    assert np.bincount(labels).tolist() == [6] * 10
    assert 0 <= images.min() <= 1
    assert 8 < images.max() <= 16
    for digit in range(10):
        stored = {np.rint(image / 16 * 255).astype(np.uint8).tobytes() for image in images[labels == digit]}
        found = (digits.run / "synthetic" / str(digit)).glob("*.png")
        assert {pixels(path).tobytes() for path in found} == stored


def test_a_picture_and_an_array_of_bytes_round_the_same_way(tmp_path: Path) -> None:
    odd = np.array([0.6098039150238037, 0.8686274290084839, 0.7666666507720947, 0.5], dtype=np.float32)
    images = np.tile(odd, 4).reshape(
        1, 1, 4, 4
    )  # in single precision the first three land on a half and go the other way
    write_image_folder(tmp_path / "out", images, [0], ["a"])
    written = pixels(tmp_path / "out" / "a" / "00001.png")
    data = gt_data(np.array([[0, 255]], dtype=np.uint8))
    assert written.ravel()[:4].tolist() == data.as_given(images).ravel()[:4].tolist()


def gt_data(values: np.ndarray):
    from gradtape.data import from_arrays

    return from_arrays(np.resize(values, (4, 4, 4)), [0, 1, 0, 1])


def test_samples_read_again_as_a_data_set(finished: Path) -> None:
    assert read(finished / "synthetic").counts() == dict.fromkeys(CLASSES, 6)
    again = read(finished / "synthetic.npz")
    assert again.counts() == dict.fromkeys(CLASSES, 6)
    assert again.scale == read(jobs.small_npz(finished.parent)).scale


@pytest.mark.parametrize("best", [*SYNTHETIC, MIX])
def test_lineage_names_training_rows_of_the_first_repeat(base: Path, ready: Path, best: str) -> None:
    data = read(jobs.small_npz(base))
    parts = split(data, 3, 0)

    def new_model() -> nn.Module:
        return ImageClassifier((1, 4, 4), 3)

    with Run.open(ready, resume=True) as run:
        experiment = Experiment(data, parts, ASKED, run, new_model, torch.device("cpu"), Silent())
        outputs = deliver(experiment, run, best, "shift")
        classifier = [experiment.model(0, "real").state_dict(), experiment.model(0, "shift").state_dict()]
    assert outputs["synthetic"] == {
        "folder": "synthetic", "array": "synthetic.npz", "lineage": "lineage.jsonl", "n": ADDED, "maker": best,
    }  # fmt: skip
    rows = read_lineage(ready / "lineage.jsonl")
    files = {path.relative_to(ready / "synthetic").as_posix() for path in (ready / "synthetic").rglob("*.png")}
    assert len(rows) == len(files) == ADDED
    assert {row.sample for row in rows} == files
    makers = [row.maker for row in rows]
    assert {name: makers.count(name) for name in set(makers)} == (
        dict.fromkeys(SYNTHETIC, ADDED // 3) if best == MIX else {best: ADDED}
    )
    drawn = draw(data, parts.pool, 3, derive(0, "draw", 0))
    label_of = {data.origins[row]: data.classes[data.labels[row]] for row in drawn}
    for row in rows:
        assert len(row.parents) == {"adversarial": 0, "steer": 1, "interpolate": 2}[row.maker]
        assert {label_of[parent] for parent in row.parents} <= {row.sample.split("/")[0]}
        assert row.seed == derive(0, "maker", row.maker, 0)
        assert (row.node is not None) == (row.maker == "steer")
        assert (row.model is None) == (row.maker == "interpolate")
    assert {path: image.tobytes() for path, image in pngs(ready).items()}.keys() == files
    images, labels = npz(ready)
    assert sorted(image.tobytes() for image in pngs(ready).values()) == sorted(image.tobytes() for image in images)
    assert sorted(row.sample.split("/")[0] for row in rows) == sorted(labels.tolist())
    written = load_file(ready / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in classifier[1].items())
    assert not all(torch.equal(written[name], tensor) for name, tensor in classifier[0].items())


def test_an_interpolated_sample_lies_between_its_parents(base: Path, ready: Path) -> None:
    data = read(jobs.small_npz(base))
    with Run.open(ready, resume=True) as run:
        experiment = Experiment(
            data, split(data, 3, 0), ASKED, run, lambda: ImageClassifier((1, 4, 4), 3), torch.device("cpu"), Silent()
        )
        deliver(experiment, run, "interpolate", "real")
    position = {origin: row for row, origin in enumerate(data.origins)}
    for row in read_lineage(ready / "lineage.jsonl"):
        first, second = (data.images[position[parent], 0].astype(np.float64) for parent in row.parents)
        expected = first + row.settings["share"] * (second - first)
        assert np.abs(pngs(ready)[row.sample] / 255 - expected).max() < 1 / 500


def test_hashes_are_those_of_the_files(digits: jobs.Digits) -> None:
    sums = result_of(digits.run)["outputs"]["sha256"]
    assert set(sums) == {"synthetic.npz", "lineage.jsonl", "model.safetensors"}
    for name, digest in sums.items():
        assert hashlib.sha256((digits.run / name).read_bytes()).hexdigest() == digest


def test_the_model_loads_and_scores_what_is_stated(digits: jobs.Digits) -> None:
    result, data = result_of(digits.run), read("digits")
    model = ImageClassifier((1, 8, 8), 10)
    model.load_state_dict(load_file(digits.run / "model.safetensors"))
    validation = data.take(split(data, 3, 0).validation)
    right = predict(model, torch.from_numpy(validation.images)).numpy() == validation.labels
    assert result["outputs"]["model"] == {"file": "model.safetensors", "arm": result["chosen"], "repeat": 1}
    assert float(right.mean()) == result["arms"][result["chosen"]]["validation"][0]
    test = data.take(split(data, 3, 0).test)
    right = predict(model, torch.from_numpy(test.images)).numpy() == test.labels
    assert float(right.mean()) == result["arms"][result["chosen"]]["test"][0]


@pytest.mark.parametrize("which", ["finished", "digits"])
def test_the_result_holds_no_time_and_no_path(which, base, finished, digits) -> None:
    run = finished if which == "finished" else digits.run
    text = (run / "result.json").read_text()
    assert str(base) not in text
    assert not re.search(r'"(/|[A-Za-z]:\\)', text)
    assert not re.search(r"\d{4}-\d\d-\d\dT|seconds|duration|elapsed|started", text)
    result = json.loads(text)
    assert result["settings"] == {**SETTINGS, "seed": 0}
    assert list(result) == sorted(result)


@pytest.mark.parametrize("which", ["finished", "digits"])
def test_the_report_stands_alone_and_says_what_was_chosen(which, base, finished, digits) -> None:
    run = finished if which == "finished" else digits.run
    page, result = (run / "report.html").read_text(), result_of(run)
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    for link in re.findall(r"""(?:src|href|action)\s*=\s*["']([^"']*)""", page) + re.findall(r"url\(([^)]*)\)", page):
        assert link.strip("\"'").startswith(("data:", "#")), link[:80]
    assert "@import" not in page
    assert not re.search(r"<(script|link|iframe|img)[^>]+https?:", page)
    assert str(base) not in page
    for arm in ARMS:
        cells = re.search(
            rf"<t[dh][^>]*>{re.escape(arm)}</t[dh]>\s*<td[^>]*>{re.escape(TITLES[arm])}</td>(.*?)</tr>", page
        )
        assert cells, arm
        figures = result["arms"][arm]
        assert f"{100 * np.mean(figures['validation']):.1f}" in cells[1]
        assert f"{100 * np.mean(figures['test']):.1f}" in cells[1]
    plain = re.sub(r"<[^>]+>", "", page)
    assert result["verdict"]["sentence"].split(":")[0] in plain
    chosen = result["chosen"]
    named = "Validation chose to add nothing" if chosen == "real" else f"Validation chose {chosen} ("
    assert named in plain


def test_arrays_give_the_figures_of_the_same_data_by_name(digits: jobs.Digits, tmp_path: Path, monkeypatch) -> None:
    from sklearn.datasets import load_digits

    from gradtape.augmentation import outcome

    monkeypatch.setattr(outcome, "_JUDGE_STEPS", 20)  # as in the spied run
    bunch = load_digits()
    result = gt.augment(bunch.images, bunch.target, run=tmp_path / "arrays", **SETTINGS)
    by_name = result_of(digits.run)
    assert result_of(tmp_path / "arrays") == result.details
    assert {**result.details, "data": None} == {**by_name, "data": None}
    differ = {key for key, value in by_name["data"].items() if result.details["data"][key] != value}
    assert differ <= {"name", "kind", "note"}
    for name in ("synthetic.npz", "lineage.jsonl", "model.safetensors"):
        assert tree(tmp_path / "arrays")[name] == tree(digits.run)[name]
    assert (result.helped, result.sentence) == tuple(by_name["verdict"][key] for key in ("helped", "sentence"))
    images, labels = npz(digits.run)
    assert np.array_equal(result.synthetic.images, images)
    assert np.array_equal(result.synthetic.labels, labels)
    assert [row.sample for row in result.synthetic.lineage] == [
        json.loads(line)["sample"] for line in (digits.run / "lineage.jsonl").read_text().splitlines()
    ]
    assert not result.model.training
    assert (result.report, result.run) == (tmp_path / "arrays" / "report.html", tmp_path / "arrays")


class Linear(nn.Sequential):
    """A user's own network."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 3))


def test_flat_rows_words_as_objects_and_a_model_of_the_users(tmp_path: Path) -> None:
    draws = np.random.default_rng(5)
    y = np.array(["no", "yes", "may be"], dtype=object)[np.arange(48) % 3]  # as pandas holds strings
    X = draws.uniform(0, 9, (48, 64))
    X[np.arange(48), np.arange(48) % 3 * 20] = 16.0
    made = []

    def factory() -> nn.Module:
        made.append(Linear())
        return made[-1]

    def job(name: str) -> gt.AugmentResult:
        return gt.augment(X, y, model=factory, run=tmp_path / name, **{**SETTINGS, "seed": 3})

    result = job("a")
    images, labels = result.synthetic.images, result.synthetic.labels
    assert (images.shape, images.dtype) == ((ADDED, 64), np.float64)
    assert 0 <= images.min() < 1
    assert 9 < images.max() <= 16
    assert sorted(labels.tolist()) == sorted(["no", "yes", "may be"] * 6)
    assert isinstance(result.model, Linear)
    assert len({id(model) for model in made}) == len(made) >= 40
    own = Linear()
    own.load_state_dict(load_file(tmp_path / "a" / "model.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), result.model.parameters(), strict=True))
    torch.rand(17)  # a random state of the user's that the job must neither feel nor move
    state = torch.get_rng_state()
    assert job("b").details == result.details
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_in_place_of_a_function_that_makes_one_is_refused(tmp_path: Path) -> None:
    images, labels = jobs.small_arrays()
    with pytest.raises(InputError, match="model is a Linear, and each arm trains a fresh one: give a function"):
        gt.augment(images, labels, model=Linear(), run=tmp_path / "r", **SETTINGS)
    assert not (tmp_path / "r").exists()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(base: Path, finished: Path) -> None:
    images, labels = jobs.small_arrays()
    other = gt.augment(images, labels, run=base / "other-seed", **{**SETTINGS, "seed": 1})
    first = result_of(finished)
    assert other.details["arms"]["real"]["validation"] != first["arms"]["real"]["validation"]
    assert other.details["outputs"]["sha256"]["model.safetensors"] != first["outputs"]["sha256"]["model.safetensors"]
    assert other.details["settings"]["seed"] == 1
