"""How many of 1,000 modes a generator finds against a discriminator a quarter its size: Stacked MNIST.

    GRADTAPE_DATA=FOLDER python benchmarks/stacked_mnist.py [--seeds 1] [--steps 18000] [--sheet FILE.png]

One CPU thread. The protocol is that of Metz et al. 2017 (Unrolled GAN) and Lin et al. 2018 (PacGAN): an image has
three MNIST digits, drawn at random, as its channels, and the game is unconditional; of 26,000 samples a CNN trained on
MNIST's 60,000 training images reads each channel. A mode is a triple of digits, 1,000 in all. Reported are the triples
found and the KL divergence of their counts from the uniform distribution, in nats. The discriminator has at most a
quarter of the generator's weights, counted one by one.

By that protocol a sample that is no digit counts as one too. So beside those figures stand others for which a sample
counts only where the CNN gives each of its channels a probability of at least 0.9, and the share of such samples. The
first line is of 26,000 triples of test images, what a perfect generator would score; its KL is above 0 as classes are
not quite equal, and as counts of about 26 vary (which alone gives about 0.019).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _mnist import Reader, load, probabilities, processor_seconds, save_sheet, teach
from torch import Tensor

import gradtape as gt
from gradtape.nets import ConvDiscriminator, ConvGenerator
from gradtape.seeding import generator as random_stream
from gradtape.transforms import schedules

SAMPLES = 26_000
BATCH = 64
SURE = 0.9


def triples(images: Tensor, n: int, random: torch.Generator) -> Tensor:
    """Return n images of three digits each, (n, 3, 28, 28)."""
    return images[torch.randint(len(images), (n, 3), generator=random), 0]


def play(images: Tensor, seed: int, steps: int, judge: Reader, every: int) -> gt.GAN:
    torch.manual_seed(seed)
    weight = schedules.cosine(0.3, 0.03, total_steps=steps // 2)
    game = gt.GAN(
        ConvGenerator((3, 28, 28), latent=128, width=24),
        ConvDiscriminator((3, 28, 28), width=32, hidden=32),
        latent=128,
        penalties=[gt.R1(weight, every=4), gt.R2(weight, every=4)],
        lr=2e-3,
        betas=(0.0, schedules.cosine(0.9, 0.99, total_steps=steps // 2)),
        steps=steps,
        seed=seed,
    )
    random = random_stream(seed, "batches")
    for position in range(steps):
        step = game.step(triples(images, BATCH, random))
        if position % 1000 == 999:
            print(f"  step {position + 1}: mean logits {step.real:+.2f} real, {step.fake:+.2f} generated", flush=True)
        if every and position % every == every - 1 and position + 1 < steps:
            print(
                line(f"step {position + 1}", judge, game.sample(SAMPLES, random=random_stream(seed, "look"))),
                flush=True,
            )
    return game


def modes(judge: Reader, samples: Tensor) -> dict[str, tuple[int, float, float]]:
    """Return modes, KL and the share of samples counted: of all samples, and of those that are read for sure."""
    n = len(samples)
    found = probabilities(judge, samples.reshape(-1, 1, 28, 28)).view(n, 3, 10).max(dim=2)
    code = found.indices @ torch.tensor([100, 10, 1])
    kept = {"all": torch.ones(n, dtype=torch.bool), "read": (found.values >= SURE).all(dim=1)}
    result = {}
    for name, rows in kept.items():
        counts = torch.bincount(code[rows], minlength=1000).double()
        share = counts[counts > 0] / counts.sum()
        result[name] = len(share), float((share * (share * 1000).log()).sum()), float(rows.double().mean())
    return result


def line(title: str, judge: Reader, samples: Tensor) -> str:
    found = modes(judge, samples)
    (all_modes, all_kl, _), (modes_read, kl_read, share) = found["all"], found["read"]
    return f"  {title:<16}{all_modes:>6}{all_kl:>9.4f}{modes_read:>10}{kl_read:>9.4f}{share:>9.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=18_000)
    parser.add_argument("--look", type=int, default=0, help="also print the figures each so many steps")
    parser.add_argument("--data-dir", help="folder that holds mnist/, if not GRADTAPE_DATA")
    parser.add_argument("--sheet", type=Path, help="save 200 samples of the last seed as a PNG")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    digits = load(asked.data_dir)
    judge = teach(digits.train, digits.train_labels, 4, seed=7)
    print(f"  {SAMPLES} samples   modes       KL     read:      KL    share")
    print(line("real, test", judge, triples(digits.test, SAMPLES, random_stream(0, "floor"))), flush=True)
    for seed in range(asked.first, asked.first + asked.seeds):
        began = processor_seconds()
        game = play(digits.train, seed, asked.steps, judge, asked.look)
        minutes = (processor_seconds() - began) / 60
        sizes = [sum(weight.numel() for weight in game.models[name].parameters()) for name in sorted(game.models)]
        samples = game.sample(SAMPLES, random=random_stream(seed, "samples"))
        print(line(f"seed {seed}", judge, samples), end="")
        print(
            f"   {asked.steps} steps, {minutes:.1f} CPU minutes, {game.solver.name}, weights {sizes[0]} of {sizes[1]}"
        )
        if asked.sheet:
            save_sheet(samples[:200], asked.sheet)


if __name__ == "__main__":
    main()
