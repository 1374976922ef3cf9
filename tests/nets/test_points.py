"""Networks for points: which component a latent chooses, what a condition does, where a generator begins."""

import math

import pytest
import torch
from torch import nn

from gradtape.errors import InputError
from gradtape.nets import Condition, PointDiscriminator, PointGenerator


def net(**settings) -> PointGenerator:
    torch.manual_seed(0)
    return PointGenerator(**{"dimensions": 3, "latent": 4, "width": 16, "components": 8, **settings})


def test_the_first_latent_chooses_the_component_all_equally_likely() -> None:
    g = net()
    with torch.no_grad():
        g.spread.zero_()
    middles = torch.special.ndtri((torch.arange(8) + 0.5) / 8)  # the middle of each component's share
    z = torch.cat([middles[:, None], torch.randn(8, 3)], dim=1)
    assert torch.allclose(g(z), g.body(g.centre), atol=1e-6)
    drawn = g(torch.randn(80_000, 4, generator=torch.Generator().manual_seed(1)))
    component = torch.cdist(drawn, g.body(g.centre)).argmin(dim=1)
    shares = torch.bincount(component, minlength=8) / 80_000
    assert float((shares - 1 / 8).abs().max()) < 5 * math.sqrt(1 / 8 * 7 / 8 / 80_000)
    ends = torch.tensor([[-40.0, 0, 0, 0], [40.0, 0, 0, 0]])
    assert torch.allclose(g(ends), g.body(g.centre[[0, 7]]), atol=1e-6)


def test_the_others_move_it_by_the_components_own_spread() -> None:
    g = net()
    g.body = nn.Identity()
    z = torch.tensor([[0.01, 1.0, -2.0, 0.5]])  # just above the middle: component 4
    assert torch.allclose(g(z), g.centre[4] + g.spread[4] * z[:, 1:])
    g(z).sum().backward()
    assert g.centre.grad[4].tolist() == [1.0, 1.0, 1.0]
    assert g.spread.grad[4].tolist() == [1.0, -2.0, 0.5]
    assert int(g.centre.grad.abs().sum(dim=1).count_nonzero()) == 1


@pytest.mark.parametrize("condition", [None, 5])
def test_it_begins_with_points_around_0_that_are_not_all_in_one_spot(condition: int | None) -> None:
    torch.manual_seed(3)
    g = PointGenerator(2, condition=condition)
    told = None if condition is None else torch.randint(5, (4000,))
    points = g(torch.randn(4000, 64), told).detach()
    assert float(points.mean(dim=0).abs().max()) < 0.12
    assert torch.allclose(points.std(dim=0), torch.full((2,), 0.4), atol=0.12)


def test_the_discriminator_judges_points_one_by_one_and_by_what_it_is_told() -> None:
    torch.manual_seed(0)
    d = PointDiscriminator(3, width=16, features=4, condition=Condition(attributes=2))
    x, told = torch.randn(6, 3), torch.randn(6, 2)
    together = d(x, told)
    assert together.shape == (6,)
    assert torch.allclose(together, torch.cat([d(x[i : i + 1], told[i : i + 1]) for i in range(6)]), atol=1e-6)
    hidden = d.body(d.features(x))
    by_hand = d.output(hidden).squeeze(1) + (hidden * d.condition(told)).sum(1) / 4
    assert torch.allclose(together, by_hand, atol=1e-6)
    assert float((d(x, told + 1) - together).detach().abs().min()) > 1e-4


def test_sizes_that_make_no_network_are_refused() -> None:
    for settings in ({"latent": 1}, {"components": 1}, {"dimensions": 0}, {"width": 0}):
        with pytest.raises(InputError, match="give at least 2 for latent and components"):
            net(**settings)
