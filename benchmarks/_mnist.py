"""MNIST in [-1, 1], the small classifier that judges generated digits, and sheets of images."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradtape.data import read
from gradtape.seeding import derive

BATCH = 100
READING = 1000  # images that are judged at once


class Digits(NamedTuple):
    """Images (n, 1, 28, 28) in [-1, 1] and labels (n,), as the publisher split them."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load(data_dir: str | None) -> Digits:
    found = read("mnist", data_dir=data_dir)
    if found.official_test is None:
        raise SystemExit("the folder has no test images: give all four idx files")
    testing = np.zeros(len(found), dtype=bool)
    testing[found.official_test] = True
    images, labels = torch.from_numpy(found.images) * 2 - 1, torch.from_numpy(found.labels)
    return Digits(images[~testing], labels[~testing], images[testing], labels[testing])


class Reader(nn.Module):
    """Three convolutions that halve the side, and two layers; its 128 features are where distances are measured."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(1024, 128),
            nn.ReLU(),
        )
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def teach(images: Tensor, labels: Tensor, epochs: int, seed: int) -> Reader:
    """Return a reader trained on these images as they are, without augmentation; the last epoch is taken."""
    torch.manual_seed(derive(seed, "reader") % 2**31)
    reader, steps = Reader(), epochs * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, pct_start=0.2)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            if len(rows) == BATCH:
                optimizer.zero_grad()
                cross_entropy(reader(images[rows]), labels[rows]).backward()
                optimizer.step()
                pace.step()
    return reader.eval()


@torch.no_grad()
def probabilities(reader: Reader, images: Tensor) -> Tensor:
    """Return (n, 10)."""
    return torch.cat([reader(part).softmax(1) for part in images.split(READING)])


@torch.no_grad()
def features(reader: Reader, images: Tensor) -> Tensor:
    """Return (n, 128)."""
    return torch.cat([reader.features(part) for part in images.split(READING)])


def correct(reader: Reader, images: Tensor, labels: Tensor) -> int:
    return int((probabilities(reader, images).argmax(1) == labels).sum())


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def save_sheet(images: Tensor, path: Path, across: int = 20) -> None:
    """Save the first images, in rows of ``across``, at twice their size."""
    n, channels, height, width = images.shape
    rows = n // across
    pixels = ((images[: rows * across] + 1) * 127.5).round().clamp(0, 255).byte()
    tiled = pixels.view(rows, across, channels, height, width).permute(0, 3, 1, 4, 2)
    sheet = tiled.reshape(rows * height, across * width, channels)
    picture = Image.fromarray(sheet.squeeze(2).numpy() if channels == 1 else sheet.numpy())
    picture.resize((2 * picture.width, 2 * picture.height)).save(path)
