"""``gradtape track``."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gradtape.scripts import Session


def track(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="The script, or with -m the module.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="All that follows belongs to the script.")
    ] = None,
    module: Annotated[bool, typer.Option("-m", help="SCRIPT names a module, as for python -m.")] = False,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder to make.  [default: the next runs/track-NAME-001]")
    ] = None,
    budget: Annotated[
        float, typer.Option(help="Share of the step time that reading may take; 0 reads at fixed steps.")
    ] = 0.01,
    json: Annotated[
        bool, typer.Option("--json", help="Print the verdict as one line of JSON, the last on standard error.")
    ] = False,
) -> None:
    """Run a training script unchanged and say what its gradients tell.

    Options of gradtape come before SCRIPT. The script's output and exit code are its own; what gradtape says goes to
    standard error. Several processes: torchrun --nproc-per-node 2 -m gradtape track SCRIPT.
    """
    from gradtape.errors import InputError
    from gradtape.scripts import Program, Session

    if not 0 <= budget <= 1:
        raise InputError(f"--budget is {budget:g}", remedy="give a share of the step time from 0 to 1")
    program = Program.of_module(script) if module else Program.of_file(script)
    session = Session(program, arguments or [], run, budget or None)
    atexit.register(_end, session, json)  # behind everything that the script leaves for the exit
    raise typer.Exit(session.run().code)


def _end(session: Session, as_json: bool) -> None:
    session.close(as_json=as_json)
    if session.interrupted and os.name == "posix":  # die of Ctrl-C, as python does, or a shell's loop would go on
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
