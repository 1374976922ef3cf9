"""What a reversal costs: process time of forward and backward with it, over the same net with `nn.Identity` there.

Each layer sits in four nets of a domain classifier's kind. In every round all layers run once in random order; a repeat
is the ratio of the medians of its rounds. Printed are the median, the lowest and the highest of the repeats. The second
Identity shows what the measurement itself is worth.

    python benchmarks/reversal_cost.py
    python benchmarks/reversal_cost.py --packages FOLDER   other libraries' layers too, from where reversal_matrix.py or
                                                           pip install --target has put them
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from reversal_matrix import LAYERS
from tests.transforms.reversal_layers import STRENGTHS
from torch import Tensor, nn

STEPS = 8  # forward and backward passes in one timing
ROUNDS = 40
REPEATS = 7


class PlainFunction(torch.autograd.Function):
    """The reversal of most tutorials."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:  # noqa: D102
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return -ctx.strength * grad, None


class Plain(nn.Module):
    """A layer that applies it."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return PlainFunction.apply(x, 0.3)


def mlp(layer: nn.Module) -> nn.Module:
    encoder = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
    return nn.Sequential(*encoder, layer, nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2))


def tiny_mlp(layer: nn.Module) -> nn.Module:
    encoder = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(*encoder, layer, nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2))


def cnn(layer: nn.Module) -> nn.Module:
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, layer, nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 2))


NETS: dict[str, tuple[Callable[[nn.Module], nn.Module], tuple[int, ...]]] = {
    "MLP 784-256-128-[R]-64-2, batch 128": (mlp, (128, 784)),
    "MLP 784-256-128-[R]-64-2, batch 256": (mlp, (256, 784)),
    "CNN 28x28, 16-32-[R]-64-2, batch 64": (cnn, (64, 1, 28, 28)),
    "MLP 64-128-128-[R]-64-2, batch 128": (tiny_mlp, (128, 64)),
}


def timed(net: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Return the process time of one forward and backward pass, in microseconds."""
    begun = time.process_time()
    for _ in range(STEPS):
        net.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
    return 1e6 * (time.process_time() - begun) / STEPS


def compare(
    nets: dict[str, nn.Module], x: Tensor, labels: Tensor, order: random.Random
) -> dict[str, list[tuple[float, float]]]:
    """Return for each layer, and each repeat, the median time and its ratio to the first layer's."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in nets}
    for net in nets.values():
        timed(net, x, labels)
    for _ in range(REPEATS):
        times: dict[str, list[float]] = {name: [] for name in nets}
        for _ in range(ROUNDS):
            for name in order.sample(list(nets), len(nets)):
                times[name].append(timed(nets[name], x, labels))
        base = statistics.median(next(iter(times.values())))
        for name, values in times.items():
            found[name].append((statistics.median(values), statistics.median(values) / base))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", help="a folder that holds the other libraries")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    layers: dict[str, Callable[[], nn.Module]] = {"Identity": nn.Identity, "Identity again": nn.Identity}
    if asked.packages:
        sys.path.append(asked.packages)
    for name, layer in LAYERS.items():
        if layer.package is None or asked.packages:
            layers[name] = lambda make=layer.make: make(STRENGTHS["0.3"])
    layers["plain Function"] = Plain
    print(f"torch {torch.__version__}, 1 thread; n = {ROUNDS * STEPS} passes per layer and repeat, {REPEATS} repeats")
    for title, (build, size) in NETS.items():
        torch.manual_seed(0)
        x, labels = torch.rand(size), torch.randint(2, size[:1])
        nets = {name: build(make()) for name, make in layers.items()}
        for net in nets.values():
            net.load_state_dict(nets["Identity"].state_dict(), strict=False)  # pytorch-adapt's layer has a buffer
        print(f"\n{title}")
        for name, repeats in compare(nets, x, labels, random.Random(0)).items():
            middle = statistics.median(time for time, _ in repeats)
            ratios = [ratio for _, ratio in repeats]
            between = f"{min(ratios):.3f} to {max(ratios):.3f}"
            print(f"  {name:<18}{middle:8.0f} us   {statistics.median(ratios):.3f} x Identity   {between}", flush=True)


if __name__ == "__main__":
    main()
