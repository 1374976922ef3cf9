"""Processes told apart: their number and, since numbers are used again, when they began."""

from __future__ import annotations

import os
from pathlib import Path


def started(process: int) -> int | None:
    """Return when a process began, in clock ticks since the machine started; None where the system does not say."""
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes()
        return int(stat[stat.rindex(b")") + 1 :].split()[19])  # the name in brackets may hold spaces and brackets
    except (OSError, ValueError, IndexError):
        return None


def alive(process: int, began: int | None = None) -> bool:
    """Whether a process is there; if ``began`` is known, whether it is the one that began then."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except OverflowError:  # no number of a process
        return False
    now = started(process)
    return began is None or now is None or now == began
