"""From data to synthetic data, a better model, and evidence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from gradtape.atomic import write_atomically
from gradtape.augmentation.deliver import deliver
from gradtape.augmentation.experiment import ARMS, Experiment, check_model
from gradtape.augmentation.outcome import measure, weigh
from gradtape.augmentation.page import render
from gradtape.augmentation.settings import AugmentSettings
from gradtape.data import ImageSet, SealedTest, from_arrays, read, split
from gradtape.errors import InputError
from gradtape.evidence import Lineage, hash_arrays, read_lineage
from gradtape.nets import ImageClassifier
from gradtape.runs import Run, next_path
from gradtape.tracking import judge, players, read_history
from gradtape.training import Progress, RichProgress, Silent, resolve_device, single_thread


class Synthetic(NamedTuple):
    """Synthetic data, in the layout, range and type that the real data came in.

    Attributes:
        images: The samples.
        labels: Their labels.
        lineage: Where each comes from.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    lineage: list[Lineage]


class AugmentResult(NamedTuple):
    """What the main job gives back.

    Attributes:
        helped: ``yes``, ``no``, ``hurts`` or ``unknown``: what the test says of the synthetic data.
        sentence: The same in words, with figures.
        table: One row per arm: name, kind, mean validation and test accuracy, gain over the real images alone in
            points with its 95% interval.
        model: The trained classifier of the arm chosen on validation, in evaluation mode.
        synthetic: The samples of the synthetic maker that was best on validation.
        report: The page to open in a browser.
        run: The run folder.
        details: All figures, as in ``result.json``.
    """

    helped: str
    sentence: str
    table: list[dict[str, Any]]
    model: nn.Module
    synthetic: Synthetic
    report: Path
    run: Path
    details: dict[str, Any]

    def __repr__(self) -> str:
        return f"AugmentResult(helped={self.helped!r}, run={str(self.run)!r})\n{self.sentence}"


def augment(
    X: Any,
    y: Any = None,
    *,
    model: Callable[[], nn.Module] | None = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    device: str = "auto",
    quick: bool = False,
    progress: bool = False,
    **settings: Any,
) -> AugmentResult:
    """Make synthetic data from labelled images, train with and without, and say whether it helped.

    Test and validation sets are split off before anything is made. The arms are the real images alone, three synthetic
    makers, a mix of them, and three controls. All train for equal steps, and all that add images add equally many,
    paired over the repeats. The arm is chosen on validation, and the test set is opened once, at the end.

    Args:
        X: Images (n, h, w), (n, c, h, w) or (n, h, w, c); or the name or path of data that
            ``gradtape.data.read`` reads, and then no ``y``.
        y: Labels (n,).
        model: Makes a fresh classifier from images (n, c, h, w) in [0, 1] to logits (n, classes); None takes a small
            convolutional network.
        run: The run folder to make; None takes the next free one below ``runs``.
        resume: Go on with an interrupted ``run``; the result is the same as that of one never interrupted.
        data_dir: Folder of data sets known by name.
        device: ``auto``, ``cpu``, ``cuda``, ...
        quick: Train for less time.
        progress: Show a progress bar.
        settings: Fields of ``AugmentSettings``: per_class, added, repeats, steps, generator_steps, seed.

    Returns:
        The verdict, the table, the model, the synthetic data and the report.

    Raises:
        InputError: A setting out of range, or a model in place of a function that makes one.
        DataError: Data that cannot be used.
        RunError: A run folder that cannot be used.

    Examples:
        ``result = gt.augment(images, labels, per_class=10)`` and then ``result.sentence``, ``result.report``.
    """
    asked = AugmentSettings.of(quick=quick, **settings)
    if isinstance(model, nn.Module):
        raise InputError(
            f"model is a {type(model).__name__}, and each arm trains a fresh one",
            remedy="give a function that makes it, such as a class or a lambda",
        )
    target = resolve_device(device)
    data = _data(X, y, data_dir)
    parts = split(data, asked.per_class, asked.seed)
    sealed = SealedTest(data.take(parts.test))
    _, channels, height, width = data.images.shape

    def default_model() -> nn.Module:
        return ImageClassifier((channels, height, width), len(data.classes))

    new_model = model or default_model
    network = hashlib.sha256(str(check_model(new_model, data)).encode()).hexdigest()
    with ExitStack() as stack:
        stack.enter_context(single_thread())
        job = stack.enter_context(_open_run(run, resume, data, network, asked))
        total = Experiment.work(asked)
        shown: Progress = stack.enter_context(RichProgress.show(total)) if progress else Silent()
        experiment = Experiment(data, parts, asked, job, new_model, target, shown)
        validation = experiment.train()
        result = {
            "format": 1,
            "command": "augment",
            "data": _about(data, experiment),
            "settings": asdict(asked),
            **measure(experiment, validation, sealed),
            "evidence": weigh(experiment, target, shown),
            "findings": [f._asdict() for f in judge([read_history(job.series, name) for name in players(job.series)])],
        }
        result["outputs"] = deliver(experiment, job, result["best_synthetic"], result["chosen"])
        chosen = experiment.model(0, result["chosen"]).cpu()
        job.write_json("result.json", result)
        write_atomically(job.path / "report.html", render(job))
    shutil.rmtree(job.path / "checkpoints", ignore_errors=True)  # once finished: a run stopped before needs them
    return _result(job.path, json.loads(json.dumps(result)), chosen)


