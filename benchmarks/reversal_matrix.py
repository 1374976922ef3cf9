"""In which ways of differentiating a gradient reversal is right: gradtape's beside layers in use today.

    python benchmarks/reversal_matrix.py           run all layers and write docs/reversal-matrix.md
    python benchmarks/reversal_matrix.py --check   run gradtape's only, write nothing, and fail unless all pass

The cells are those of tests/transforms/reversal_cells.py. The other layers are installed from PyPI into a temporary
folder, without what they depend on, and each layer is run in a process of its own.
"""

import argparse
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.transforms.reversal_cells import CELLS  # noqa: E402
from tests.transforms.reversal_layers import STRENGTHS, Calls, Recompiled, Strength, Wrong, ours  # noqa: E402

PAGE = ROOT / "docs" / "reversal-matrix.md"
HELPERS = ["pytorch-metric-learning==2.9.0", "tqdm"]  # imported by the file of pytorch-adapt's layer
SECONDS = 120  # without a word from any cell; what does not answer is an error


def from_file(module: str) -> ModuleType:
    """Import one module of a package without running the ``__init__`` of the folders above it."""
    if module in sys.modules:
        return sys.modules[module]
    parent, _, _ = module.rpartition(".")
    top, *inner = parent.split(".")
    folder = Path(importlib.util.find_spec(top).submodule_search_locations[0])
    for depth in range(len(inner) + 1):
        name = ".".join([top, *inner[:depth]])
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(folder.joinpath(*inner[:depth]))]
    return importlib.import_module(module)


class DocumentedFunction(torch.autograd.Function):
    """A reversal as torch's notes on extending autograd and torch.func teach it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, strength: float) -> Tensor:  # noqa: D102
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: D102
        _, ctx.strength = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return -ctx.strength * grad, None


class WithForwardMode(DocumentedFunction):
    """The same with the rule that forward-mode differentiation needs."""

    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:  # noqa: D102
        return -ctx.strength * tangent


class Applies(nn.Module):
    """A layer that applies another library's ``autograd.Function``, the way its own models do."""

    def __init__(self, function: type[torch.autograd.Function], strength: float) -> None:
        super().__init__()
        self.function, self.strength = function, strength

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.function.apply(x, self.strength)


class Holds(nn.Module):
    """A layer of another library, and how its strength is set."""

    def __init__(self, layer: nn.Module, set_strength: Callable[[nn.Module, float], None]) -> None:
        super().__init__()
        self.layer, self.set_strength = layer, set_strength

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.layer(x)

    def _set(self, strength: float) -> None:
        self.set_strength(self.layer, strength)

    strength = property(fset=_set)


def set_alpha(layer: nn.Module, strength: float) -> None:
    layer._alpha = torch.tensor(strength)


def set_weight(layer: nn.Module, strength: float) -> None:
    layer.update_weight(strength)


def revgrad(strength: Strength) -> nn.Module:
    return Holds(from_file("pytorch_revgrad.module").RevGrad(strength.value), set_alpha)


def adapt(strength: Strength) -> nn.Module:
    return Holds(from_file("pytorch_adapt.layers.gradient_reversal").GradientReversal(strength.value), set_weight)


def tllib(strength: Strength) -> nn.Module:
    return Calls(from_file("dalib.modules.grl").GradientReverseLayer(), strength.value)


def skada(strength: Strength) -> nn.Module:
    return Applies(from_file("skada.deep.modules").GradientReversalLayer, strength.value)


def documented(strength: Strength) -> nn.Module:
    return Applies(DocumentedFunction, strength.value)


def with_forward_mode(strength: Strength) -> nn.Module:
    return Applies(WithForwardMode, strength.value)


class Layer(NamedTuple):
    """A column of the table: what makes the layer, what is installed for it, and what it is."""

    make: Callable[[Strength], nn.Module]
    package: str | None
    about: str


