"""``gradtape runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the runs are.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the runs of a folder and how they stand."""
    from gradtape.cli._show import print_json, print_table
    from gradtape.runs import list_runs

    found = sorted(list_runs(folder), key=lambda run: (not run.started, run.started))
    if json:
        print_json([{**run._asdict(), "path": str(run.path)} for run in found])
        return
    if not found:
        typer.echo(f"no runs in {folder}; make one with: gradtape augment digits")
        return
    print_table(
        ["run", "command", "status", "started (UTC)", "note"],
        [[str(r.path), r.command, r.status, r.started.replace("T", " ")[:16], r.note] for r in found],
    )
    reports = [run.path for run in found if run.command == "augment" and run.status == "finished"]
    if reports:
        typer.echo(f"see one with: gradtape report {reports[-1]}")
    tracked = [run.path for run in found if run.command == "track"]
    if tracked:
        typer.echo(f"judge one with: gradtape diagnose {tracked[-1]}")