def _data(X: Any, y: Any, data_dir: str | os.PathLike[str] | None) -> ImageSet:
    if isinstance(X, str | os.PathLike):
        if y is not None:
            raise InputError("labels were given beside the name of a data set", remedy="give arrays, or the name alone")
        return read(X, data_dir=data_dir)
    if y is None:
        raise InputError("images were given without labels", remedy="give y, one label per image")
    return from_arrays(X, y)


def _open_run(
    run: str | os.PathLike[str] | None, resume: bool, data: ImageSet, network: str, asked: AugmentSettings
) -> Run:
    images = hash_arrays({"images": data.images, "labels": data.labels})
    settings = {
        "data": {"name": data.name, "classes": list(data.classes), "sha256": images},
        "network": network,
        **asdict(asked),
    }
    if not resume:
        path = next_path("runs", f"augment-{data.name}") if run is None else run
        return Run.create(path, command="augment", settings=settings)
    if run is None:
        raise InputError("resume needs a run", remedy="name the run folder to go on with")
    return Run.open(run, resume=True, settings=settings)


def _about(data: ImageSet, experiment: Experiment) -> dict[str, Any]:
    return {
        "name": data.name,
        "kind": data.kind,
        "note": data.note,
        "shape": list(data.images.shape[1:]),
        "classes": list(data.classes),
        "images": len(data),
        "train": len(experiment.rows(0)),
        "pool": len(experiment.split.pool),
        "validation": len(experiment.validation),
        "test": len(experiment.split.test),
        "copies_in_test": _copies(data, experiment),
        "redrawn": len(experiment.split.pool) > len(experiment.rows(0)),
    }


def _copies(data: ImageSet, experiment: Experiment) -> int:
    """Return how many test images are exact copies of an image outside the test set."""
    digests = np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in data.images])
    outside = np.concatenate([experiment.split.pool, experiment.split.validation])
    return int(np.isin(digests[experiment.split.test], digests[outside]).sum())


def _result(path: Path, result: dict[str, Any], model: nn.Module) -> AugmentResult:
    table = [
        {
            "arm": name,
            "kind": arm["kind"],
            "validation": float(np.mean(arm["validation"])),
            "test": float(np.mean(arm["test"])),
            "gain": arm["gain"] and arm["gain"]["mean"],
            "low": arm["gain"] and arm["gain"]["low"],
            "high": arm["gain"] and arm["gain"]["high"],
        }
        for name, arm in ((name, result["arms"][name]) for name in ARMS)
    ]
    with np.load(path / "synthetic.npz") as stored:
        synthetic = Synthetic(stored["images"], stored["labels"], read_lineage(path / "lineage.jsonl"))
    verdict = result["verdict"]
    return AugmentResult(
        verdict["helped"], verdict["sentence"], table, model, synthetic, path / "report.html", path, result
    )
