"""What recording costs: process time of a forward pass, and of forward and backward, recorded over plain.

A residual network of ResNet-18's plan and a 6-layer transformer, all values kept. Plain and recorded runs alternate in
one process with one thread; printed are medians and their ratio, lowest and highest of several repeats.

    python benchmarks/tape_overhead.py
"""

import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import gradtape as gt

ROUNDS = 5
REPEATS = 5


class Block(nn.Module):
    """Two convolutions and a way round them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside))
        self.second = nn.Sequential(nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside))
        same = inside == outside and stride == 1
        self.round = nn.Identity() if same else nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return (self.second(self.first(x).relu()) + self.round(x)).relu()


def resnet() -> nn.Module:
    plan = [
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    ]
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(
        *stem, *(Block(*widths) for widths in plan), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)
    )


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)


def plain(model: nn.Module, x: Tensor, backward: bool) -> None:
    out = model(x)
    if backward:
        out.sum().backward()


def recorded(model: nn.Module, x: Tensor, backward: bool) -> None:
    tape = gt.record(model, x)
    if backward:
        tape.backward(tape.output.sum())


def median_ms(run: Callable[..., None], *args: object) -> float:
    start = time.process_time()
    run(*args)
    return 1000 * (time.process_time() - start)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    nets = {
        "ResNet-18, 8 images of 32x32": (resnet(), torch.randn(8, 3, 32, 32)),
        "6-layer transformer, 4 x 128 tokens of 256": (transformer(), torch.randn(4, 128, 256)),
    }
    for name, (model, x) in nets.items():
        for backward in (False, True):
            ratios, times = [], []
            for _ in range(REPEATS):
                taken: dict[Callable[..., None], list[float]] = {plain: [], recorded: []}
                for _ in range(ROUNDS):
                    for run in random.sample([plain, recorded], 2):
                        model.zero_grad()
                        taken[run].append(median_ms(run, model, x, backward))
                medians = {run: statistics.median(values) for run, values in taken.items()}
                ratios.append(medians[recorded] / medians[plain])
                times.append(medians[plain])
            what = "forward and backward" if backward else "forward"
            print(
                f"{name}, {what}: plain {statistics.median(times):.0f} ms, recorded {statistics.median(ratios):.3f} x "
                f"({min(ratios):.3f} to {max(ratios):.3f}, n = {ROUNDS} each, {REPEATS} repeats)"
            )


if __name__ == "__main__":
    main()
