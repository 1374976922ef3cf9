"""Pairs of a labelled source and an unlabelled target: digits of two kinds, moons, hospitals. None of the data is here.

Files are read from ``data_dir``, else from the folder that ``GRADTAPE_DATA`` names, else from ``../shared/data``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from gradtape.data import Table, read, read_table
from gradtape.seeding import derive, generator

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
SIDE = 16  # of all images of digits
UNLABELLED = 20_000  # of MNIST's training images, where MNIST is the target


class Pair(NamedTuple):
    """A labelled source, a target to train on without labels, and a part of the target to test on.

    Inputs are images (n, 1, 16, 16) in [0, 1], points (n, 2), or tables; labels are int64.
    """

    source: Any
    labels: np.ndarray
    target: Any
    test: Any
    test_labels: np.ndarray


class Digits(NamedTuple):
    """Images (n, 1, 16, 16) in [0, 1] and labels (n,), as the publisher split them."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def folder(data_dir: str | None = None) -> Path:
    named = data_dir or os.environ.get("GRADTAPE_DATA") or Path(__file__).parents[2] / "shared" / "data"
    if not Path(named).is_dir():
        raise SystemExit(f"there is no folder {named}: give --data-dir or set GRADTAPE_DATA")
    return Path(named)


@cache
def usps(data_dir: str | None = None) -> Digits:
    """Return the 1,000 training images that are kept there and the 2,007 test images, as they are."""
    parts = []
    for name in ("zip_1000.train", "zip.test"):
        rows = np.loadtxt(folder(data_dir) / "usps" / name, usecols=range(257), dtype=np.float32)  # one has a 258th
        parts += [(rows[:, 1:].reshape(-1, 1, SIDE, SIDE) + 1) / 2, rows[:, 0].astype(np.int64)]
    return Digits(*parts)


@cache
def mnist(data_dir: str | None = None) -> Digits:
    """Return MNIST without its margin: the 20x20 pixels in the middle, made 16x16."""
    found = read("mnist", data_dir=folder(data_dir))
    images = boxed(torch.from_numpy(found.images)).numpy()
    testing = np.zeros(len(images), dtype=bool)
    testing[found.official_test] = True
    return Digits(images[~testing], found.labels[~testing], images[testing], found.labels[testing])


def boxed(images: Tensor) -> Tensor:
    """Return the 20x20 pixels in the middle, resized: (n, 1, 16, 16).

    MNIST's digits were fitted into a box of that size and then centred by their mass, so some lose ink at an edge,
    which is part of the shift: with a window around each digit's own box, source only is some five points better.
    """
    inner = images[:, :, 4:24, 4:24]
    return interpolate(inner, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def usps_to_mnist(seed: int, data_dir: str | None = None) -> Pair:
    """Return all 3,007 USPS images, 20,000 of MNIST's training images, and MNIST's 10,000 test images."""
    ours, theirs = usps(data_dir), mnist(data_dir)
    rows = torch.randperm(len(theirs.train), generator=generator(seed, "domains", "mnist"))[:UNLABELLED].numpy()
    source = np.concatenate([ours.train, ours.test])
    labels = np.concatenate([ours.train_labels, ours.test_labels])
    return Pair(source, labels, theirs.train[rows], theirs.test, theirs.test_labels)


def mnist_to_usps(seed: int, data_dir: str | None = None) -> Pair:
    """Return MNIST's 60,000 training images, 1,000 of USPS, and the 2,007 test images of USPS; no seed changes them."""
    ours, theirs = mnist(data_dir), usps(data_dir)
    return Pair(ours.train, ours.train_labels, theirs.train, theirs.test, theirs.test_labels)


def moons(seed: int, data_dir: str | None = None, *, degrees: float = 35.0, n: int = 300) -> Pair:
    """Return two moons of ``n`` points, as many others turned around their middle, and 1,000 turned ones to test on."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = np.array([0.5, 0.25])

    def sample(part: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = make_moons(rows, noise=0.05, random_state=derive(seed, "domains", "moons", part) % 2**32)
        return (X - middle).astype(np.float32), y.astype(np.int64)

    source, labels = sample("source", n)
    target, _ = sample("target", n)
    test, test_labels = sample("test", 1000)
    return Pair(source, labels, (target @ turn).astype(np.float32), (test @ turn).astype(np.float32), test_labels)


def rotated(images: Tensor, random: torch.Generator, degrees: float = 40.0) -> Tensor:
    """Return images turned to the left."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[cos, -sin, 0], [sin, cos, 0]]).expand(len(images), 2, 3)
    grid = affine_grid(turn, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def inverted(images: Tensor, random: torch.Generator) -> Tensor:
    """Return dark digits on light ground."""
    return 1 - images


def textured(images: Tensor, random: torch.Generator) -> Tensor:
    """Return ``|texture - image|``, as MNIST-M blends digits with photographs; each has a smooth random texture."""
    coarse = torch.rand(len(images), 1, 5, 5, generator=random)
    texture = interpolate(coarse, images.shape[2:], mode="bicubic", align_corners=True).clamp(0, 1)
    return (texture - images).abs()


SHIFTS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "rotated": rotated,
    "inverted": inverted,
    "textured": textured,
}
"""Procedural shifts, which no camera made: name -> from images (n, 1, h, w) to others of the same shape."""


def procedural(shift: str, seed: int, data_dir: str | None = None) -> Pair:
    """Return digits of MNIST, 16x16, and other ones of them shifted: 10,000 source, 10,000 target, 3,000 to test on."""
    found, random = mnist(data_dir), generator(seed, "shift", shift)
    change = SHIFTS[shift]
    target, test = (
        change(torch.from_numpy(each), random).numpy() for each in (found.train[10_000:20_000], found.test[:3000])
    )
    return Pair(found.train[:10_000], found.train_labels[:10_000], target, test, found.test_labels[:3000])


def hospital(name: str, data_dir: str | None = None) -> tuple[Table, np.ndarray]:
    """Return a hospital's patients, and which of them have a narrowed vessel (0 or 1)."""
    table, labels = read_table(folder(data_dir) / "heart" / f"processed.{name}.data", target="target")
    assert labels is not None
    cholesterol = table.column("chol")
    columns = {**table.columns, "chol": np.where(cholesterol == 0, np.nan, cholesterol)}
    return Table(columns, name=name), (labels > 0).astype(np.int64)


def heart(one: str, other: str, data_dir: str | None = None) -> Pair:
    """Return two hospitals; the target's patients, few as they are, are also those to test on."""
    source, labels = hospital(one, data_dir)
    target, target_labels = hospital(other, data_dir)
    return Pair(source, labels, target, target, target_labels)
