"""The program: its commands, and how errors end it."""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any

import typer

from gradtape.cli import augment, doctor, report, runs
from gradtape.errors import GradtapeError

# typer carries a click of its own since 0.26 and names only some of its errors; importing click as well costs 100 ms
_UsageError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Synthetic data, adversarial training and gradient tracking on one recorded graph.",
    epilog="Begin with: gradtape augment digits",
)
app.command("augment")(augment.augment)
app.command("report")(report.report)
app.command("runs")(runs.runs)
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        typer.echo(f"gradtape {metadata.version('gradtape')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 2 for a mistake that one sentence explains, 130 for Ctrl-C."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(arguments, prog_name="gradtape", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except GradtapeError as error:
        return _complain(str(error), error)
    except _UsageError as error:
        error.show()
        return 2
    except (typer.Abort, KeyboardInterrupt) as error:
        typer.echo("stopped", err=True)
        _next_step(error if isinstance(error, KeyboardInterrupt) else error.__cause__ or error)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        return _complain(f"{error.filename or 'a file'} cannot be written ({error.strerror})", error)


def _complain(sentence: str, error: BaseException) -> int:
    typer.echo(f"error: {sentence}", err=True)
    _next_step(error)
    return 2


def _next_step(error: BaseException) -> None:
    """Say where the work so far is, when a run was under way."""
    run = getattr(error, "run_path", None)
    if run is not None:
        typer.echo(f"what was done is kept; go on with the same command and: --run {run} --resume", err=True)
