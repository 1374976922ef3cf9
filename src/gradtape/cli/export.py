"""``gradtape export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder; the run may still be going on.")],
    to: Annotated[str, typer.Option("--to", help="csv, parquet, tensorboard, wandb or mlflow.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder to make.  [for mlflow also: what MLFLOW_TRACKING_URI says]"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a run's series for other programs."""
    from gradtape.cli._show import print_json
    from gradtape.runs import EXPORTERS
    from gradtape.runs import export as write

    where = write(run, to=to, out=out)
    if json:
        print_json({"run": str(run), "to": to, "out": where})
        return
    typer.echo(f"{EXPORTERS[to].title}  {where}\n\n{EXPORTERS[to].then.format(out=where)}")
