"""What the user takes home: synthetic data in the kind it came in, its lineage, the model; pictures for the report."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import save

from gradtape.atomic import write_atomically
from gradtape.augmentation.experiment import BASELINE, MIX, SYNTHETIC, Experiment, plain_weights
from gradtape.data import write_image_folder, write_npz
from gradtape.evidence import Lineage, write_lineage
from gradtape.runs import Run
from gradtape.seeding import derive
from gradtape.synthesis import MAKERS

FOLDER, ARRAY, LINEAGE, MODEL, PICTURES = (
    "synthetic",
    "synthetic.npz",
    "lineage.jsonl",
    "model.safetensors",
    "pictures.npz",
)
_PICTURES_PER_CLASS = 8


def deliver(experiment: Experiment, run: Run, best: str, chosen: str) -> dict[str, Any]:
    """Write the best synthetic maker's samples of the first repeat, their lineage, and the chosen arm's model.

    Returns:
        What was written: files, counts and SHA-256 sums.
    """
    data, train = experiment.data, experiment.rows(0)
    makers = SYNTHETIC if best == MIX else (best,)
    images, labels, rows = [], [], []
    for index, name in enumerate(makers):
        samples = experiment.samples(0, name)
        keep = range(index, len(samples.images), len(makers))
        images.append(samples.images.cpu().numpy()[list(keep)])
        labels.append(samples.targets.argmax(1).cpu().numpy()[list(keep)])
        rows += [(name, position, samples.descent[position], samples.model) for position in keep]
    all_images = np.concatenate(images) + 0.0  # no negative zeros, whose bytes differ between builds of torch
    all_labels = np.concatenate(labels)

    folder = run.path / FOLDER
    if folder.exists():  # left by a run that was stopped after writing it
        shutil.rmtree(folder)
    paths = write_image_folder(
        folder, all_images, all_labels, data.classes, names=[f"{name}-{position:05d}" for name, position, _, _ in rows]
    )
    write_npz(run.path / ARRAY, images=data.as_given(all_images), labels=_plain(data.labels_as_given(all_labels)))
    seed = experiment.settings.seed
    lineage = [
        Lineage(
            sample=path,
            maker=name,
            parents=tuple(data.origins[train[parent]] for parent in descent.parents),
            node=descent.node,
            objective=descent.objective,
            seed=derive(seed, "maker", name, 0),
            model=model,
            settings=dict(descent.settings),
        )
        for path, (name, _, descent, model) in zip(paths, rows, strict=True)
    ]
    write_lineage(run.path / LINEAGE, lineage)
    _write_model(experiment, run, chosen)
    write_npz(run.path / PICTURES, **_pictures(experiment))
    return {
        "synthetic": {"folder": FOLDER, "array": ARRAY, "lineage": LINEAGE, "n": len(rows), "maker": best},
        "model": {"file": MODEL, "arm": chosen, "repeat": 1},
        "sha256": {name: _sha256(run, name) for name in (ARRAY, LINEAGE, MODEL)},
    }


def _write_model(experiment: Experiment, run: Run, chosen: str) -> None:
    model = experiment.model(0, chosen)
    about = {
        "network": type(model).__name__,
        "classes": experiment.data.classes,
        "shape": experiment.data.images.shape[1:],
        "arm": chosen,
    }
    # one entry alone: safetensors writes several in an order that differs from save to save
    write_atomically(run.path / MODEL, save(plain_weights(model), {"gradtape": json.dumps(about, sort_keys=True)}))


def _pictures(experiment: Experiment) -> dict[str, npt.NDArray[Any]]:
    """Return a few images of each class, real and of each maker, in the order of the classes."""
    data = experiment.data.take(experiment.rows(0))
    sets: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {BASELINE: (data.images, data.labels)}
    for name in MAKERS:
        samples = experiment.samples(0, name)
        sets[name] = (samples.images.cpu().numpy(), samples.targets.argmax(1).cpu().numpy())
    pictures: dict[str, npt.NDArray[Any]] = {}
    for name, (images, labels) in sets.items():
        shown = [np.flatnonzero(labels == label)[:_PICTURES_PER_CLASS] for label in range(len(data.classes))]
        rows = np.concatenate(shown)
        pictures[f"{name}_images"] = images[rows]
        pictures[f"{name}_labels"] = labels[rows]
    return pictures


def _plain(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels as an array that a file can hold: strings in an array of objects become an array of strings."""
    return np.array(labels.tolist()) if labels.dtype.hasobject else labels


def _sha256(run: Run, name: str) -> str:
    return hashlib.sha256((run.path / name).read_bytes()).hexdigest()
