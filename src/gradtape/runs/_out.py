"""Where a command may write what it makes."""

from __future__ import annotations

import os
from pathlib import Path

from gradtape.errors import InputError


def check_out(target: Path, run: Path, *, resume: bool) -> None:
    """Refuse a place that cannot be written, before an hour of training rather than after.

    Args:
        target: The file or folder to make.
        run: The run folder, in which it must not lie.
        resume: Whether a run goes on that may have written it before it was stopped.

    Raises:
        InputError: It lies in the run folder, exists already, or cannot be made there.
    """
    if run.absolute() in (target.absolute(), *target.absolute().parents):
        raise InputError(f"{target} lies in the run folder {run}", remedy="name a place outside it, or leave -o out")
    if os.path.lexists(target) and not resume:
        raise InputError(f"{target} exists already", remedy="remove it or choose another name with -o")
    parent = next(parent for parent in target.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{target} cannot be made in {parent}", remedy="choose a folder that you may write to")
