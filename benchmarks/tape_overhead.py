"""What recording costs: process time over a plain run's, beside TorchLens, and memory beyond the values that it keeps.

A residual network of ResNet-18's plan and a 6-layer transformer. Plain and recorded runs follow one another in random
order in one process with one thread; each is compared with the plain run of its round. Printed are the median over
rounds, and lowest and highest of several repeats. Memory is what the process grew by, each time in a new process.

    python benchmarks/tape_overhead.py [--leave-garbage]
"""

import argparse
import copy
import ctypes
import gc
import importlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import gradtape as gt

ROUNDS, REPEATS, PROCESSES = 5, 5, 5
TORCHLENS = ["torchlens==2.36.1", "tqdm", "graphviz", "packaging"]  # with what it imports and gradtape does not


def convolution(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside))


class Block(nn.Module):
    """Two convolutions and a way round them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = convolution(inside, outside, stride), convolution(outside, outside, 1)
        same = inside == outside and stride == 1
        self.round = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return (self.second(self.first(x).relu()) + self.round(x)).relu()


def resnet() -> nn.Module:
    blocks = [Block(64, 64, 1), Block(64, 64, 1)]
    for width in (64, 128, 256):
        blocks += [Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(convolution(3, 64, 1), nn.ReLU(), *blocks, *head)


def transformer() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True), 6, None, False)


NETS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ResNet-18, 8 images of 32x32": lambda: (resnet(), torch.randn(8, 3, 32, 32)),
    "6-layer transformer, 4 x 128 tokens of 256": lambda: (transformer(), torch.randn(4, 128, 256)),
}


class Bare(TorchFunctionMode):
    """Sees every operation and counts it; holds what it returns, where it has a list for it."""

    count, held = 0, None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count, output = self.count + 1, func(*args, **(kwargs or {}))
        if self.held is not None:
            self.held.append(output)
        return output


def plain(model: nn.Module, x: Tensor, backward: bool, within: Callable[[], Any] = nullcontext) -> None:
    with within():
        out = model(x)
    if backward:
        out.sum().backward()


def recorded(model: nn.Module, x: Tensor, backward: bool, **settings: Any) -> None:
    tape = gt.record(model, x, **settings)
    if backward:
        tape.backward(tape.output.sum())


def logged(model: nn.Module, x: Tensor, backward: bool) -> None:
    """Record with TorchLens: all activations, and all gradients where there is a backward pass."""
    torchlens = importlib.import_module("torchlens")
    capture = torchlens.options.CaptureOptions(layers_to_save="all", backward_ready=backward, save_grads=backward)
    trace = torchlens.trace(model, x, capture=capture)
    if backward:
        trace.log_backward(trace.layer_list[-1].out.sum())


RUNS: dict[str, Callable[..., None]] = {
    "plain": plain,
    "bare TorchFunctionMode": partial(plain, within=Bare),
    "recorded": recorded,
    "recorded, nothing kept": partial(recorded, keep=gt.select.nothing),
    "TorchLens": logged,
}


def seconds(name: str, model: nn.Module, x: Tensor, backward: bool, collect: bool) -> float:
    """Return the process time of one run; torch's functions are TorchLens's own only while it is measured."""
    model.zero_grad()
    wrappers = importlib.import_module("torchlens.backends.torch.wrappers")
    (wrappers.wrap_torch if name == "TorchLens" else wrappers.unwrap_torch)()
    if collect:
        gc.collect()
    start = time.process_time()
    RUNS[name](model, x, backward)
    return time.process_time() - start


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def compare_time(net: str, backward: bool, collect: bool) -> None:
    """Print each run's process time over the plain one's."""
    torch.manual_seed(0)
    model, x = NETS[net]()
    models = {name: copy.deepcopy(model) for name in RUNS}  # none finds what another has left
    for name in RUNS:
        seconds(name, models[name], x, backward, collect)  # what is done once is done here
    ratios: dict[str, list[float]] = {name: [] for name in RUNS}
    times = []
    for _ in range(REPEATS):
        rounds = []
        for _ in range(ROUNDS):
            order = random.sample(list(RUNS), len(RUNS))
            rounds.append({name: seconds(name, models[name], x, backward, collect) for name in order})
            times.append(1000 * rounds[-1]["plain"])
        for name in RUNS:
            ratios[name].append(median(each[name] / each["plain"] for each in rounds))
    print(f"\n{net}, forward{' and backward' * backward}: plain {median(times):.0f} ms, n = {ROUNDS} x {REPEATS}")
    for name in list(RUNS)[1:]:
        print(f"  {name:<24}{spread(ratios[name], '.3f')} x")
    ours, theirs = ratios["recorded"], ratios["TorchLens"]
    times_ours, least = (median(theirs) - 1) / (median(ours) - 1), (min(theirs) - 1) / (max(ours) - 1)
    print(f"  overhead of TorchLens is {times_ours:.0f} times ours (at least {least:.0f})")


def resident() -> int:
    """Return the bytes that this process holds, after it has given back what it does not need."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_memory(net: str, what: str) -> None:
    """Print by how many MiB this process grows in one run, and those of the values that it keeps."""
    torch.manual_seed(0)
    model, x = NETS[net]()

    def run() -> tuple[Any, list[Tensor]]:
        if what == "recorded":
            return (tape := gt.record(model, x)), [node.value for node in tape]
        with Bare() as mode:
            mode.held = []
            return model(x), [leaf for leaf in tree_leaves(mode.held) if isinstance(leaf, Tensor)]

    run()  # what is made once, and stays, is made here
    before = resident()
    kept = run()
    grown = resident() - before
    sizes = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in kept[1]}
    print(grown / 2**20, sum(sizes.values()) / 2**20)


def compare_memory(net: str) -> None:
    """Print what the process grows by with a tape, beyond what it grows by where the same values are only held."""
    steady = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # a tensor has pages of its own
    grown: dict[str, list[float]] = {"held": [], "recorded": []}
    for _ in range(PROCESSES):
        for what in random.sample(list(grown), 2):
            command = [sys.executable, __file__, "--memory", net, what]
            said = subprocess.run(command, env=steady, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
            grown[what], size = [*grown[what], float(said[0])], float(said[1])
    more = [100 * (tape - held) / size for held, tape in zip(*grown.values(), strict=True)]
    print(f"\n{net}: {size:.1f} MiB of values, {spread(grown['held'], '.2f')} MiB in memory with their graph")
    print(f"  a tape of them {spread(grown['recorded'], '.2f')} MiB: {spread(more, '.2f')} % beyond, n = {PROCESSES}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--leave-garbage", action="store_true", help="do not collect cyclic garbage before each run")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.memory:
        measure_memory(*asked.memory)
        return
    with tempfile.TemporaryDirectory() as temporary:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", temporary, *TORCHLENS], check=True, capture_output=True)
        sys.path.append(temporary)
        for net in NETS:
            compare_memory(net)
            compare_time(net, False, not asked.leave_garbage)
            compare_time(net, True, not asked.leave_garbage)


if __name__ == "__main__":
    main()
