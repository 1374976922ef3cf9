"""``gradtape synthesize``: what it writes, what it refuses, and that a killed run goes on bit by bit the same."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradtape.data import read, read_images
from gradtape.runs import Run
from gradtape.synthesis import Synthesizer
from tests.augmentation.jobs import environment, gradtape, leftovers, tree

FAST = ("--steps", "8", "--device", "cpu")
SQUARES = np.random.default_rng(0).integers(0, 256, (24, 6, 5), dtype=np.uint8)


def pictures(folder: Path, *, classes: bool = False) -> Path:
    """24 grey images of 5x6, side by side or in two folders."""
    for index, pixels in enumerate(SQUARES):
        place = folder / ("cat" if index % 3 else "dog") if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


@functools.cache
def made(base: Path) -> tuple[Path, Path, str]:
    """A finished run on a folder of images by class: the run, what it made, what it said."""
    data, run, out = pictures(base / "pets", classes=True), base / "synthesis", base / "new pets"
    said = gradtape("synthesize", data, "-n", 9, "-o", out, "--run", run, *FAST)
    assert said.code == 0, said.err
    return run, out, said.out


def test_images_by_class_are_written_as_they_came(base: Path) -> None:
    _, out, _ = made(base)
    assert {path.parent.name: len(list(path.parent.iterdir())) for path in out.rglob("*.png")} == {"cat": 6, "dog": 3}
    for path in out.rglob("*.png"):
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("L", (5, 6))
    assert read(out).classes == ("cat", "dog")


def test_the_run_folder(base: Path) -> None:
    run, _, said = made(base)
    assert {path.name for path in run.iterdir()} == {
        "pictures.npz", "report.html", "result.json", "run.json", "series.sqlite", "sheets", "synthesizer.safetensors",
        "walk.gif",
    }  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    assert [step for step, _ in result["quality"]["curve"]] == list(range(1, 9))
    assert result["sheets"] == [f"step-{step:05d}.png" for step in range(1, 9)]
    assert sorted(path.name for path in (run / "sheets").iterdir()) == result["sheets"]
    assert (result["data"]["train"], result["data"]["held_out"], result["data"]["classes"]) == (22, 2, ["cat", "dog"])
    assert result["verdict"]["sentence"] in said
    assert said.splitlines()[-1].endswith(f"gradtape report {run}")
    with closing(Run.open(run)) as opened:
        assert opened.status == "finished"
        assert opened.series.read("generator/loss").steps.tolist() == list(range(8))
        assert opened.series.read("discriminator/real").steps.tolist() == list(range(8))


def test_sheets_have_a_row_per_class_and_change_while_it_trains(base: Path) -> None:
    run, _, _ = made(base)
    with Image.open(run / "sheets" / "step-00008.png") as picture:
        last = np.asarray(picture)
    assert last.shape == (2 * (6 * 8 + 2) + 2, 10 * (5 * 8 + 2) + 2)  # 5x6 enlarged 8 times, 2 pixels between
    assert (last[:2] == 236).all()
    tile = last[2:50, 2:42].reshape(6, 8, 5, 8)
    assert (tile == tile[:, :1, :, :1]).all()  # whole pixels, none blurred
    with Image.open(run / "sheets" / "step-00001.png") as picture:
        assert (np.asarray(picture) != last).mean() > 0.1
    generator = Synthesizer.load(run / "synthesizer.safetensors")
    assert generator.sample(1).shape == (1, 6, 5)


def test_the_walk_is_a_closed_loop(base: Path) -> None:
    run, _, _ = made(base)
    with Image.open(run / "walk.gif") as picture:
        assert picture.info["loop"] == 0
        frames = []
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("L")).astype(float))
    assert len(frames) == 48
    moves = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert max(moves) > 0
    assert moves[-1] < 3 * np.median(moves) + 1  # the last step leads back to the first


def test_the_report_is_made_again(base: Path) -> None:
    run, _, _ = made(base)
    page = (run / "report.html").read_text()
    for heading in ("What came out", "Samples", "On the way", "Quality while training", "Nearest real neighbours"):
        assert f">{heading}</h2>" in page.replace("</a>", "")
    assert page.count('<img class="sheet') == 2 + 4 + 2
    before = tree(run)
    (run / "report.html").unlink()
    said = gradtape("report", run)
    assert (said.code, said.err) == (0, "")
    assert tree(run) == before
    assert "nothing found wrong" in gradtape("diagnose", run).out or "finding" in gradtape("diagnose", run).out


def test_images_without_classes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = gradtape("synthesize", pictures(tmp_path / "side by side"), "-n", 3, "-o", out, "--run", tmp_path / "r",
                    "--json", *FAST)  # fmt: skip
    assert said.code == 0, said.err
    assert json.loads(said.out) == json.loads((tmp_path / "r" / "result.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["00001.png", "00002.png", "00003.png"]
    assert read_images(out).images.shape == (3, 1, 6, 5)


def test_points_from_a_csv_to_a_csv(tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    rows = zip(draws.integers(18, 80, 40), draws.normal(1.7, 0.1, 40), strict=True)
    (tmp_path / "people.csv").write_text("age,height\n" + "".join(f"{age},{height}\n" for age, height in rows))
    out = tmp_path / "more.csv"
    said = gradtape("synthesize", tmp_path / "people.csv", "-n", 12, "-o", out, "--run", tmp_path / "r", *FAST)
    assert said.code == 0, said.err
    lines = out.read_text().splitlines()
    assert lines[0] == "age,height"
    assert len(lines) == 13
    assert all(line.split(",")[0].lstrip("-").isdigit() for line in lines[1:])  # ages are whole numbers again
    assert 0.5 < float(np.mean([float(line.split(",")[1]) for line in lines[1:]])) < 3
    assert not (tmp_path / "r" / "walk.gif").exists()
    assert (tmp_path / "r" / "sheets" / "step-00008.png").exists()


def test_an_npz_comes_back_in_its_type(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", images=SQUARES.astype(np.float32) / 255, labels=np.array(["x", "y"] * 12))
    out = tmp_path / "out.npz"
    assert gradtape("synthesize", tmp_path / "in.npz", "-n", 5, "-o", out, "--run", tmp_path / "r", *FAST).code == 0
    with np.load(out) as stored:
        assert (stored["images"].shape, stored["images"].dtype) == ((5, 6, 5), np.float32)
        assert set(stored["labels"]) == {"x", "y"}


def sizes(folder: Path) -> Path:
    Image.new("L", (9, 6)).save(pictures(folder) / "odd.png")
    return folder


def mixed(folder: Path) -> Path:
    Image.new("L", (5, 6)).save(pictures(folder, classes=True) / "stray.png")
    return folder


def text(folder: Path) -> Path:
    folder.with_suffix(".csv").write_text("age,city\n" + "30,Rome\n" * 20)
    return folder.with_suffix(".csv")


def gap(folder: Path) -> Path:
    folder.with_suffix(".csv").write_text("a,b\n" + "1,2\n" * 20 + "1,\n")
    return folder.with_suffix(".csv")


@pytest.mark.parametrize(
    ("prepare", "options", "words"),
    [
        (sizes, (), "/0.png is 5x6 and "),
        (sizes, (), "/odd.png is 9x6: resize all images to one size"),
        (mixed, (), "holds 1 images beside 2 folders: put all images side by side, or each into the folder"),
        (text, (), "'Rome' in line 2 of column 'city', which is no finite number: give columns of numbers only"),
        (gap, (), "'' in line 22 of column 'b', which is no finite number: fill it in"),
        (pictures, ("-o", "taken"), "taken exists already: remove it or choose another name with -o"),
        (pictures, ("-o", "new.csv"), "new.csv is to hold images: name a folder, or let its name end in .npz"),
        (pictures, ("-n", "0"), "-n is 0: give a number of samples, at least 1"),
        (pictures, ("--steps", "1"), "steps is 1: give a whole number from 2 up"),
        (pictures, ("--resume",), "resume needs a run: name the run folder to go on with"),
        (lambda folder: "nowhere", (), "there is no file, folder or built-in data named 'nowhere'"),
    ],
)
def test_one_sentence_before_anything_is_trained(prepare, options, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = prepare(tmp_path / "data")
    Path("taken").mkdir()
    before = tree(tmp_path)
    said = gradtape("synthesize", data, *options)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert tree(tmp_path) == before


def test_augment_still_wants_classes(tmp_path: Path) -> None:
    said = gradtape("augment", pictures(tmp_path / "data"))
    assert (said.code, said.out) == (2, "")
    assert "holds images but no folder for each class" in said.err


def test_ctrl_c_and_resume_end_in_the_same_bytes(base: Path, tmp_path: Path, monkeypatch) -> None:
    whole, _, _ = made(base)
    run, out = tmp_path / "r", tmp_path / "out"
    original = Synthesizer.fit_read.__globals__["Gallery"].hang

    def stop(self, step, game):
        original(self, step, game)
        if step == 5:
            raise KeyboardInterrupt

    command = ("synthesize", base / "pets", "-n", 9, "-o", out, "--run", run, *FAST)
    with monkeypatch.context() as patch:
        patch.setattr("gradtape.synthesis._gallery.Gallery.hang", stop)
        said = gradtape(*command)
    assert (said.code, said.out) == (130, "")
    assert f"--run {run} --resume" in said.err
    assert not out.exists()
    refused = gradtape(*command, "--resume", "--seed", "1")
    assert refused.code == 2
    assert "was started with other settings (" in refused.err
    assert gradtape(*command, "--resume").code == 0
    assert tree(out) == tree(made(base)[1])
    same = ("result.json", "synthesizer.safetensors", "walk.gif", "pictures.npz", "sheets/step-00008.png")
    assert {name: tree(run)[name] for name in same} == {name: tree(whole)[name] for name in same}


def test_a_killed_run_goes_on(base: Path, tmp_path: Path) -> None:
    whole, _, _ = made(base)
    run, out = tmp_path / "r", tmp_path / "out"
    command = ["synthesize", str(base / "pets"), "-n", "9", "-o", str(out), "--run", str(run), *FAST]
    slow = (
        "import time; from gradtape.synthesis._gallery import Gallery; hang = Gallery.hang\n"
        "Gallery.hang = lambda *given: (hang(*given), time.sleep(0.3))\n"
        f"from gradtape.cli.app import main; main({command!r})"
    )
    with subprocess.Popen([sys.executable, "-c", slow], env=environment(base), stderr=subprocess.DEVNULL) as child:
        until = time.monotonic() + 300
        while not (run / "sheets" / "step-00003.png").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert (run / "checkpoints" / "game").exists()
    assert not (run / "result.json").exists()
    assert gradtape(*command, "--resume").code == 0
    assert not leftovers(run)
    assert tree(out) == tree(made(base)[1])
    assert (run / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    assert tree(run)["synthesizer.safetensors"] == tree(whole)["synthesizer.safetensors"]
