"""What a step of a game costs beside other ways of writing it, on DCGAN-32.

``python benchmarks/gan_step.py [--blocks 15] [--batch 64]``, one CPU thread. Non-saturating loss, no penalty, 3x32x32.
The contenders take turns within each block, so that whatever else the machine does hits them alike; figures are process
time, the median over the blocks of each one's ratio to the one-pass step, with quartiles.

* wasteful: what papers on one-pass training compare with: both players' steps make fakes of their own, and the
  discriminator's goes back through the generator;
* torchgan: the order of work of torchgan's trainer: fresh fakes for each player, detached for the discriminator, whose
  weight gradients are computed in the generator's half and thrown away (the package itself needs torchvision);
* tutorial: PyTorch's DCGAN tutorial: fakes reused, weight gradients of the discriminator thrown away;
* well-written: fakes reused, the discriminator frozen in the generator's half;
* alternating, one-pass: ``gt.GAN``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import gradtape as gt

LATENT = 100
Step = Callable[[Tensor], object]


def generator() -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (LATENT, 1, 1)), nn.ConvTranspose2d(LATENT, 256, 4, 1, 0, bias=False)]
    for wide in (256, 128, 64):
        layers += [
            nn.BatchNorm2d(wide),
            nn.ReLU(True),
            nn.ConvTranspose2d(wide, wide // 2 if wide > 64 else 3, 4, 2, 1),
        ]
    return nn.Sequential(*layers, nn.Tanh())


def discriminator() -> nn.Module:
    layers: list[nn.Module] = []
    for narrow, wide in ((3, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(256, 1, 4), nn.Flatten(0))


def plain(g: nn.Module, d: nn.Module, *, fresh: bool, detach: bool, freeze: bool, **adam: object) -> Step:
    """Return a step written out, with or without what each way wastes."""
    of_g, of_d = (torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999), **adam) for net in (g, d))
    weights = list(d.parameters())

    def make(n: int) -> Tensor:
        fake: Tensor = g(torch.randn(n, LATENT))
        return fake

    def step(real: Tensor) -> None:
        fake = make(len(real))
        of_d.zero_grad()
        (softplus(-d(real)).mean() + softplus(d(fake.detach() if detach else fake)).mean()).backward()
        of_d.step()
        if fresh:
            fake = make(len(real))
        of_g.zero_grad()
        if freeze:
            for weight in weights:
                weight.requires_grad_(False)
        softplus(-d(fake)).mean().backward()
        of_g.step()
        if freeze:
            for weight in weights:
                weight.requires_grad_(True)

    return step


def ours(g: nn.Module, d: nn.Module, solver: str, **settings: object) -> Step:
    game = gt.GAN(
        g, d, latent=LATENT, loss="nonsaturating", penalties=[], solver=solver, lr=2e-4, betas=(0.5, 0.999), **settings
    )
    return game.step


def contenders() -> dict[str, Step]:
    torch.manual_seed(0)
    g, d = generator(), discriminator()

    def nets(layout: torch.memory_format = torch.contiguous_format) -> tuple[nn.Module, nn.Module]:
        return copy.deepcopy(g).to(memory_format=layout), copy.deepcopy(d).to(memory_format=layout)

    return {
        "one-pass": ours(*nets(), "one-pass"),
        "one-pass again": ours(*nets(), "one-pass"),
        "alternating": ours(*nets(), "alternating"),
        "well-written": plain(*nets(), fresh=False, detach=True, freeze=True),
        "well-written, fused": plain(*nets(), fresh=False, detach=True, freeze=True, fused=True),
        "tutorial": plain(*nets(), fresh=False, detach=True, freeze=False),
        "torchgan": plain(*nets(), fresh=True, detach=True, freeze=False),
        "wasteful": plain(*nets(), fresh=True, detach=False, freeze=False),
        "one-pass, channels last": ours(*nets(torch.channels_last), "one-pass"),
        "one-pass, bf16": ours(*nets(), "one-pass", autocast=torch.bfloat16),
        "one-pass, channels last, bf16": ours(*nets(torch.channels_last), "one-pass", autocast=torch.bfloat16),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="steps of each contender in a block")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    real = torch.randn(asked.batch, 3, 32, 32).tanh()
    steps = contenders()
    took: dict[str, list[float]] = {name: [] for name in steps}
    for block in range(asked.blocks + 1):
        for name, step in steps.items():
            began = time.process_time()
            for _ in range(asked.steps):
                step(real)
            if block:  # the first warms up
                took[name].append((time.process_time() - began) / asked.steps)
    print(f"DCGAN-32, batch {asked.batch}, {asked.blocks} blocks of {asked.steps} steps, process time, one thread")
    print(f"{'':<32}{'ms':>8}{'over one-pass':>16}  quartiles")
    for name, seconds in took.items():
        ratios = sorted(mine / first for mine, first in zip(seconds, took["one-pass"], strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<32}{1e3 * statistics.median(seconds):>8.1f}{middle:>16.3f}  {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
