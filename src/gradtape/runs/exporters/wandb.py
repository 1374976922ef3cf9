"""A run for Weights & Biases, offline unless the user has set it up otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gradtape.errors import InputError, RunError
from gradtape.runs.exporters._source import Source, environment, needed

_ROWS = 1000


def write(source: Source, folder: Path) -> None:
    """Write one W&B run with ``channel/column`` at every step, the settings and the notes in its configuration.

    Nothing goes over the network unless ``WANDB_MODE`` says ``online``, and nothing about this machine is stored.

    Raises:
        InputError: A step is negative.
        RunError: W&B refuses, as with ``WANDB_MODE=online`` before ``wandb login``.
    """
    mode = os.environ.get("WANDB_MODE", "offline")
    quiet = {} if mode == "online" else {"WANDB_ERROR_REPORTING": "false"}
    with environment(**quiet), needed("wandb"):
        import wandb

        config = {"settings": source.info.get("settings", {}), "notes": source.series.notes()}
        settings = wandb.Settings(
            mode=mode,
            silent=True,
            console="off",
            reinit="create_new",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        try:
            with wandb.init(
                dir=folder, project=os.environ.get("WANDB_PROJECT", "gradtape"), name=source.name, config=config,
                settings=settings,
            ) as run:  # fmt: skip
                for step, row in _rows(source):
                    run.log(row, step=step)
        except wandb.errors.Error as error:
            raise RunError(
                f"W&B refused the run ({str(error).strip()})", remedy="see to it, or leave WANDB_MODE unset for offline"
            ) from error
        for left in list((folder / "wandb").rglob("*")):  # links to W&B's own logs elsewhere, and its logs here
            if left.is_symlink() or left.suffix == ".log":
                left.unlink()


def _rows(source: Source) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield every step with what all channels hold at it, as W&B takes no step twice."""
    tags, names = source.tags(), source.series.names()
    steps = np.unique(np.concatenate([np.empty(0, np.int64), *(source.series.read(name, []).steps for name in names)]))
    if len(steps) and steps[0] < 0:
        raise InputError(f"{source.name} has the step {steps[0]}", remedy="W&B counts from 0: export to another format")
    for begin in range(0, len(steps), _ROWS):
        part = steps[begin : begin + _ROWS]
        rows: dict[int, dict[str, float]] = {step: {} for step in part.tolist()}
        for name in names:
            series = source.series.read(name, start=int(part[0]), stop=int(part[-1]) + 1)
            keys = [tags[name, column] for column in series.columns]
            for step, values in zip(series.steps.tolist(), series.values.tolist(), strict=True):
                if step in rows:
                    rows[step].update(zip(keys, values, strict=True))
        yield from rows.items()
