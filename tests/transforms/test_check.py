"""Is a reversal doing anything? The four ways in which it does not, and ways in which it does."""

import copy
import math

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError
from gradtape.transforms import ReversalCheck
from tests.transforms.adversaries import BROKEN, Network, batch, network


def checked(model: Network) -> ReversalCheck:
    reversal = model.reversal if isinstance(model.reversal, gt.Reverse) else gt.Reverse()
    return reversal.check(model, batch())


@pytest.mark.parametrize("strength", [1.0, 0.3, torch.tensor(2.0), 0.001, 100.0])
def test_a_reversal_that_works_passes_and_its_strength_is_measured(strength: object) -> None:
    found = checked(network(strength=strength))
    assert found.problems == ()
    assert found.reversed == tuple(f"encoder.{name}" for name in ("0.weight", "0.bias", "3.weight", "3.bias"))
    assert found.plain == tuple(f"critic.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
    assert found.cut == ()
    assert found.measured == pytest.approx(float(strength), rel=1e-4)
    assert found.strength == float(strength)
    assert found.chance_loss == pytest.approx(math.log(2))
    assert found.critic_loss < 0.9 * found.chance_loss
    assert str(found).startswith("the reversal works: 4 parameters are reversed")


SAYS = {
    "softmax over one unit": "always 1, as that of a softmax over one unit is",
    "module with backward": "reversal (BackwardModule) defines backward, which autograd never calls",
    "never applied": "the model never calls Reverse(strength=0.5); apply it",
    "detached feature": "no gradient reaches encoder.0.weight, encoder.0.bias, encoder.3.weight and 1 more",
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("seed", range(3))
def test_each_broken_reversal_is_caught_and_named(kind: str, seed: int) -> None:
    found = checked(network(kind, seed=seed))
    assert not found.passed
    assert SAYS[kind] in found.problems[0]
    assert str(found).splitlines()[0] == "the reversal does not work:"


def test_the_model_and_the_random_state_are_as_they_were() -> None:
    model = network()
    model.train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    checked(model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.reversal.strength == 0.5
    assert not model.reversal._forward_hooks


def test_a_schedule_that_begins_at_zero_is_checked_at_one() -> None:
    model = network(strength=gt.schedules.dann(100))
    found = checked(model)
    assert found.passed
    assert (found.strength, model.reversal.position) == (0.0, 0)
    assert found.measured == pytest.approx(1.0, rel=1e-4)


def test_strengths_that_do_not_oppose_are_problems() -> None:
    assert "the strength is 0, so no gradient" in checked(network(strength=0.0)).problems[0]
    assert "give a strength above 0" in checked(network(strength=-0.5)).problems[0]


def test_a_reversal_applied_twice_cancels_out() -> None:
    reversal = gt.Reverse(0.5)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), reversal, nn.Tanh(), reversal, nn.Linear(8, 1))
    found = reversal.check(model, batch())
    assert "was called 2 times and turns the sign of no gradient" in found.problems[0]


def test_attached_at_a_submodule() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
    reversal = gt.Reverse(0.7)
    x, domain = batch()
    assert not reversal.check(model, (x, domain)).passed
    with reversal.at(model, "1"):
        found = reversal.check(model, (x, (domain + (x[:, 0] > 2).long())))
    assert found.passed
    assert found.measured == pytest.approx(0.7, rel=1e-4)
    assert found.reversed == ("0.weight", "0.bias")


def test_a_critic_that_cannot_tell_the_domains_apart_is_a_problem() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(0) if not self.training else (x * 0 + x.mean(0))

    torch.manual_seed(0)
    reversal = gt.Reverse()
    model = nn.Sequential(nn.Linear(2, 8), reversal, nn.Linear(8, 4), Mean(), nn.Linear(4, 1))  # sees the mean only
    found = reversal.check(model, batch())
    assert len(found.problems) == 1
    assert "trained alone for 200 steps at strength 0" in found.problems[0]
    assert found.critic_loss == pytest.approx(math.log(2), abs=1e-3)


def test_a_loss_of_your_own_and_models_of_a_fixed_type() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), gt.Reverse(0.5), nn.Linear(8, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.float())

    torch.manual_seed(0)
    model = Fixed()
    x, domain = batch()
    found = model.net[2].check(model, (x, domain.float()), loss=lambda out, age: (out[:, 0] - age).square().mean())
    assert found.passed
    assert found.measured == pytest.approx(0.5, rel=0.05)
    assert math.isnan(found.chance_loss)


def test_batches_that_cannot_be_used_are_refused() -> None:
    model = network()
    x, domain = batch()
    for wrong, says in [
        (x, "the batch is no pair"),
        ((x, torch.zeros_like(domain)), "one domain only"),
        ((x, domain + 1), r"output has shape \(96, 1\) for 96 samples of domains 0 to 2"),
        ((x, 2 * domain - 1), "go from -1 to 1"),
        ((x, domain + 0.5), "go from 0.5 to 1.5"),
        ((x, torch.stack([domain, domain], 1)), r"domains have shape \(96, 2\)"),
    ]:
        with pytest.raises(InputError, match=says):
            model.reversal.check(model, wrong)
    assert model.reversal.check(model, (x, domain[:, None])).passed
    wide = nn.Sequential(nn.Linear(2, 2), gt.Reverse(), nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"output has shape \(96, 2\) for 96 samples of domains 0 to 3"):
        wide[1].check(wide, (x, domain * 3))


