"""The program: its commands, and how errors end it."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gradtape.cli import adapt, augment, diagnose, doctor, export, report, runs, synthesize, track
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


class _Stopped(Exception):  # noqa: N818  # no error, and no KeyboardInterrupt, at which typer would exit without a word
    """Ctrl-C; the cause says what was under way."""


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(**options: Any) -> None:
        try:
            command(**options)
        except KeyboardInterrupt as error:
            raise _Stopped from error

    return run


_commands: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("augment", augment.augment, "Make synthetic data, train with and without, say whether it helped."),
    ("synthesize", synthesize.synthesize, "Learn from images or points, write new ones of the same kind."),
    ("adapt", adapt.adapt, "Learn from labelled data for other data without labels."),
    ("track", track.track, "Run a training script unchanged, say what its gradients tell."),
    ("diagnose", diagnose.diagnose, "Judge a stored run again."),
    ("report", report.report, "Make a finished run's report again."),
    ("runs", runs.runs, "List runs and how they stand."),
    ("export", export.export, "Write a run's series for other programs."),
    ("doctor", doctor.doctor, "Look at this machine and try gradtape on it."),
)
for _name, _command, _summary in _commands:
    _settings = {"allow_interspersed_args": _name != "track"}  # what follows SCRIPT belongs to it
    app.command(_name, short_help=_summary, context_settings=_settings)(_stoppable(_command))


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
        return _complain(f"{error.format_message().rstrip('.')}: see gradtape --help", error)
    except (_Stopped, typer.Abort, KeyboardInterrupt) as error:
        typer.echo("stopped", err=True)
        _next_step(error.__cause__ or error)
        return 130
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename} cannot be used" if error.filename else "a file or folder cannot be used"
        return _complain(f"{where} ({error.strerror}): see to it, or give another path", error)


def _complain(sentence: str, error: BaseException) -> int:
    typer.echo(f"error: {sentence}", err=True)
    _next_step(error)
    return 2


def _next_step(error: BaseException) -> None:
    """Say where the work so far is, when a run was under way."""
    run = getattr(error, "run_path", None)
    if run is not None:
        again = f"--run {shlex.quote(str(run))} --resume"
        typer.echo(f"what was done is kept; go on with the same command and: {again}", err=True)
