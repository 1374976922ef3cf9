"""Losses and the ratio of their slopes, against their formulas and autograd."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradtape.games import LOSSES


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def d_minimax(real: Tensor, fake: Tensor) -> Tensor:
    return -torch.log(sigmoid(real)) - torch.log(1 - sigmoid(fake))


def zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def mean(x: Tensor) -> Tensor:
    return torch.stack(list(x)).sum() / len(x)


LOGISTIC = (d_minimax, lambda r, f: -torch.log(sigmoid(f)))
FORMULAS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "minimax": (d_minimax, lambda r, f: torch.log(1 - sigmoid(f))),
    "nonsaturating": LOGISTIC,
    "least_squares": (lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    "hinge": (lambda r, f: torch.maximum(zero(r), 1 - r) + torch.maximum(zero(f), 1 + f), lambda r, f: -f),
    "wasserstein": (lambda r, f: -(r - f), lambda r, f: -f),
    "relativistic": (lambda r, f: -torch.log(sigmoid(r - f)), lambda r, f: -torch.log(sigmoid(f - r))),
    "relativistic_average": (
        lambda r, f: -torch.log(sigmoid(r - mean(f))) - torch.log(1 - sigmoid(f - mean(r))),
        lambda r, f: -torch.log(sigmoid(f - mean(r))) - torch.log(1 - sigmoid(r - mean(f))),
    ),
    "logistic": LOGISTIC,
}
COUPLED = ("relativistic_average",)  # a sample's loss depends on the whole batch


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
    for side in LOSSES[name][:2]:
        for r_at in (-50.0, 50.0):
            for f_at in (-50.0, 50.0):
                r, f = torch.tensor([r_at], requires_grad=True), torch.tensor([f_at], requires_grad=True)
                loss = side(r, f)
                grads = torch.autograd.grad(loss.sum(), (r, f), materialize_grads=True)
                assert all(value.isfinite().all() for value in (loss, *grads))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "minimax"])
def test_a_generator_that_is_found_out_still_learns(name: str) -> None:
    real, fake = torch.tensor([50.0]), torch.tensor([-50.0], requires_grad=True)
    (grad,) = torch.autograd.grad(LOSSES[name].generator(real, fake).sum(), fake)
    assert grad.item() <= -0.99


def test_minimax_is_zero_sum_in_the_fake_logits() -> None:
    r, f = torch.randn(9), torch.randn(9)
    both = LOSSES["minimax"].discriminator(r, f) + LOSSES["minimax"].generator(r, f)
    assert torch.allclose(both, nn.functional.softplus(-r))


def test_the_logistic_loss_is_the_nonsaturating_one() -> None:
    assert LOSSES["logistic"] is LOSSES["nonsaturating"]


def slopes(name: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes of the summed losses in the fake logits, of the generator's and of the discriminator's, in float64."""
    r, f = real.double(), fake.double().requires_grad_()
    of_d, of_g = (torch.autograd.grad(side(r, f).sum(), f)[0] for side in LOSSES[name][:2])
    return of_g, of_d


def logits(n: int, reach: float, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return tuple(reach * (2 * torch.rand(n, generator=draws, dtype=torch.float64) - 1) for _ in range(2))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reach", [1.0, 5.0, 50.0])
def test_the_ratio_is_that_of_autograds_slopes(name: str, reach: float) -> None:
    # of single precision autograd is asked in double precision; its softplus is a line from 20 on, 2e-9 off
    for dtype, tolerance in ((torch.float64, 1e-9 if reach < 10 else 3e-9), (torch.float32, 1e-5)):
        real, fake = (x.to(dtype) for x in logits(200, reach, seed=3))
        ratio = LOSSES[name].ratio(real, fake)
        assert ratio.dtype == dtype
        of_g, of_d = slopes(name, real, fake)
        defined = (of_d != 0) & ((of_g / of_d).abs() < torch.finfo(dtype).max)
        assert defined.sum() > 80
        error = (ratio.double() - of_g / of_d).abs() / (of_g / of_d).abs().clamp_min(1e-300)
        assert error[defined].max() < tolerance


@pytest.mark.parametrize("name", LOSSES)
def test_the_ratio_is_nan_exactly_where_the_discriminator_has_no_slope(name: str) -> None:
    edges = torch.tensor([-50.0, -1.0 - 2**-20, -1.0, -1.0 + 2**-20, -1e-40, -0.0, 0.0, 1e-40, 1.0, 50.0])
    for dtype in (torch.float32, torch.float64):
        fake = edges.to(dtype)
        for real in (torch.full_like(fake, -50.0), torch.zeros_like(fake), torch.full_like(fake, 50.0)):
            ratio = LOSSES[name].ratio(real, fake)
            if name in ("hinge", "least_squares"):
                assert torch.equal(ratio.isnan(), slopes(name, real, fake)[1] == 0)
            else:
                assert not ratio.isnan().any()  # a logistic function is small at the edge and never 0
            assert not ratio.isinf().any()


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])
@pytest.mark.parametrize("gap", [60.0, 80.0, 100.0])
def test_a_ratio_of_slopes_that_underflow_is_right_as_long_as_there_is_a_number_for_it(name: str, gap: float) -> None:
    real, fake = torch.full((4,), gap / 2), torch.full((4,), -gap / 2)
    expected = -min(math.exp(gap), torch.finfo(torch.float32).max)
    assert LOSSES[name].ratio(real, fake).tolist() == pytest.approx([expected] * 4, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in COUPLED])
def test_one_sample_is_judged_as_in_a_batch(name: str) -> None:
    real, fake = logits(20, 3.0, seed=5)
    alone = torch.cat([LOSSES[name].ratio(real[i : i + 1], fake[i : i + 1]) for i in range(20)])
    assert torch.equal(LOSSES[name].ratio(real, fake).nan_to_num(7), alone.nan_to_num(7))
