"""``gradtape adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def adapt(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Data with labels: digits, mnist or usps (need --data-dir), a folder of images per class, an .npz, "
            "idx files, or a table (.csv, .parquet).",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Data of the same kind; labels it may have only measure.",
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="MORE", help="Further sources, after --sources.", show_default=False),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(metavar="A B C", help="Further sources; the names that follow, after SOURCE and TARGET."),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the labels in tables.")] = None,
    target_label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="That column in TARGET, where it has another name.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="dann, cdan, mcc, dann+mcc, ...; several with commas, and --select.")
    ] = "dann",
    select: Annotated[
        str | None,
        typer.Option(
            metavar="VALIDATOR",
            help="What chooses method, strength and step without labels of the target: snd, ensemble, ...; several "
            "with commas.  [default: the method as asked]",
        ),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(
            metavar="X",
            help="λ at the end of its ramp; several with commas, and --select.  [default: 0.5; with --select also "
            "0.1 and 1]",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of each candidate.  [default: chosen]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run folder to make.  [default: the next runs/adapt-SOURCE-TARGET-001]"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --run.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="The .csv to write.  [default: predictions.csv in the run folder]"
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="GRADTAPE_DATA", help="Folder of data sets known by name.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, ...")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Train a sixth as long, for a first look.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Learn from SOURCE, predict TARGET, which looks different and needs no labels.

    Trains without and with adaptation, says whether it helps, and writes predictions, the trained model and
    report.html.
    """
    from gradtape.adaptation.job import adapt as job
    from gradtape.cli._show import print_json, print_table
    from gradtape.errors import InputError

    if more and not sources:
        raise InputError(f"{more[0]} is one name too many", remedy="write further sources after --sources")
    result = job(
        source,
        target,
        sources=[*(sources or ()), *(more or ())],
        label=label,
        target_label=target_label,
        method=_several(method),
        select=None if select is None else _several(select),
        strength=None if strength is None else [_number(each) for each in strength.split(",")],
        steps=steps,
        run=run,
        resume=resume,
        seed=seed,
        quick=quick,
        device=device,
        data_dir=data_dir,
        out=out,
        progress=True,
    )
    details = result.details
    if json:
        print_json(details)
        return
    rows = [[row["name"], _title(row), f"{row['step']:,}", _accuracy(row, details["task"])] for row in details["table"]]
    print_table(["", "method", "step", "on the target"], rows)
    typer.echo(f"\n{result.sentence}")
    if details["label_shift"] is not None:
        typer.echo(details["label_shift"]["sentence"])
    for finding in details["findings"]:
        typer.echo(
            f"{finding['rule']} since step {finding['since_step']:,} in {finding['player']}: {finding['remedy']}"
        )
    typer.echo(f"\npredictions  {result.predictions} ({details['data']['target_rows']:,} rows)")
    typer.echo(f"model        {result.run / 'adapter.safetensors'}")
    typer.echo(f"report       {result.report}")
    typer.echo(f"\nopen the report in a browser; make it again with: gradtape report {result.run}")


def _several(text: str) -> Any:
    """One name, or a list of those between commas."""
    names = [name.strip() for name in text.split(",")]
    return names if len(names) > 1 else names[0]


def _number(text: str) -> float:
    from gradtape.errors import InputError

    try:
        return float(text)
    except ValueError:
        raise InputError(f"--strength is {text!r}", remedy="give a number, or several with commas") from None


def _title(row: dict[str, Any]) -> str:
    return row["method"] if row["strength"] is None else f"{row['method']}, λ {row['strength']:g}"


def _accuracy(row: dict[str, Any], task: str) -> str:
    found = row["accuracy"]
    if found is None:
        return "no labels"
    if task == "regression":
        return f"{found['mean']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
    return f"{found['mean']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"
