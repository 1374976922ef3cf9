"""From data to a folder or file of new samples, with a run folder that tells how they were made."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from gradtape.data import write_csv, write_image_folder, write_npz
from gradtape.errors import InputError
from gradtape.runs import Run, check_out, next_path
from gradtape.synthesis._samples import Images, Points
from gradtape.synthesis.synthesizer import Read, Synthesizer

_LABEL = "y"  # column or array of the classes of points


class SynthesisResult(NamedTuple):
    """What a synthesis gives back.

    Attributes:
        sentence: How good the samples are, with figures.
        out: Where the samples are.
        n: How many.
        run: The run folder.
        report: The page to open in a browser.
        synthesizer: The fitted synthesizer, for more samples.
        details: All figures, as in ``result.json``.
    """

    sentence: str
    out: Path
    n: int
    run: Path
    report: Path
    synthesizer: Synthesizer
    details: dict[str, Any]


def synthesize(
    source: str | os.PathLike[str],
    n: int = 500,
    *,
    out: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **settings: Any,
) -> SynthesisResult:
    """Learn from data, write new samples of the same kind, and keep a run folder with sheets, figures and a report.

    Args:
        source: Name or path of data; see ``Synthesizer.fit``.
        n: Number of samples, in the classes' proportions.
        out: What to make: a folder of PNG files or an .npz for images, a .csv or .npz for points. None takes
            ``samples`` in the run folder.
        run: The run folder to make; None takes the next free one below ``runs``.
        resume: Go on with an interrupted ``run``; the result is that of one never interrupted.
        settings: Those of ``Synthesizer``.

    Raises:
        InputError: A setting out of range, or an ``out`` that is taken or of the wrong kind; before it trains.
        DataError: Data that cannot be used.
        RunError: A run folder that cannot be used.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"-n is {n!r}", remedy="give a number of samples, at least 1")
    if resume and run is None:
        raise InputError("resume needs a run", remedy="name the run folder to go on with")
    synthesizer = Synthesizer(**settings, resume=resume)
    read = synthesizer.read(source)
    kind = read.kind
    folder = next_path("runs", f"synthesize-{kind.pattern.name}") if run is None else Path(run)
    synthesizer.run = folder
    target = folder / ("samples" if isinstance(kind, Images) else "samples.csv") if out is None else Path(out)
    if out is not None:
        check_out(target, folder, resume=resume)
        _check_kind(target, kind)

    def deliver(opened: Run) -> None:
        if (out is None or resume) and target.exists():  # left by a run that was stopped after writing it
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        _write(target, synthesizer, read, n)

    synthesizer.fit_read(read, {"n": n, "out": str(target)}, deliver)
    with closing(Run.open(folder)) as finished:
        details = finished.read_json("result.json")
    return SynthesisResult(
        details["verdict"]["sentence"], target, n, folder, folder / "report.html", synthesizer, details
    )


def _check_kind(target: Path, kind: Images | Points) -> None:
    ending = target.suffix.lower()
    if isinstance(kind, Points) and ending not in (".csv", ".npz"):
        raise InputError(f"{target} is to hold points", remedy="let its name end in .csv or .npz")
    if isinstance(kind, Images) and ending == ".csv":
        raise InputError(f"{target} is to hold images", remedy="name a folder, or let its name end in .npz")


def _write(target: Path, synthesizer: Synthesizer, read: Read, n: int) -> None:
    samples, condition = synthesizer.draw(n, None, 0)
    labels = read.conditions.given_back(condition)
    kind = read.kind
    plain = None if labels is None else np.array(labels.tolist()) if labels.dtype.hasobject else labels
    if isinstance(kind, Points):
        _write_points(target, kind, samples, plain)
    elif target.suffix.lower() == ".npz":
        images = kind.pattern.as_given(kind.shown(samples))
        write_npz(target, images=images, **({} if plain is None else {"labels": plain}))
    else:
        scale = kind.pattern.scale
        deep = scale.dtype == "uint16" and kind.shape[0] == 1
        images = kind.shown(samples) * (scale.high / 65535 if deep else 1.0)
        numbers = condition.numpy() if condition is not None and read.conditions.classes else None
        write_image_folder(target, images, numbers, read.conditions.classes, bits=16 if deep else 8)


def _write_points(target: Path, kind: Points, samples: Tensor, labels: Any) -> None:
    values = kind.pattern.as_given(kind.shown(samples))
    if target.suffix.lower() == ".npz":
        write_npz(target, X=values, **({} if labels is None else {_LABEL: labels}))
        return
    typed = [values[:, index].astype(dtype) for index, dtype in enumerate(kind.pattern.dtypes)]
    columns = dict(zip(kind.pattern.columns, typed, strict=True))
    if labels is not None:
        columns |= {_LABEL: labels} if labels.ndim == 1 else {f"{_LABEL}{i}": v for i, v in enumerate(labels.T)}
    write_csv(target, columns)
