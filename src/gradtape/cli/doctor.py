"""``gradtape doctor``."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer


class Check(NamedTuple):
    """What was looked at, whether it is well, what was seen, and what to do."""

    name: str
    well: bool
    seen: str
    remedy: str = ""


def doctor(
    device: Annotated[str, typer.Option(help="The device to try: auto, cpu, cuda, mps, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Look at this machine and try the core of gradtape on it; exit with 2 where something is wrong."""
    from gradtape.cli._show import print_json, print_table

    checks = [
        _python(),
        _packages(),
        _device(device),
        _disk(),
        _data(),
        _trial("reversal", _reversal),
        _trial("tape", _tape),
    ]
    if json:
        print_json([check._asdict() for check in checks])
    else:
        print_table(
            ["check", "", "seen", "what to do"],
            [[check.name, "ok" if check.well else "BAD", check.seen, check.remedy] for check in checks],
        )
        if all(check.well for check in checks):
            typer.echo("all is well; begin with: gradtape augment digits")
    if not all(check.well for check in checks):
        raise typer.Exit(2)


def _python() -> Check:
    return Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Check:
    from importlib import metadata

    names = ("gradtape", "torch", "numpy", "scikit-learn", "pillow")
    return Check("packages", True, ", ".join(f"{name} {metadata.version(name)}" for name in names))


def _device(name: str) -> Check:
    import torch

    from gradtape.errors import InputError
    from gradtape.training import resolve_device

    try:
        device = resolve_device(name)
    except InputError as error:
        return Check("device", False, error.what, error.remedy)
    return Check("device", True, f"{device}, {torch.get_num_threads()} threads on {os.cpu_count()} cores")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if not os.access(Path.cwd(), os.W_OK):
        return Check("this folder", False, "no permission to write here", "go to a folder that you may write to")
    return Check("this folder", free > 0.1, f"writable, {free:,.1f} GB free", "" if free > 0.1 else "free some space")


def _data() -> Check:
    folder = os.environ.get("GRADTAPE_DATA")
    if folder is None:
        return Check("data sets", True, "digits; GRADTAPE_DATA is not set, so no others are known by name")
    if not Path(folder).is_dir():
        return Check("data sets", False, f"GRADTAPE_DATA names {folder}, which is no folder", "set it to one")
    return Check(
        "data sets", True, f"digits, and in {folder}: {', '.join(sorted(p.name for p in Path(folder).iterdir()))}"
    )


def _trial(name: str, trial: Callable[[], str]) -> Check:
    try:
        return Check(name, True, trial())
    except (AssertionError, RuntimeError, ValueError) as error:
        return Check(name, False, str(error) or type(error).__name__, "report this with the output of --json")


def _reversal() -> str:
    import torch

    import gradtape as gt

    x = torch.ones(3, requires_grad=True)
    gt.reverse(x, 0.5).sum().backward()
    if x.grad is None or x.grad.tolist() != [-0.5, -0.5, -0.5]:
        raise RuntimeError(f"the gradient of 1 at strength 0.5 came back as {x.grad}")
    return "the gradient comes back reversed"


def _tape() -> str:
    import torch

    import gradtape as gt
    from gradtape.nets import ImageClassifier

    tape = gt.record(ImageClassifier((1, 8, 8), 10), torch.rand(4, 1, 8, 8))
    again = tape.replay({"input": lambda value: value})
    if not torch.equal(tape.output, again.output):
        raise RuntimeError("a replay without a change gave another output")
    return f"{len(tape)} nodes recorded and replayed exactly"
