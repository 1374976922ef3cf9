"""The formats, and the one function that writes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gradtape.atomic import folder_atomically
from gradtape.errors import InputError
from gradtape.runs.exporters import csv, mlflow, parquet, tensorboard, wandb
from gradtape.runs.exporters._source import Source
from gradtape.runs.run import Run


class Exporter(NamedTuple):
    """A format.

    Attributes:
        title: What is written.
        write: Writes a run into an empty folder.
        then: The next thing to do, with ``{out}`` for the folder.
        service: Environment variable that may name a place other than a folder, or None.
    """

    title: str
    write: Callable[..., None]
    then: str
    service: str | None = None


EXPORTERS = {
    "csv": Exporter("a CSV file per channel", csv.write, 'in Python: pandas.read_csv("{out}/...")'),
    "parquet": Exporter("a Parquet file per channel", parquet.write, 'in Python: pandas.read_parquet("{out}/...")'),
    "tensorboard": Exporter("an event file", tensorboard.write, "tensorboard --logdir {out}"),
    "wandb": Exporter("an offline W&B run", wandb.write, "wandb sync {out}/wandb/offline-run-*"),
    "mlflow": Exporter(
        "an MLflow run",
        mlflow.write,
        "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {out}",
        service=mlflow.SERVICE,
    ),
}


def export(run: Run | str | os.PathLike[str], *, to: str, out: str | os.PathLike[str] | None = None) -> str:
    """Write a run's series in another program's format; the run may still be going on.

    Every series is named ``channel/column``, or stands in its channel's file with ``step``, ``column`` and ``value``.

    Args:
        run: A run or its folder.
        to: A key of ``EXPORTERS``: ``csv``, ``parquet``, ``tensorboard``, ``wandb`` or ``mlflow``. All but ``csv``
            need an optional package: ``pip install 'gradtape[parquet]'`` and so on.
        out: The folder to make; it appears whole or not at all. May be left out where an environment variable names
            the place: ``MLFLOW_TRACKING_URI``.

    Returns:
        Where it was written: the folder, or what the environment variable says.

    Raises:
        InputError: There is no such format, its package is missing, or ``out`` is.
        RunError: There is no such run, ``out`` exists, or it cannot be written.

    Examples:
        >>> import tempfile
        >>> base = tempfile.TemporaryDirectory()
        >>> with Run.create(Path(base.name) / "first", command="track", settings={}) as run:
        ...     run.series.channel("model/loss", ["loss"]).append(0, [2.5])
        >>> print((Path(export(run.path, to="csv", out=Path(base.name) / "csv")) / "model.loss.csv").read_text())
        step,column,value
        0,loss,2.5
        <BLANKLINE>
        >>> base.cleanup()
    """
    if to not in EXPORTERS:
        raise InputError(f"there is no exporter {to!r}", remedy=f"use one of {', '.join(EXPORTERS)}")
    exporter = EXPORTERS[to]
    place = os.environ.get(exporter.service or "")
    if out is None and not place:
        other = f", or set {exporter.service}" if exporter.service else ""
        raise InputError(f"exporting to {to} needs a folder to make", remedy=f"name one with out= or --out{other}")
    opened = run if isinstance(run, Run) else Run.open(run)
    try:
        source = Source(opened.path.resolve().name, opened.info, opened.series)
        if out is None:
            exporter.write(source, None)
            return str(place)
        more: dict[str, Any] = {"final": Path(out)} if exporter.service else {}
        with folder_atomically(out, then="try again") as folder:
            exporter.write(source, folder, **more)
        return str(out)
    finally:
        if opened is not run:
            opened.close()