LAYERS = {
    "gradtape": Layer(ours, None, "`gradtape.Reverse`"),
    "pytorch-revgrad": Layer(
        revgrad,
        "pytorch-revgrad==0.2.0",
        "`RevGrad`; the strength is changed through `_alpha`, for lack of a public way",
    ),
    "pytorch-adapt": Layer(
        adapt, "pytorch-adapt==0.0.83", "`layers.GradientReversal`; the strength is changed with `update_weight`"
    ),
    "tllib": Layer(tllib, "dalib==0.2", "`modules.grl.GradientReverseLayer`; dalib is the name of tllib on PyPI"),
    "skada": Layer(skada, "skada==0.6.0", "`deep.modules.GradientReversalLayer`"),
    "Function": Layer(
        documented,
        None,
        "a `torch.autograd.Function` with `setup_context` and `generate_vmap_rule`, as torch's documentation "
        "teaches it",
    ),
    "Function, jvp": Layer(with_forward_mode, None, "the same with a rule for forward mode"),
}
OUTCOMES = ("yes", "recompiles", "error", "**wrong**")  # from good to bad; a cell shows the worst of its strengths
PAGE_TEXT = """---
hide:
  - toc
---

# Reversal layers compared

A reversal passes a value on and multiplies the gradient on its way back by `-strength`. Torch has many ways to come by
a gradient, and a layer that is right in one can be silently wrong in another. Each row below is one way; its test works
the gradient out by hand and compares. `gt.Reverse` must pass all {count} rows with the strengths 1.0, 0.3, 0.0, -0.5, a
0-d tensor and a [schedule](transforms.md); the other layers were asked with the numbers 1.0 and 0.3.

This page was written by the run itself, with torch {torch}, NumPy {numpy} and Python {python} on a CPU. To repeat it
in a checkout of gradtape:

```shell
python benchmarks/reversal_matrix.py
```

The layers:

{layers}

| way to a gradient | {header} |
|{rule}|
{rows}

What the marks mean:

* yes: every value and gradient is right.
* recompiles: all are right, and code was compiled again for other strengths.
* error: an exception says that it does not work.
* **wrong**: nothing is said, and a value or a gradient is not the right one.

What happened, where it is not "yes":

{notes}

The formulas behind each row are in `tests/transforms/reversal_cells.py`, and the run prints what was raised.
"""
ANY_FUNCTION = ("pytorch-revgrad", "pytorch-adapt", "tllib", "skada", "Function", "Function, jvp")
NOTES = [  # columns, cell, outcome, and what it was; a note is printed where the run had that outcome in those columns
    (
        ANY_FUNCTION[:4],
        "func_grad",
        "error",
        "`torch.func` refuses a `Function` without `setup_context`, and says how to write it.",
    ),
    (
        ANY_FUNCTION,
        "compile_func_grad",
        "**wrong**",
        "`torch.compile` of `torch.func.grad` does not refuse it: with every layer that is an `autograd.Function`, of "
        "either kind, the gradient is not reversed.",
    ),
    (
        ANY_FUNCTION,
        "export",
        "**wrong**",
        "`torch.export` writes an `autograd.Function` down as what its forward does, so that a program that is trained "
        "further has no reversal.",
    ),
    (
        ("tllib", "skada", "Function"),
        "export_strict",
        "**wrong**",
        "With `strict=True`, no gradient at all reached what lies before tllib's layer, skada's and the Function.",
    ),
    (
        ("pytorch-adapt",),
        "changed_before_backward",
        "**wrong**",
        "pytorch-adapt reads its weight in the backward pass: `update_weight` between forward and backward changes the "
        "gradient of the forward before it.",
    ),
    (
        ("pytorch-revgrad", "pytorch-adapt", "skada"),
        "in_place_after",
        "error",
        "pytorch-revgrad, pytorch-adapt and skada return a view of their input, which torch does not change in place.",
    ),
    (("tllib",), "integers", "**wrong**", "tllib multiplies by 1.0 in forward, so that integers become floats."),
    (
        ("tllib", "skada", "Function"),
        "one_graph",
        "recompiles",
        "A strength that is a number of Python's is compiled in at first, and is an input of the second graph.",
    ),
    (
        ("Function, jvp",),
        "compile_aot_eager",
        "error",
        "`torch.compile` refuses a `Function` with a rule for forward mode, and `torch.func.jvp` one without.",
    ),
]


def install(folder: str) -> None:
    """Install the other layers' packages into a folder."""
    wanted = [*(layer.package for layer in LAYERS.values() if layer.package), *HELPERS]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", folder, *wanted], check=True, capture_output=True)