def test_of_two_reversals_the_one_that_does_nothing_is_not_taken_for_the_other() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.first, self.second = nn.Linear(2, 8), gt.Reverse(0.5), gt.Reverse(0.5)
            self.critics = nn.ModuleList([nn.Linear(8, 1), nn.Linear(8, 1)])

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.encoder(x)
            return self.critics[0](self.first(features.detach())), self.critics[1](self.second(features))

    torch.manual_seed(0)
    model = Two()
    assert model.second.check(model, batch()).passed
    found = model.first.check(model, batch())
    assert "no gradient of the loss that was judged depends on its strength" in found.problems[0]
    assert "the last tensor is taken for its logits, of shape (96, 1)" in found.problems[0]


def test_a_critic_that_returns_probabilities_and_one_without_weights_are_problems() -> None:
    torch.manual_seed(0)
    for units, last in ((1, nn.Sigmoid()), (2, nn.Softmax(dim=1))):
        reversal = gt.Reverse()
        found = reversal.check(nn.Sequential(nn.Linear(2, 8), reversal, nn.Linear(8, units), last), batch())
        assert "the critic's outputs look like probabilities" in found.problems[0]
    reversal = gt.Reverse()
    found = reversal.check(nn.Sequential(nn.Linear(2, 1), reversal), batch())
    assert "put a critic with weights behind the reversal" in found.problems[0]
    assert not found


def test_features_that_go_round_the_reversal_are_a_problem() -> None:
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.reversal, self.critic = nn.Linear(2, 8), gt.Reverse(), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.encoder(x)
            return self.critic(self.reversal(features) + 0.5 * features)

    torch.manual_seed(0)
    model = Bypass()
    found = model.reversal.check(model, batch())
    assert found.measured == pytest.approx((1 - 0.5) / (1 + 0.5), rel=1e-4)
    assert "twice the strength makes the reversed gradients 3 times as long" in found.problems[0]


def test_what_else_scales_is_told_and_no_problem() -> None:
    torch.manual_seed(0)
    reversal = gt.Reverse(0.5)
    model = nn.Sequential(nn.Linear(2, 8), gt.chain(reversal, gt.Scale(4.0)), nn.Linear(8, 1))
    found = reversal.check(model, batch())
    assert found.passed
    assert found.measured == pytest.approx(2.0, rel=1e-4)
    assert "2 times their slope (the strength is 0.5: something else scales as well)" in str(found)


def test_one_applied_three_times_and_one_behind_a_layer_behind_a_detach_are_problems() -> None:
    torch.manual_seed(0)
    reversal = gt.Reverse(0.5)
    model = nn.Sequential(nn.Linear(2, 8), *(reversal, nn.Tanh()) * 3, nn.Linear(8, 1))
    assert "8 times as long" in reversal.check(model, batch()).problems[0]
    detach = gt.Stop()
    behind = nn.Sequential(nn.Linear(2, 8), detach, nn.Linear(8, 8), reversal, nn.Linear(8, 1))
    assert "no gradient reaches 0.weight, 0.bias" in reversal.check(behind, batch()).problems[0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_of_inputs_and_a_last_layer_of_zeros_are_no_problem(scale: float) -> None:
    model = network(strength=1e-10)
    for parameter in model.critic[2].parameters():
        nn.init.zeros_(parameter)
    x, domain = batch()
    found = model.reversal.check(model, (scale * x, domain))
    assert found.problems == ()
    assert found.measured == pytest.approx(1e-10, rel=1e-4)


def test_what_the_models_transformations_remember_is_as_it_was() -> None:
    torch.manual_seed(0)
    reversal, average, ramp = gt.Reverse(), gt.EMA(0.5), gt.Scale(gt.schedules.linear(1, 2, 10))
    model = nn.Sequential(nn.Linear(2, 8), reversal, nn.Linear(8, 8), average, ramp, nn.Linear(8, 1))
    noise = gt.Noise(1e-9)
    noise.at(model, "2")
    x, domain = batch()
    x.requires_grad_()
    with torch.no_grad():
        assert reversal.check(model, (x, domain)).passed
    assert average.state_dict()["counts"].tolist() == []
    assert (noise.draws, ramp._setting.idle_calls, x.grad) == (0, 0, None)


def test_a_loss_that_is_a_sum_is_measured_as_exactly() -> None:
    model = network(strength=0.5)

    def summed(output: tuple[torch.Tensor, torch.Tensor], domain: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(output[1][:, 0], domain.double(), reduction="sum")

    found = model.reversal.check(model, batch(), loss=summed)
    assert (len(found.reversed), len(found.plain)) == (4, 4)
    assert found.measured == pytest.approx(0.5, rel=1e-4)
