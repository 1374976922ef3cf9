"""``gradtape augment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="digits, mnist (needs --data-dir), a folder root/class/*.png, an .npz of images and labels, or idx files.",
    ),
]


def augment(
    data: Data,
    per_class: Annotated[int | None, typer.Option(help="Real images of each class to train on.  [default: 10]")] = None,
    added: Annotated[int | None, typer.Option(help="New images per real one.  [default: 4]")] = None,
    repeats: Annotated[int | None, typer.Option(help="Paired repeats, at least 5.  [default: 5]")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of every classifier.  [default: 400]")] = None,
    generator_steps: Annotated[
        int | None, typer.Option(help="Training steps of the adversarial generator.  [default: 800]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder to make.  [default: the next runs/augment-DATA-001]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --run.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="GRADTAPE_DATA", help="Folder of data sets known by name.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, ...")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Train for less time, for a first look.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make synthetic data from labelled images, train with and without, and say whether it helped.

    Writes a run folder with the synthetic images, their lineage, the trained model, every figure and report.html.
    """
    from gradtape.augmentation import augment as job
    from gradtape.augmentation import points
    from gradtape.cli._show import print_json, print_table

    result = job(
        data,
        run=run,
        resume=resume,
        data_dir=data_dir,
        device=device,
        quick=quick,
        progress=True,
        per_class=per_class,
        added=added,
        repeats=repeats,
        steps=steps,
        generator_steps=generator_steps,
        seed=seed,
    )
    if json:
        print_json(result.details)
        return
    print_table(
        ["arm", "kind", "validation %", "test %", "gain, points", "95% interval"],
        [
            [
                row["arm"],
                row["kind"],
                f"{100 * row['validation']:.1f}",
                f"{100 * row['test']:.1f}",
                "" if row["gain"] is None else points(row["gain"]),
                "" if row["gain"] is None else f"{points(row['low'])} to {points(row['high'])}",
            ]
            for row in result.table
        ],
    )
    verdict = result.details["verdict"]
    typer.echo(f"\n{verdict['sentence']}\n{verdict['advice']}\n")
    typer.echo(f"report          {result.report}")
    typer.echo(f"synthetic data  {result.run / 'synthetic'} ({len(result.synthetic.labels):,} images)")
    typer.echo(f"model           {result.run / 'model.safetensors'}")
    typer.echo(f"\nopen the report in a browser; make it again with: gradtape report {result.run}")
