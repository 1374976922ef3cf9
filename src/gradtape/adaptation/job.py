"""From two data sets to predictions for the second, with a run folder that tells how they came about."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradtape.adaptation._domains import Read, Source, read_domains
from gradtape.adaptation._maps import maps_of
from gradtape.adaptation.estimator import DomainAdapter
from gradtape.adaptation.labels import TargetLabels
from gradtape.adaptation.outcome import Outcome
from gradtape.adaptation.page import MAPS, render
from gradtape.atomic import write_atomically
from gradtape.data import Table, write_csv, write_npz
from gradtape.errors import DataError, InputError
from gradtape.evidence import hash_arrays
from gradtape.runs import Run, check_out, next_path

_MODEL = "adapter.safetensors"


class Adapted(NamedTuple):
    """What an adaptation gives back.

    Attributes:
        sentence: Whether it helps, with figures.
        outcome: All candidates, the table, and what the report shows.
        predictions: The .csv with a row for each row of the target.
        run: The run folder.
        report: The page to open in a browser.
        adapter: What was trained, for more predictions; after ``DomainAdapter.load`` the file in the run folder does as
            well.
        details: All figures, as in ``result.json``.
    """

    sentence: str
    outcome: Outcome
    predictions: Path
    run: Path
    report: Path
    adapter: DomainAdapter
    details: dict[str, Any]


def adapt(
    source: Source,
    target: Source,
    *,
    sources: Sequence[Source] = (),
    label: str | None = None,
    target_label: str | None = None,
    method: str | Sequence[str] = "dann",
    select: str | Sequence[str] | None = None,
    strength: float | Sequence[float] | None = None,
    steps: int | None = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    seed: int = 0,
    quick: bool = False,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Adapted:
    """Learn from a source with labels, predict a target without, and keep a run folder with model, figures and report.

    Labels that the target has are not used but for the figures at the end.

    Args:
        source: Images or a table with labels: what ``gradtape.data.read_images`` or ``read_table`` reads.
        target: The same kind of data, with labels or without.
        sources: Further sources.
        label: The column of labels in tables; not needed for an .npz with ``y``. Numbers that are not whole make it a
            regression.
        target_label: That column in the target, where it has another name.
        method: As ``DomainAdapter`` takes it, as are ``select``, ``strength``, ``steps``, ``seed``, ``quick`` and
            ``device``.
        run: The run folder to make; None takes the next free one below ``runs``.
        resume: Go on with an interrupted ``run``; the result is that of one never interrupted.
        data_dir: Folder of data sets known by name.
        out: The .csv of predictions to write; None takes ``predictions.csv`` in the run folder.
        progress: Show a progress bar.

    Raises:
        InputError: A setting out of range, or an ``out`` that is taken; before it trains.
        DataError: Data that cannot be used, or that do not fit together.
        RunError: A run folder that cannot be used.
    """
    if resume and run is None:
        raise InputError("resume needs a run", remedy="name the run folder to go on with")
    read = read_domains([source, *sources], target, label=label, target_label=target_label, data_dir=data_dir)
    folder = next_path("runs", f"adapt-{read.names[0]}-{read.target}") if run is None else Path(run)
    predictions = folder / "predictions.csv" if out is None else Path(out)
    if out is not None:
        if predictions.suffix.lower() != ".csv":
            raise InputError(f"{predictions} is to hold predictions", remedy="let its name end in .csv")
        check_out(predictions, folder, resume=resume)
    data = _about(read)
    asked: dict[str, Any] = {
        "method": method,
        "task": "regression" if read.y.dtype.kind == "f" else "classification",
        "select": select,
        "strength": strength,
        "steps": steps,
        "seed": seed,
        "quick": quick,
    }
    settings = {**asked, "data": data, "out": None if out is None else str(out)}
    adapter = DomainAdapter(**asked, device=device, progress=progress)
    try:
        opened = (
            Run.open(folder, resume=True, settings=settings)
            if resume
            else Run.create(folder, command="adapt", settings=settings)
        )
        with opened:
            adapter.run = opened
            known = None if read.yt is None else TargetLabels(read.yt)
            adapter.fit(read.X, read.y, read.Xt, known, domains=read.domains)
            _deliver(opened, adapter, read, data, predictions)
    except (InputError, DataError) as error:
        if not resume and not (folder / "checkpoints").exists():  # a mistake, before anything was trained
            shutil.rmtree(folder, ignore_errors=True)
            vars(error).pop("run_path", None)
        raise
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    adapter.run = None
    with closing(Run.open(folder)) as finished:
        details = finished.read_json("result.json")
    return Adapted(
        details["verdict"]["sentence"],
        adapter.outcome_,
        predictions,
        folder,
        folder / "report.html",
        adapter,
        details,
    )


def _about(read: Read) -> dict[str, Any]:
    """What was read; labels of the target play no part in it."""
    inputs = {"X": read.X, "Xt": read.Xt}
    arrays = {"y": read.y}
    for name, each in inputs.items():
        columns = each.columns if isinstance(each, Table) else {"images": each}
        arrays |= {f"{name} {key}": _hashable(value) for key, value in columns.items()}
    table = isinstance(read.X, Table)
    return {
        "sources": list(read.names),
        "target": read.target,
        "kind": "table" if table else "images",
        "source_rows": len(read.y),
        "target_rows": len(read.Xt),
        "shape": [len(read.X.names)] if table else list(read.X.shape[1:]),
        "notes": read.notes,
        "sha256": hash_arrays(arrays),
    }


def _hashable(column: Any) -> Any:
    return column if column.dtype != object else np.array(["" if cell is None else f"={cell}" for cell in column])


def _deliver(run: Run, adapter: DomainAdapter, read: Read, data: dict[str, Any], predictions: Path) -> None:
    """Write everything that the run folder holds but what it was trained from."""
    answers = adapter.predict(read.Xt)
    columns: dict[str, Any] = {"row": np.arange(len(answers)), "predicted": answers}
    if adapter.task == "classification":
        probabilities = adapter.predict_proba(read.Xt)
        columns["probability"] = probabilities.max(axis=1).round(6)
        names = [*map(str, adapter.classes_.tolist()), "unknown"][: probabilities.shape[1]]
        columns |= {f"p({name})": p.round(6) for name, p in zip(names, probabilities.T, strict=True)}
    predictions.parent.mkdir(parents=True, exist_ok=True)
    write_csv(predictions, columns)
    adapter.save(run.path / _MODEL)
    maps, projection = maps_of(adapter, read.X, read.y, read.Xt)
    write_npz(run.path / MAPS, **maps)
    classes = [str(name) for name in adapter.classes_.tolist()] if adapter.task == "classification" else []
    about = {"data": data, "task": adapter.task, "seed": adapter.seed, "projection": projection, "classes": classes}
    run.write_json("result.json", _finite({**adapter.outcome_.to_dict(), **about}))
    write_atomically(run.path / "report.html", render(run), then="resume the run")


def _finite(value: Any) -> Any:
    """Plain values that JSON can hold; what is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
