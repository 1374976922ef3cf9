"""Forty real digits and a classifier trained on them."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from gradtape.nets import ImageClassifier
from gradtape.synthesis import Real
from gradtape.synthesis.maker import one_hot
from gradtape.training import train_classifier


def digits(per_class: list[int]) -> tuple[Tensor, Tensor]:
    """So many digits of each class, in the order of the classes."""
    read = load_digits()
    rows = np.concatenate([np.flatnonzero(read.target == label)[:n] for label, n in enumerate(per_class)])
    return torch.tensor(read.images[rows], dtype=torch.float32)[:, None] / 16, torch.tensor(read.target[rows])


def trained(images: Tensor, labels: Tensor, classes: int, steps: int = 60) -> Real:
    """Those digits with a classifier trained on them."""
    torch.manual_seed(0)
    model = ImageClassifier((1, 8, 8), classes, width=4)
    train_classifier(model, images, one_hot(labels, classes), steps=steps, seed=0)
    return Real(images, labels, classes, model)


@pytest.fixture(scope="session")
def real() -> Real:
    """Forty digits of four classes, unequally many, sorted by class."""
    return trained(*digits([16, 12, 8, 4]), classes=4)
