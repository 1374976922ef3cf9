"""Jobs that several test files look at, each run once: small data, short training, and a spy on all of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from gradtape.augmentation import AugmentSettings, experiment, outcome
from gradtape.cli.app import _run
from gradtape.data import SealedTest
from gradtape.synthesis import MAKERS
from gradtape.training import RichProgress

SETTINGS = {"per_class": 3, "added": 2, "repeats": 5, "steps": 20, "generator_steps": 20}
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
ASKED = AugmentSettings.of(**SETTINGS)
CLASSES = ("ant", "bee", "cat")
TRAIN, ADDED = 3 * len(CLASSES), 6 * len(CLASSES)


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that tell the user of an error, without those that name a stage of the work."""
        return [line for line in self.err.splitlines() if not line.startswith(("repeat ", "evidence"))]


def gradtape(*arguments: object) -> Said:
    """Run a command in this process; an exception that would be a traceback comes through."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _run([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


def environment(base: Path) -> dict[str, str]:
    """The environment of a child process; where compiled modules are not kept, the children share theirs."""
    shared = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(base / "compiled")}
    return {**os.environ, "OMP_NUM_THREADS": "1", **(shared if sys.dont_write_bytecode else {})}


def small_arrays() -> tuple[np.ndarray, np.ndarray]:
    """48 images of 4x4, three classes that differ in where they are bright."""
    draws = np.random.default_rng(7)
    labels = np.repeat(np.arange(3), 16)
    images = draws.integers(0, 140, (48, 4, 4), dtype=np.uint8)
    for label in range(3):
        images[labels == label, label : label + 2] += 90
    shuffled = draws.permutation(48)
    return images[shuffled], np.array(CLASSES)[labels[shuffled]]


@functools.cache
def small_npz(base: Path) -> Path:
    """The small data in a file."""
    images, labels = small_arrays()
    path = base / "small.npz"
    np.savez(path, images=images, labels=labels)
    return path


@functools.cache
def finished(base: Path) -> tuple[Path, Said]:
    """A run on the small data that nothing interrupted."""
    path = base / "finished"
    said = gradtape("augment", small_npz(base), "--run", path, *OPTIONS)
    assert said.code == 0, said.err
    return path, said


@functools.cache
def ready(base: Path) -> tuple[Path, Said]:
    """The same run, stopped by Ctrl-C when everything is trained and nothing is delivered."""
    path = base / "ready"

    def stop(self: RichProgress, name: str) -> None:
        if name == "evidence":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RichProgress, "stage", stop)
        said = gradtape("augment", small_npz(base), "--run", path, *OPTIONS)
    return path, said


def resume(base: Path, run: Path) -> Said:
    """Go on with a copy of the stopped run."""
    return gradtape("augment", small_npz(base), "--run", run, "--resume", *OPTIONS)


def copy(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def tree(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def result_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".gradtape-*")]


class Event(NamedTuple):
    """Something the job did: train, judge, make, choose, open, predict (on what), in its order."""

    what: str
    seen: dict[str, Any]


@contextlib.contextmanager
def spied() -> Iterator[list[Event]]:
    """Write down what the job trains on, makes from, chooses by, scores, and when it opens the test set."""
    events: list[Event] = []

    def train(what: str, original: Any) -> Any:
        def spy(model: Any, images: Any, targets: Any, **given: Any) -> None:
            start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            seen = {"images": images.clone(), "targets": targets.clone(), "start": start, **given}
            events.append(Event(what, seen))
            original(model, images, targets, **given)

        return spy

    def predict(what: str, original: Any) -> Any:
        def spy(model: Any, images: Any) -> Any:
            events.append(Event(what, {"images": images.clone()}))
            return original(model, images)

        return spy

    def make(name: str, original: Any) -> Any:
        def spy(self: Any, real: Any, n: int, seed: int, workplace: Any) -> Any:
            made = original(self, real, n, seed, workplace)
            seen = {"name": name, "real": real, "n": n, "made": made.images.clone(), "seed": seed}
            events.append(Event("make", seen))
            return made

        return spy

    def choose(validation: Any, among: Any) -> str:
        answer = chosen(validation, among)
        events.append(Event("choose", {"among": among, "answer": answer}))
        return answer

    def open_(self: SealedTest) -> Any:
        events.append(Event("open", {}))
        return opened(self)

    chosen, opened = outcome.choose, SealedTest.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "train_classifier", train("train", experiment.train_classifier))
        patch.setattr(outcome, "train_classifier", train("judge", outcome.train_classifier))
        patch.setattr(experiment, "predict", predict("validate", experiment.predict))
        patch.setattr(outcome, "predict", predict("predict", outcome.predict))
        patch.setattr(outcome, "features", predict("features", outcome.features))
        patch.setattr(outcome, "choose", choose)
        patch.setattr(outcome, "_JUDGE_STEPS", 20)
        patch.setattr(SealedTest, "open", open_)
        for name, maker in MAKERS.items():
            patch.setattr(type(maker), "make", make(name, type(maker).make))
        yield events


class Digits(NamedTuple):
    """A job on the digits: what it did, what it said, where it is."""

    events: list[Event]
    said: Said
    run: Path


@functools.cache
def digits(base: Path) -> Digits:
    """``gradtape augment digits --json``, spied on."""
    with spied() as events:
        said = gradtape("augment", "digits", "--json", "--run", base / "digits", *OPTIONS)
    assert said.code == 0, said.err
    return Digits(events, said, base / "digits")


def keys(images: Any) -> list[bytes]:
    """What tells one image from another: its bytes."""
    array = images.cpu().numpy() if isinstance(images, torch.Tensor) else images
    return [np.ascontiguousarray(image, dtype=np.float32).tobytes() for image in array]
