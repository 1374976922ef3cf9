"""The dynamics of the smallest games, where theory says how they go: Dirac-GAN and the bilinear game.

Mescheder, Geiger and Nowozin (ICML 2018): the data are a point at 0, the generator a point θ, the discriminator a slope
ψ, D(x) = ψ x. The only equilibrium is θ = ψ = 0. Gidel et al. (ICLR 2019): for the bilinear game, gradient descent on
both at once spirals outwards, by a factor of sqrt(1 + η²) a step; in turns it stays on a closed curve.
"""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.games import Penalty

RATE = 0.1


class Point(nn.Module):
    """A generator that makes one point, whatever z is."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([at], dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.at.expand(len(z), 1)


class Slope(nn.Module):
    """A discriminator ψ x."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x


def course(loss: str, solver: str, penalties: Sequence[Penalty], steps: int, rate: float = RATE) -> list[float]:
    """Return the distance from the equilibrium after each step of plain gradient descent, from (1, 0)."""
    game = gt.GAN(Point(1.0), Slope(0.0), loss=loss, solver=solver, penalties=penalties, latent=1)
    for name, model in game.models.items():
        game.optimizers[name] = torch.optim.SGD(model.parameters(), lr=rate)
    at, slope = game.models["generator"].at, game.models["discriminator"].slope
    distances = []
    for _ in range(steps):
        game.step(torch.zeros(4, 1, dtype=torch.float64))
        distances.append(math.hypot(at.item(), slope.item()))
    return distances


def test_the_bilinear_game_at_once_spirals_outwards_by_the_factor_of_theory() -> None:
    found = course("wasserstein", "one-pass", [], 40)
    factor = math.sqrt(1 + RATE**2)
    assert found == [pytest.approx(factor ** (step + 1), rel=1e-9) for step in range(40)]


def test_the_bilinear_game_in_turns_goes_round_and_neither_falls_nor_grows() -> None:
    found = course("wasserstein", "alternating", [], 600)
    assert min(found) == pytest.approx(1 / math.sqrt(1 + RATE / 2), rel=1e-3)  # the ellipse θ² + ψ² - η θ ψ = 1
    assert max(found) == pytest.approx(1 / math.sqrt(1 - RATE / 2), rel=1e-3)
    assert max(found[300:]) == pytest.approx(max(found[:300]), rel=1e-3)


@pytest.mark.parametrize("solver", ["one-pass", "alternating"])
@pytest.mark.parametrize("loss", ["wasserstein", "minimax", "nonsaturating", "relativistic"])
def test_a_zero_centred_penalty_makes_it_converge_exponentially(loss: str, solver: str) -> None:
    assert course(loss, solver, [gt.R1(1.0)], 1200)[-1] < 1e-18
    alone = course(loss, solver, [], 1200)
    if loss in ("nonsaturating", "relativistic"):  # these converge alone too, but slower than any exponential
        assert 0.2 < alone[-1] < alone[600] < alone[0]
    else:
        assert alone[-1] > 0.97


def test_the_rate_of_convergence_is_that_of_the_jacobian() -> None:
    """For Wasserstein with R1 the step is linear: θ ← θ + η ψ, ψ ← ψ - η (θ + γ ψ); its eigenvalues say how fast."""
    weight = 1.0
    jacobian = torch.tensor([[1.0, RATE], [-RATE, 1 - RATE * weight]], dtype=torch.float64)
    radius = float(torch.linalg.eigvals(jacobian).abs().max())
    found = course("wasserstein", "one-pass", [gt.R1(weight)], 400)
    assert (found[399] / found[199]) ** (1 / 200) == pytest.approx(radius, rel=5e-3)


def test_one_centred_penalties_do_not_converge_on_it() -> None:
    """Wasserstein's gradient penalty holds the slope at 1, so the point overshoots for ever."""
    found = course("wasserstein", "alternating", [gt.GradientPenalty(1.0)], 1500)
    assert max(found[-200:]) > 0.05


def test_two_time_scales_help_where_one_does_not() -> None:
    """At once it is stable where η_G < γ: with a slower generator, a weaker penalty is enough."""
    weight = 0.05

    def last(generator_rate: float) -> float:
        game = gt.GAN(
            Point(1.0), Slope(0.0), loss="wasserstein", solver="one-pass", penalties=[gt.R1(weight)], latent=1
        )
        for name, rate in (("generator", generator_rate), ("discriminator", RATE)):
            game.optimizers[name] = torch.optim.SGD(game.models[name].parameters(), lr=rate)
        for _ in range(3000):
            game.step(torch.zeros(2, 1, dtype=torch.float64))
        return math.hypot(game.models["generator"].at.item(), game.models["discriminator"].slope.item())

    assert last(0.1) > 10
    assert last(0.01) < 1e-2
