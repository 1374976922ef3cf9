"""``gradtape synthesize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_BETTER = {"higher": "higher is better", "lower": "lower is better"}


def synthesize(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, mnist (needs --data-dir), a folder of images with or without a folder per class, an .npz of "
            "images or points, idx files, or a .csv of numbers.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", help="Number of new samples.")] = 500,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="What to make: a folder of PNG files or an .npz; a .csv or .npz for points.  [default: samples in the "
            "run folder]",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.  [default: by kind and size of the data]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run folder to make.  [default: the next runs/synthesize-DATA-001]"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --run.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="GRADTAPE_DATA", help="Folder of data sets known by name.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, ...")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Train a sixth as long, for a first look.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Learn what images or points look like and write new ones of the same kind.

    Writes them to OUT, and a run folder with sheets of samples on the way, a walk through the latents, every figure,
    the trained synthesizer and report.html.
    """
    from gradtape.cli._show import print_json, print_table
    from gradtape.synthesis import FIGURES
    from gradtape.synthesis import synthesize as job

    result = job(
        data,
        n,
        out=out,
        run=run,
        resume=resume,
        seed=seed,
        steps=steps,
        quick=quick,
        device=device,
        data_dir=data_dir,
        progress=True,
    )
    details = result.details
    if json:
        print_json(details)
        return
    rows = [["distance from held-out data", _figure(details["quality"]["value"]), _figure(details["quality"]["floor"])]]
    rows[0].append(_BETTER["lower"])
    for name in FIGURES if details["fidelity"] else ():
        figure = details["fidelity"][name]
        cells = [_figure(figure["synthetic"]), _figure(figure["floor"]), _BETTER[figure["better"]]]
        rows.append([figure["name"], *cells])
    print_table(["figure", "samples", "real data", ""], rows)
    typer.echo(f"\n{result.sentence}\n{details['nearness_sentence']}")
    for finding in details["findings"]:
        typer.echo(
            f"{finding['rule']} since step {finding['since_step']:,} in {finding['player']}: {finding['remedy']}"
        )
    typer.echo(f"\nsamples  {result.out} ({result.n:,} {details['data']['kind']})")
    typer.echo(f"sheets   {result.run / 'sheets'}")
    typer.echo(f"report   {result.report}")
    typer.echo(f"\nopen the report in a browser; make it again with: gradtape report {result.run}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
