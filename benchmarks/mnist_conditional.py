"""Digits on demand: what a classifier learns from generated MNIST alone, and how near the samples come to real ones.

    GRADTAPE_DATA=FOLDER python benchmarks/mnist_conditional.py [--seeds 1] [--steps 24000] [--sheet FILE.png]

One CPU thread. A class-conditional game is played on the 60,000 training images; the averaged generator then makes
10,000 digits, 1,000 of each class, and nothing is picked out of them. Figures, beside the same of real images:

* accuracy: a small CNN trained on those 10,000 alone, tested on MNIST's 10,000 test images (Ravuri and Vinyals 2019);
  the ceiling is that CNN trained on 10,000 real training images, 1,000 of each class drawn at random
* the class asked for: share of the samples that a CNN trained on the 60,000 real images reads as what was asked for;
  the ceiling is its accuracy on the test images
* precision, recall, density, coverage, Fréchet distance on that CNN's 128 features, 5,000 samples against 5,000 test
  images that neither player saw; the floor is the other 5,000 test images in the samples' place
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _mnist import Digits, Reader, correct, features, load, processor_seconds, save_sheet, teach
from torch import Tensor

import gradtape as gt
from gradtape.evidence import fidelity, mean_interval, proportion
from gradtape.nets import ConvDiscriminator, ConvGenerator
from gradtape.seeding import generator as random_stream
from gradtape.transforms import schedules

SAMPLES = 10_000
EPOCHS = 10  # of the CNN on 10,000 images
BATCH = 64


def play(digits: Digits, seed: int, steps: int) -> gt.GAN:
    torch.manual_seed(seed)
    weight = schedules.cosine(0.3, 0.03, total_steps=steps // 2)
    game = gt.GAN(
        ConvGenerator((1, 28, 28), latent=64, width=16, condition=10),
        ConvDiscriminator((1, 28, 28), width=32, condition=10),
        latent=64,
        penalties=[gt.R1(weight, every=4), gt.R2(weight, every=4)],
        lr=2e-3,
        betas=(0.0, schedules.cosine(0.9, 0.99, total_steps=steps // 2)),
        steps=steps,
        seed=seed,
    )
    random = random_stream(seed, "batches")
    for position in range(steps):
        rows = torch.randint(len(digits.train), (BATCH,), generator=random)
        step = game.step(digits.train[rows], digits.train_labels[rows])
        if position % 1000 == 999:
            print(f"  step {position + 1}: mean logits {step.real:+.2f} real, {step.fake:+.2f} generated", flush=True)
    return game


def balanced(images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return 1,000 real images of each class."""
    order = torch.randperm(len(images), generator=random_stream(seed, "real"))
    rows = torch.cat([order[labels[order] == digit][: SAMPLES // 10] for digit in range(10)])
    return images[rows], labels[rows]


def report(digits: Digits, judge: Reader, samples: Tensor, labels: Tensor, seed: int) -> tuple[float, float]:
    """Print the table of one seed, and return both accuracies."""
    n = len(digits.test)
    learned = correct(teach(samples, labels, EPOCHS, seed), digits.test, digits.test_labels)
    from_real = correct(
        teach(*balanced(digits.train, digits.train_labels, seed), EPOCHS, seed), digits.test, digits.test_labels
    )
    asked, of_real = correct(judge, samples, labels), correct(judge, digits.test, digits.test_labels)
    print(f"  {'figure':<24}{'generated':>10}{'real':>10}   95 %, generated       n")
    for name, hits, total, real in (
        ("accuracy", learned, n, from_real / n),
        ("the class asked for", asked, len(samples), of_real / n),
    ):
        share = proportion(hits, total)
        print(f"  {name:<24}{share.mean:>10.4f}{real:>10.4f}   {share.low:.4f} to {share.high:.4f}  {total:>6}")
    halves = torch.randperm(n, generator=random_stream(seed, "halves")).split(n // 2)
    reference, fresh = (features(judge, digits.test[half]).numpy() for half in halves)
    for figure in fidelity(features(judge, samples).numpy(), reference, fresh, seed=seed).figures:
        interval = figure.synthetic_interval
        spread = f"{interval.low:.4f} to {interval.high:.4f}" if interval else " " * 16
        print(f"  {figure.name:<24}{figure.synthetic:>10.4f}{figure.floor:>10.4f}   {spread}  {figure.n:>6}")
    return learned / n, from_real / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--data-dir", help="folder that holds mnist/, if not GRADTAPE_DATA")
    parser.add_argument("--sheet", type=Path, help="save 200 samples of the last seed as a PNG")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    digits = load(asked.data_dir)
    judge = teach(digits.train, digits.train_labels, 4, seed=7)
    accuracies = []
    for seed in range(asked.first, asked.first + asked.seeds):
        began = processor_seconds()
        game = play(digits, seed, asked.steps)
        minutes = (processor_seconds() - began) / 60
        sizes = {name: sum(weight.numel() for weight in model.parameters()) for name, model in game.models.items()}
        print(f"seed {seed}: {asked.steps} steps, {minutes:.1f} CPU minutes, {game.solver.name}, weights {sizes}")
        labels = torch.arange(SAMPLES) % 10
        samples = game.sample(SAMPLES, labels, random_stream(seed, "samples"))
        if asked.sheet:
            save_sheet(samples[:200], asked.sheet)
        accuracies.append(report(digits, judge, samples, labels, seed)[0])
    if len(accuracies) > 1:
        interval = mean_interval(accuracies)
        print(f"mean accuracy {interval.mean:.4f} (95 % {interval.low:.4f} to {interval.high:.4f}), n = {interval.n}")


if __name__ == "__main__":
    main()
