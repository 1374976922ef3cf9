"""Losses and penalties against their formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError
from gradtape.games import LOSSES, R1, R2, Penalty


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def d_minimax(real: Tensor, fake: Tensor) -> Tensor:
    return -torch.log(sigmoid(real)) - torch.log(1 - sigmoid(fake))


def zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


FORMULAS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "minimax": (d_minimax, lambda r, f: torch.log(1 - sigmoid(f))),
    "nonsaturating": (d_minimax, lambda r, f: -torch.log(sigmoid(f))),
    "least_squares": (lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    "hinge": (lambda r, f: torch.maximum(zero(r), 1 - r) + torch.maximum(zero(f), 1 + f), lambda r, f: -f),
    "wasserstein": (lambda r, f: -(r - f), lambda r, f: -f),
    "relativistic": (lambda r, f: -torch.log(sigmoid(r - f)), lambda r, f: -torch.log(sigmoid(f - r))),
}


def test_every_loss_has_its_formula_here() -> None:
    assert LOSSES.keys() == FORMULAS.keys()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("side", [0, 1], ids=["discriminator", "generator"])
def test_values_and_gradients_equal_the_formula(name: str, side: int) -> None:
    draws = torch.Generator().manual_seed(0)
    real = torch.randn(50, generator=draws, dtype=torch.float64) * 3
    fake = torch.randn(50, generator=draws, dtype=torch.float64) * 3
    weights = torch.rand(50, generator=draws, dtype=torch.float64)
    found = []
    for function in (LOSSES[name][side], FORMULAS[name][side]):
        r, f = real.clone().requires_grad_(), fake.clone().requires_grad_()
        loss = function(r, f)
        assert loss.shape == (50,)
        grads = torch.autograd.grad((weights * loss).sum(), (r, f), materialize_grads=True)
        found.append((loss.detach(), *grads))
    for mine, twin in zip(*found, strict=True):
        assert torch.allclose(mine, twin, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_stay_finite_when_the_discriminator_is_sure(name: str) -> None:
    for side in LOSSES[name]:
        for r_at in (-50.0, 50.0):
            for f_at in (-50.0, 50.0):
                r, f = torch.tensor([r_at], requires_grad=True), torch.tensor([f_at], requires_grad=True)
                loss = side(r, f)
                grads = torch.autograd.grad(loss.sum(), (r, f), materialize_grads=True)
                assert all(value.isfinite().all() for value in (loss, *grads))


@pytest.mark.parametrize("name", ["nonsaturating", "relativistic", "hinge", "wasserstein", "least_squares"])
def test_a_generator_that_is_found_out_still_learns(name: str) -> None:
    real, fake = torch.tensor([50.0]), torch.tensor([-50.0], requires_grad=True)
    (grad,) = torch.autograd.grad(LOSSES[name].generator(real, fake).sum(), fake)
    assert grad.item() <= -0.99


def test_minimax_is_zero_sum_in_the_fake_logits() -> None:
    r, f = torch.randn(9), torch.randn(9)
    both = LOSSES["minimax"].discriminator(r, f) + LOSSES["minimax"].generator(r, f)
    assert torch.allclose(both, nn.functional.softplus(-r))


@pytest.mark.parametrize("kind", [R1, R2])
@pytest.mark.parametrize("shape", [(6, 3), (6, 1, 2, 4)])
def test_a_penalty_is_half_its_weight_times_the_mean_squared_gradient(
    kind: type[Penalty], shape: tuple[int, ...]
) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    by_hand = sum(float(value) ** 2 for value in gradient.flatten()) / shape[0]
    assert float(kind(0.7)(gradient)) == pytest.approx(0.35 * by_hand, rel=1e-5)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_penalty_refuses_a_weight_out_of_range(weight: float) -> None:
    with pytest.raises(InputError, match="the weight of R1 is .*: give a finite number from 0 up"):
        gt.R1(weight)


def test_a_penalty_prints_as_it_is_made() -> None:
    assert (repr(gt.R1(0.5)), repr(gt.R2())) == ("R1(0.5)", "R2(0.1)")
