"""Mode seeking against loops, and what it does to a generator that makes one sample."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.games import ModeSeeking


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 8, 9])
@pytest.mark.parametrize("shape", [(3,), (2, 2, 3), ()])
def test_the_value_pair_by_pair(n: int, shape: tuple[int, ...]) -> None:
    z, fake = drawn(n, 5), drawn(n, *shape, seed=1)
    total = 0.0
    for one in range(n // 2):
        other = n // 2 + one
        d_z = sum(abs(a - b) for a, b in zip(z[one].tolist(), z[other].tolist(), strict=True)) / 5
        samples = (fake[one].flatten().tolist(), fake[other].flatten().tolist())
        d_x = sum(abs(a - b) for a, b in zip(*samples, strict=True)) / len(samples[0])
        total += 1 / (d_x / d_z + 0.03)
    assert ModeSeeking(0.7, eps=0.03)(z, fake).item() == pytest.approx(0.7 * total / (n // 2), rel=1e-9)


def test_the_gradient_is_that_of_finite_differences_and_drives_samples_apart() -> None:
    z, fake = drawn(6, 4), drawn(6, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(ModeSeeking(), (z, fake))
    before = ModeSeeking()(z, fake)
    (grad,) = torch.autograd.grad(before, fake)
    after = fake.detach() - 0.1 * grad
    assert (after[:3] - after[3:]).abs().sum() > (fake[:3] - fake[3:]).abs().sum()
    assert ModeSeeking()(z, after) < before


def test_equal_samples_and_equal_latents_are_finite() -> None:
    z, fake = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.ones(4, 3, requires_grad=True)
    value = ModeSeeking(eps=0.1)(z, fake)  # all collapsed: 1 / eps, the largest there is
    assert value.item() == pytest.approx(10.0)
    for latents in (z, torch.ones(4, 2)):
        for samples in (fake, fake + torch.arange(4.0).reshape(-1, 1)):
            value = ModeSeeking()(latents, samples)
            (grad,) = torch.autograd.grad(value, fake)
            assert value.isfinite()
            assert grad.isfinite().all()
    assert ModeSeeking()(torch.ones(4, 2), fake).item() == 0.0


def test_settings_out_of_range_and_single_samples_are_refused() -> None:
    for weight in (-1.0, math.nan):
        with pytest.raises(InputError, match=f"the weight of ModeSeeking is {weight}: give a finite number from 0 up"):
            ModeSeeking(weight)
    with pytest.raises(InputError, match="eps of ModeSeeking is 0: give a finite number above 0"):
        ModeSeeking(eps=0)
    with pytest.raises(InputError, match="ModeSeeking compares pairs and got 1 samples: give at least 2"):
        ModeSeeking()(torch.ones(1, 2), torch.ones(1, 2))
    assert repr(ModeSeeking(2.0)) == "ModeSeeking(2.0, eps=0.1)"
