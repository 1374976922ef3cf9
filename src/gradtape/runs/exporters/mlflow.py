"""A run for MLflow, in a new file store or where the user's environment says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gradtape.errors import RunError
from gradtape.runs.exporters._source import Source, environment, needed, spelled

if TYPE_CHECKING:
    from mlflow.entities import Metric

SERVICE = "MLFLOW_TRACKING_URI"
_AT_ONCE = 1000  # the most metrics, and
_LONGEST = 500  # a length of a value, that every MLflow takes
_ENDS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def write(source: Source, folder: Path | None, final: Path | None = None) -> None:
    """Write one MLflow run with the metric ``channel/column`` at every step, its settings, and its notes as tags.

    Args:
        source: The run.
        folder: A folder that becomes a file store; without one, ``MLFLOW_TRACKING_URI`` says where.
        final: The name that the folder is going to have.

    Raises:
        RunError: MLflow refuses; a run that was begun is deleted.
    """
    with environment(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true"), needed("mlflow"):
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag
        from mlflow.exceptions import MlflowException

        where = os.environ[SERVICE] if folder is None else folder.absolute().as_uri()
        run = None
        try:
            client = MlflowClient(tracking_uri=where)
            if final is not None:
                experiment = client.create_experiment("gradtape", (final.absolute() / "artifacts").as_uri())
            else:
                known = client.get_experiment_by_name("gradtape")
                experiment = client.create_experiment("gradtape") if known is None else known.experiment_id
            run = client.create_run(experiment, int(1000 * source.started), run_name=source.name).info.run_id
            settings = [Param(_spelled(key), _text(value)) for key, value in source.info.get("settings", {}).items()]
            notes = [RunTag(_spelled(key), _text(value)) for key, value in source.series.notes().items()]
            for begin in range(0, max(len(settings), len(notes)), 100):
                part = slice(begin, begin + 100)
                client.log_batch(run, params=settings[part], tags=notes[part])
            for metrics in _metrics(source):
                client.log_batch(run, metrics=metrics)
            if source.info["status"] in _ENDS:
                client.set_terminated(run, _ENDS[source.info["status"]])
        except BaseException as error:
            if run is not None:
                with suppress(Exception):  # what went wrong first matters more
                    client.delete_run(run)
            if isinstance(error, MlflowException):
                raise RunError(f"MLflow at {where} refused the run ({error})", remedy=f"see to {SERVICE}") from error
            raise


def _metrics(source: Source) -> Iterator[list[Metric]]:
    from mlflow.entities import Metric

    tags, time = source.tags(spelling=_spelled), int(1000 * source.started)
    for channel in source.series.names():
        for column, series in source.columns(channel):
            key, steps, values = tags[channel, column], series.steps.tolist(), series.values[:, 0].tolist()
            for begin in range(0, len(steps), _AT_ONCE):
                part = slice(begin, begin + _AT_ONCE)
                yield [Metric(key, value, time, step) for step, value in zip(steps[part], values[part], strict=True)]


def _spelled(name: str) -> str:
    """Return a name that MLflow takes: it is used as a path."""
    parts = [spelled(part, r"[\w .-]") for part in name.split("/")]
    return "/".join(part if part.strip(".") else "_" + part.replace(".", "_") for part in parts)[:250]


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value, sort_keys=True))[:_LONGEST]
