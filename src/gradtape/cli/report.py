"""``gradtape report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print the stored result as JSON instead.")] = False,
) -> None:
    """Make the report of a finished run again, and say where it is."""
    from gradtape import augmentation, synthesis
    from gradtape.adaptation import page as adaptation
    from gradtape.atomic import write_atomically
    from gradtape.cli._show import print_json
    from gradtape.errors import RunError
    from gradtape.runs import Run

    opened = Run.open(run)
    try:
        pages = {"augment": augmentation.render, "synthesize": synthesis.render, "adapt": adaptation.render}
        render = pages.get(opened.info["command"])
        if render is None:
            remedy = f"reports exist for {', '.join(pages)}; see what its gradients tell with: gradtape diagnose {run}"
            raise RunError(f"{run} is a run of {opened.info['command']!r}", remedy=remedy)
        if opened.status != "finished":
            raise RunError(
                f"{run} is {opened.status}, not finished",
                remedy=f"finish it with the command that began it and: --run {run} --resume",
            )
        result = opened.read_json("result.json")
        if json:
            print_json(result)
            return
        write_atomically(run / "report.html", render(opened), then="try again")
    finally:
        opened.close()
    typer.echo(f"{result['verdict']['sentence']}\n\nreport  {run / 'report.html'}\n\nopen it in a browser")