def outcome_of(name: str, layer: Layer, strengths: list[str]) -> tuple[str, str]:
    """Return the worst outcome of a cell over the strengths, and what was said."""
    worst = ("yes", "")
    for strength in strengths:
        try:
            CELLS[name].check(layer.make, STRENGTHS[strength])
            found = ("yes", "")
        except Exception as error:
            outcome = {Wrong: "**wrong**", Recompiled: "recompiles"}.get(type(error), "error")
            found = (outcome, f"{type(error).__name__} at {strength}: {error}")
        worst = max(worst, found, key=lambda pair: OUTCOMES.index(pair[0]))
    return worst


def answer(column: str, cells: list[str]) -> None:
    """Run cells on one layer in this process and print a line of JSON for each."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    strengths = list(STRENGTHS) if column == "gradtape" else ["1.0", "0.3"]
    for name in cells:
        print(json.dumps([name, *outcome_of(name, LAYERS[column], strengths)]), flush=True)


def ask(column: str, folder: str) -> dict[str, tuple[str, str]]:
    """Run all cells on one layer in other processes: a new one whenever one died or did not answer."""
    found: dict[str, tuple[str, str]] = {}
    while left := [name for name in CELLS if name not in found]:
        command = [sys.executable, __file__, "--packages", folder, "--column", column, "--cells", *left]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL, start_new_session=True)
            ended, seen = "", -1
            while not ended:
                try:
                    ended = f"the process ended with {process.wait(SECONDS)}"
                except subprocess.TimeoutExpired:
                    size = os.fstat(said.fileno()).st_size
                    if size == seen:
                        ended = f"no answer in {SECONDS} s"
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
                    seen = size
            said.seek(0)
            for line in said:
                if line.startswith('["'):
                    name, outcome, message = json.loads(line)
                    found[name] = (outcome, message)
        for name in [name for name in left if name not in found][:1]:
            found[name] = ("error", ended)
    return found


def page(found: dict[str, dict[str, tuple[str, str]]]) -> str:
    """Return the page: what was run, the table, the legend."""
    layers = []
    for column, layer in LAYERS.items():
        package = "gradtape" if column == "gradtape" else layer.package and layer.package.partition("==")[0]
        layers.append(f"* {column}: {f'{package} {version(package)}, ' if package else ''}{layer.about}")
    notes = [
        f"* {text}"
        for columns, name, outcome, text in NOTES
        if all(found[column][name][0] == outcome for column in columns)
    ]
    try:
        from_file("dalib.modules.grl").WarmStartGradientReverseLayer()(torch.ones(1))
    except AttributeError as error:
        what = str(error).partition("\n")[0].rstrip(".")
        notes.append(f"* tllib's layer with a schedule, `WarmStartGradientReverseLayer`, is not in the table: {what}.")
    return PAGE_TEXT.format(
        torch=torch.__version__.partition("+")[0],
        numpy=np.__version__,
        python=".".join(map(str, sys.version_info[:2])),
        layers="\n".join(layers),
        header=" | ".join(LAYERS),
        rule="|".join("---" for _ in range(len(LAYERS) + 1)),
        rows="\n".join(
            f"| {cell.label} | {' | '.join(found[column][name][0] for column in LAYERS)} |"
            for name, cell in CELLS.items()
        ),
        notes="\n".join(notes),
        count=len(CELLS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="run gradtape's layer only, and write nothing")
    parser.add_argument("--packages", help="a folder that holds the other layers' packages already")
    parser.add_argument("--column", choices=LAYERS, help=argparse.SUPPRESS)
    parser.add_argument("--cells", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.packages or temporary
        sys.path.append(folder)
        if asked.column:
            answer(asked.column, asked.cells)
            return
        if not (asked.check or asked.packages):
            install(folder)
        found = {}
        for column in ["gradtape"] if asked.check else LAYERS:
            found[column] = ask(column, folder)
            for name, (outcome, message) in found[column].items():
                line = message.strip().partition("\n")[0]
                print(f"{column:<16}{CELLS[name].label:<48}{outcome.strip('*'):<11}{line[:160]}", flush=True)
        if not asked.check:
            PAGE.write_text(page(found), encoding="utf-8")
    if any(outcome != "yes" for outcome, _ in found["gradtape"].values()):
        raise SystemExit("gradtape does not pass every cell")


if __name__ == "__main__":
    main()
