"""What adaptation costs: the process time of a DANN step, over the same step written by hand and over no adaptation.

Three loops take one step each, in random order, in every round; all have the same networks, batches and AdamW:

* source only: features of source and target, head and loss on the source;
* by hand: the same, a critic of the same widths on the features, and its loss; no reversal, no gradtape. This is what
  the critic's arithmetic explains;
* gradtape: ``gradtape.adaptation.DANN`` with its defaults: λ on a ramp, and slopes that do not saturate, which are more
  work than those by hand; "minimax" is the same game as by hand.

A second loop by hand shows what the measurement itself is worth. Printed are the median, and the quartiles over blocks
of rounds, of the ratio of two loops' medians in a block.

    python benchmarks/adaptation_cost.py [--blocks 30] [--rounds 40] [--batch 64]
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from gradtape.adaptation import DANN, Critic
from gradtape.nets import ImageFeatures, TableFeatures

CLASSES = 10
NETS: dict[str, tuple[Callable[[], nn.Module], int, tuple[int, ...]]] = {
    "TableFeatures 13-64-64": (lambda: TableFeatures(13), 64, (13,)),
    "MLP 784-256-128": (
        lambda: nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()),
        128,
        (784,),
    ),
    "ImageFeatures 1x16x16": (lambda: ImageFeatures((1, 16, 16)), 128, (1, 16, 16)),
}
RATIOS = (
    ("gradtape", "by hand"),
    ("gradtape, minimax", "by hand"),
    ("by hand again", "by hand"),
    ("gradtape", "source only"),
)
Step = Callable[[Tensor, Tensor, Tensor], None]


def stepping(loss_of: Callable[[Tensor, Tensor, Tensor], Tensor], *nets: nn.Module) -> Step:
    optimizer = torch.optim.AdamW([weight for net in nets for weight in net.parameters()], lr=3e-3)

    def step(xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        loss = loss_of(xs, ys, xt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def source_only(features: nn.Module, head: nn.Module, critic: nn.Module) -> Step:
    def loss(xs: Tensor, ys: Tensor, xt: Tensor) -> Tensor:
        z = features(torch.cat([xs, xt]))
        return cross_entropy(head(z[: len(xs)]), ys)

    return stepping(loss, features, head)


def by_hand(features: nn.Module, head: nn.Module, critic: nn.Module) -> Step:
    def loss(xs: Tensor, ys: Tensor, xt: Tensor) -> Tensor:
        z = features(torch.cat([xs, xt]))
        logits = critic(z).reshape(-1)
        told = softplus(-logits[: len(xs)]).mean() + softplus(logits[len(xs) :]).mean()
        return cross_entropy(head(z[: len(xs)]), ys) + told / 2

    return stepping(loss, features, head, critic)


def ours(features: nn.Module, head: nn.Module, critic: nn.Module, **settings: Any) -> Step:
    method = DANN(features, head, critic=critic, **settings)
    return stepping(method, method)


LOOPS: dict[str, Callable[..., Step]] = {
    "source only": source_only,
    "by hand": by_hand,
    "by hand again": by_hand,
    "gradtape": ours,
    "gradtape, minimax": partial(ours, loss="minimax"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=40, help="steps of each loop in a block")
    parser.add_argument("--batch", type=int, default=64, help="rows of each domain")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    order = random.Random(0)
    print(f"torch {torch.__version__}, 1 thread, batch {asked.batch} + {asked.batch}, process time;", end=" ")
    print(f"n = {asked.blocks} blocks of {asked.rounds} steps")
    for title, (features, size, shape) in NETS.items():
        torch.manual_seed(0)
        nets = features(), nn.Linear(size, CLASSES), Critic(size)
        steps = {name: loop(*copy.deepcopy(nets)) for name, loop in LOOPS.items()}
        xs, xt = torch.randn(2, asked.batch, *shape)
        ys = torch.randint(CLASSES, (asked.batch,))
        blocks: list[dict[str, float]] = []
        for _ in range(asked.blocks + 1):
            took: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(asked.rounds):
                for name in order.sample(list(steps), len(steps)):
                    began = time.process_time()
                    steps[name](xs, ys, xt)
                    took[name].append(1e6 * (time.process_time() - began))
            blocks.append({name: statistics.median(times) for name, times in took.items()})
        blocks = blocks[1:]  # the first warms up
        print(f"\n{title}")
        for name in steps:
            print(f"  {name:<20}{statistics.median(block[name] for block in blocks):8.0f} us")
        for one, other in RATIOS:
            ratios = [block[one] / block[other] for block in blocks]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"  {f'{one} / {other}':<32}{middle:.3f}   quartiles {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()
