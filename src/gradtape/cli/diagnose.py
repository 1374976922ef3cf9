"""``gradtape diagnose``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

_FEW = 4  # players whose loss is told: an experiment has dozens


def diagnose(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder: finished, under way, or left by a crash.")],
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Apply the rules again to all that a run has stored so far, and say what they find, first causes first."""
    from gradtape.cli._show import print_json
    from gradtape.runs import Run
    from gradtape.tracking import judge, players, read_history
    from gradtape.tracking.finding import in_words
    from gradtape.tracking.history import course

    with closing(Run.open(run)) as opened:
        status = opened.status
        histories = [read_history(opened.series, player) for player in players(opened.series)]
        findings = judge(histories)
        courses = [said for history in histories if (said := course(history))]
    if json:
        print_json([finding._asdict() for finding in findings])
        return
    steps = sum(len(history.steps) for history in histories)
    what = f"{steps:,} steps of {len(histories)} {'player' if len(histories) == 1 else 'players'}"
    typer.echo(f"{run} is {status}\n")
    if not histories:
        typer.echo("nothing was tracked in it")
        return
    if not findings:
        _print_all([*courses[:_FEW], f"nothing found wrong in {what}"])
        return
    _print_all([*in_words(findings), "", *courses[:_FEW]])
    typer.echo(f"{len(findings)} {'finding' if len(findings) == 1 else 'findings'} in {what}, the first cause first")


def _print_all(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)
