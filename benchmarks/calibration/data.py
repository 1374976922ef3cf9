"""Small real data: scikit-learn's digits, MNIST and a text where they are at hand, and points on a ring."""

from __future__ import annotations

import math
import os
import string
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

import gradtape.data as readers

Batch = tuple[Tensor, ...]
Draw = Callable[[], Batch]
ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GRADTAPE_DATA") or ROOT.parent / "shared" / "data")


@cache
def digits() -> Batch:
    """Return the 1,797 digits in [0, 1], shape (n, 1, 8, 8), and their labels."""
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


@cache
def mnist() -> Batch:
    """Return 4,000 images of MNIST, shape (n, 1, 28, 28); without the files, digits enlarged to that size."""
    if not (SHARED / "mnist").is_dir():
        x, y = digits()
        return torch.nn.functional.interpolate(x, (28, 28)), y
    images = readers.read("mnist", data_dir=SHARED)
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))[:4000].numpy()
    return torch.tensor(images.images[order]), torch.tensor(images.labels[order])


@cache
def text() -> Batch:
    """Return a text as numbers below 65, shape (n,): Shakespeare, else what scikit-learn says of its data."""
    path = SHARED / "tinyshakespeare"
    files = sorted(path.glob("*.txt")) if path.is_dir() else []
    raw = files[0].read_text()[:200_000] if files else (load_digits().DESCR + load_diabetes().DESCR).lower()
    raw = "".join(symbol if symbol in string.ascii_letters + " \n.,;:!?'-" else " " for symbol in raw)
    symbols = sorted(set(raw))
    return (torch.tensor([symbols.index(symbol) for symbol in raw]),)


def rows(data: Batch, size: int, random: torch.Generator) -> Draw:
    """Draw ``size`` rows with replacement."""

    def draw() -> Batch:
        chosen = torch.randint(len(data[0]), (size,), generator=random)
        return tuple(part[chosen] for part in data)

    return draw


def passages(length: int, size: int, random: torch.Generator) -> Draw:
    """Draw passages of the text and the same passages one symbol later, shape (size, length) each."""
    symbols = text()[0]

    def draw() -> Batch:
        starts = torch.randint(len(symbols) - length - 1, (size,), generator=random)
        window = symbols[starts[:, None] + torch.arange(length + 1)]
        return window[:, :-1], window[:, 1:]

    return draw


def ring(size: int, random: torch.Generator, modes: int = 8) -> Draw:
    """Draw points of ``modes`` Gaussians on a circle, standardised: radius sqrt(2), deviation 0.05."""

    def draw() -> Batch:
        angle = torch.randint(modes, (size,), generator=random) * (2 * math.pi / modes)
        centre = torch.stack([angle.cos(), angle.sin()], dim=1) * math.sqrt(2)
        return (centre + 0.05 * torch.randn(size, 2, generator=random),)

    return draw


def modes_found(points: Tensor, modes: int = 8) -> tuple[int, float]:
    """Return how many modes have a hundredth of the points within 0.3, and the share of points that near to any."""
    angle = torch.arange(modes) * (2 * math.pi / modes)
    centres = torch.stack([angle.cos(), angle.sin()], dim=1) * math.sqrt(2)
    near, which = torch.cdist(points, centres).min(dim=1)
    good = which[near < 0.3]
    return int((torch.bincount(good, minlength=modes) >= len(points) / 100).sum()), len(good) / len(points)
