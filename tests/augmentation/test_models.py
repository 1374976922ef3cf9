"""A user's own networks: those that work, and one sentence for those that cannot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError, RunError

RANDOM = np.random.default_rng(0)
X = RANDOM.random((48, 8, 8), dtype=np.float32)
Y = np.arange(48) % 3
TINY = {"per_class": 3, "added": 1, "steps": 20, "generator_steps": 20}


class Tied(nn.Module):
    """An auto-encoder's pair of tied layers before a head, an input overwritten in place, a tensor filled by item."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.inner, self.again, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 3)
        self.again.weight = self.inner.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.again(self.inner(self.relu(x).flatten(1)).tanh())
        output = torch.zeros(len(x), 3)
        output[:, :] = self.head(hidden)
        return output


def test_an_awkward_network_goes_through(tmp_path: Path) -> None:
    result = gt.augment(X, Y, model=Tied, run=tmp_path / "run", **TINY)
    assert result.model(torch.from_numpy(X[:2, None])).shape == (2, 3)
    assert str(result).splitlines()[1] == result.sentence
    assert len(str(result)) < 500


def linear(outputs: int = 3, inputs: int = 64) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


class Pair(nn.Module):
    """Returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return self.inner(x), 1


SHARED = linear()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: linear(outputs=4), r"returns \(2, 4\) torch.float32 for two images: return float32 logits \(2, 3\)"),
        (lambda: linear(inputs=60), r"cannot take images of shape \(2, 1, 8, 8\)"),
        (lambda: linear().double(), r"cannot take images of shape .* float32"),
        (Pair, "returns tuple for two images"),
        (lambda: None, "returned a NoneType: return a torch.nn.Module"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (64,))), "has no parameter to train"),
        (lambda: SHARED, "returned the same network twice: make a new network at every call"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(make: Callable[[], nn.Module], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as caught:
        gt.augment(X, Y, model=make, run=tmp_path / "run", **TINY)
    assert "\n" not in str(caught.value)


def test_another_network_does_not_go_on_with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gradtape.augmentation.job.measure", stop)
        with pytest.raises(KeyboardInterrupt):
            gt.augment(X, Y, model=linear, run=tmp_path / "run", **TINY)
    with pytest.raises(RunError, match="network"):
        other = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Dropout(0.9))  # noqa: E731
        gt.augment(X, Y, model=other, run=tmp_path / "run", resume=True, **TINY)
    assert gt.augment(X, Y, model=linear, run=tmp_path / "run", resume=True, **TINY).helped


def test_copies_across_the_split_are_counted(tmp_path: Path) -> None:
    twice = np.concatenate([X, X])
    result = gt.augment(twice, np.concatenate([Y, Y]), model=linear, run=tmp_path / "run", **TINY)
    copies, test = result.details["data"]["copies_in_test"], result.details["data"]["test"]
    assert 0 < copies <= test
    assert "exact copies of images outside the test set" in result.report.read_text()
    assert gt.augment(X, Y, model=linear, run=tmp_path / "other", **TINY).details["data"]["copies_in_test"] == 0
