"""One pass against a pass of the generator's own: the same gradients, and where they are not, the other step."""

import copy

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError
from gradtape.games import LOSSES, AdversarialLoss, Packing, Penalty, spectral_norm
from gradtape.nets import MinibatchDiscrimination, MinibatchStdDev


class Offset(nn.Module):
    """Adds a number to each logit: how sure a discriminator is, per sample, and depending on it."""

    def __init__(self, centre: float, slope: float) -> None:
        super().__init__()
        self.centre, self.slope = centre, slope

    def forward(self, x: Tensor) -> Tensor:
        return self.centre + self.slope * x


def generator() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def discriminator(centre: float = 0.0, slope: float = 1.0) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), Offset(centre, slope))


def batch(n: int = 16) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(3))


def gradients(solver: str, d: nn.Module, n: int = 16, **settings) -> tuple[list[Tensor], list[Tensor], str]:
    """Return the gradients that both players' optimizers saw in a step in which no weight moved, and the way taken."""
    torch.manual_seed(0)
    game = gt.GAN(generator(), d, latent=4, solver=solver, lr=0.0, **settings)
    game.step(batch(n))
    found = [[p.grad.clone() for p in game.models[name].parameters() if p.grad is not None] for name in game.models]
    return *found, game.solver.name


def same(one: list[Tensor], other: list[Tensor], within: float = 1e-5) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert float((a - b).norm()) <= within * float(b.norm())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("centre", [-50.0, -20.0, 0.0, 20.0, 50.0])
@pytest.mark.parametrize("slope", [0.5, 5.0])
def test_both_ways_give_the_same_gradients_however_sure_the_discriminator(
    loss: str, centre: float, slope: float
) -> None:
    torch.manual_seed(1)
    d = discriminator(centre, slope)
    one, other = (
        gradients(solver, copy.deepcopy(d), loss=loss, penalties=[]) for solver in ("one-pass", "alternating")
    )
    assert (one[2], other[2]) == ("one-pass", "alternating")
    same(one[0], other[0])
    same(one[1], other[1])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fakes_at", [-50.0, 50.0])
def test_both_ways_agree_when_real_and_fake_are_told_apart(loss: str, fakes_at: float) -> None:
    class Sure(nn.Module):
        """Logits of about 50 on one side and -50 on the other: the sides come as batches of their own."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.body = discriminator()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).squeeze(1) + (fakes_at if not torch.equal(x, batch()) else -fakes_at)

    one, other = (gradients(solver, Sure(), loss=loss, penalties=[]) for solver in ("one-pass", "alternating"))
    same(one[0], other[0])
    same(one[1], other[1])


def settings() -> dict[str, dict]:
    return {
        "R1": {"penalties": [gt.R1(0.3)]},
        "R2": {"penalties": [gt.R2(0.3)]},
        "R1 and R2": {"penalties": [gt.R1(0.3), gt.R2(0.2)]},
        "LeCam": {"penalties": [gt.LeCam(0.3)]},
        "consistency": {"penalties": [gt.Consistency(1.0, view=gt.InstanceNoise(0.1))]},
        "WGAN-GP": {"penalties": [gt.GradientPenalty(1.0)], "loss": "wasserstein"},
        "DRAGAN": {"penalties": [gt.DRAGAN(1.0)]},
        "packs": {"views": [Packing(2)], "penalties": []},
        "packs and R2": {"views": [Packing(2)], "penalties": [gt.R2(0.1)]},
        "noise": {"views": [gt.InstanceNoise(0.3)], "penalties": []},
        "mode seeking": {"diversity": [gt.ModeSeeking(0.7)], "penalties": []},
        "all": {
            "views": [gt.InstanceNoise(0.3), Packing(2)],
            "diversity": [gt.ModeSeeking(0.7)],
            "penalties": [gt.R1(0.1), gt.R2(0.2), gt.LeCam(0.1)],
        },
    }


@pytest.mark.parametrize("name", settings())
@pytest.mark.parametrize("loss", ["relativistic", "hinge", "least_squares"])
def test_both_ways_agree_with_penalties_views_and_diversity(name: str, loss: str) -> None:
    torch.manual_seed(1)
    pack = 2 if "pack" in name or name == "all" else 1
    d = nn.Sequential(nn.Linear(3 * pack, 8), nn.Tanh(), nn.Linear(8, 1), Offset(-1.0, 4.0))
    one, other = (
        gradients(solver, copy.deepcopy(d), **{"loss": loss, **settings()[name]})
        for solver in ("one-pass", "alternating")
    )
    assert (one[2], other[2]) == ("one-pass", "alternating")
    same(one[0], other[0])
    same(one[1], other[1])


class Mixing(nn.Module):
    """Each logit less the batch's mean: samples are judged together."""

    def __init__(self) -> None:
        super().__init__()
        self.body = discriminator()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y - 0.5 * y.mean()


def coupled() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    return {
        "batch norm": nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)),
        "mean": Mixing(),
        "minibatch deviation": nn.Sequential(MinibatchStdDev(4), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)),
        "minibatch discrimination": nn.Sequential(
            MinibatchDiscrimination(3, 2, 2), nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)
        ),
    }


@pytest.mark.parametrize("name", coupled())
def test_a_discriminator_that_mixes_samples_is_stepped_in_turns(name: str) -> None:
    d = coupled()[name]
    before = copy.deepcopy(d.state_dict())
    game = gt.GAN(generator(), d, latent=4, penalties=[], lr=0.0)
    assert game.solver == ("auto", "the first batch decides")
    game.step(batch())
    assert game.solver == ("alternating", "the discriminator mixes the samples of a batch")
    if name == "batch norm":  # judged the real, the fake and the fake batch again, and not in the comparison
        assert int(d.state_dict()["1.num_batches_tracked"] - before["1.num_batches_tracked"]) == 3
    with pytest.raises(InputError, match="one-pass is not exact: the discriminator mixes the samples of a batch: use"):
        gt.GAN(generator(), coupled()[name], latent=4, solver="one-pass", penalties=[]).step(batch())


@pytest.mark.parametrize(
    "d",
    [
        discriminator(),
        coupled()["batch norm"].eval(),
        nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)),
        spectral_norm(discriminator()),
    ],
    ids=["plain", "batch norm in evaluation", "dropout", "spectral norm"],
)
def test_a_discriminator_that_judges_samples_one_by_one_is_stepped_at_once(d: nn.Module) -> None:
    game = gt.GAN(generator(), d, latent=4)
    game.step(batch())
    assert game.solver == ("one-pass", "it gives the same gradients as a pass of the generator's own")


def test_the_comparison_leaves_no_trace() -> None:
    def play(solver: str) -> tuple[dict[str, Tensor], Tensor]:
        torch.manual_seed(5)
        d = spectral_norm(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)))
        game = gt.GAN(generator(), d, latent=4, solver=solver, lr=0.0, penalties=[])
        game.step(batch())
        return d.state_dict(), torch.rand(1)

    torch.manual_seed(5)
    one, two = play("one-pass"), play("auto")
    assert all(torch.equal(a, b) for a, b in zip(one[0].values(), two[0].values(), strict=True))
    assert torch.equal(one[1], two[1])


def test_a_loss_whose_ratio_is_wrong_is_not_trusted() -> None:
    right = LOSSES["nonsaturating"]
    wrong = AdversarialLoss(right.discriminator, right.generator, lambda real, fake: -torch.exp(-fake) * 1.01)
    game = gt.GAN(generator(), discriminator(), loss=wrong, latent=4, penalties=[])
    game.step(batch())
    assert game.solver == ("alternating", "the loss's ratio gives gradients that differ by 0.01 of their norm")
    game = gt.GAN(generator(), discriminator(), loss=right, latent=4, penalties=[])
    game.step(batch())
    assert game.solver.name == "one-pass"


def test_one_pass_judges_each_batch_once() -> None:
    passes = []
    d = discriminator()
    d.register_forward_hook(lambda *_: passes.append(1))
    for solver, expected in (("one-pass", 2), ("alternating", 3)):
        game = gt.GAN(generator(), d, latent=4, solver=solver, penalties=[])
        for _ in range(2):  # at the first two, whether it is exact is asked too
            game.step(batch())
        passes.clear()
        game.step(batch())
        assert len(passes) == expected


def test_a_batch_of_one_is_stepped_in_turns_and_an_unrolled_game_too() -> None:
    game = gt.GAN(generator(), discriminator(), latent=4)
    game.step(batch(1))
    assert game.solver == ("alternating", "a batch of one does not show whether the discriminator mixes samples")
    game = gt.GAN(generator(), discriminator(), latent=4, unroll=2)
    game.step(batch())
    assert game.solver == ("alternating", "the generator looks 2 steps ahead")
    with pytest.raises(InputError, match="unroll=2 looks ahead of the discriminator and one-pass does not: use"):
        gt.GAN(generator(), discriminator(), latent=4, unroll=2, solver="one-pass")


def test_a_frozen_part_of_the_discriminator_gets_no_gradient_at_once_either() -> None:
    for penalties in ([], [gt.R2(0.1)], [gt.LeCam(0.1)]):
        d = discriminator()
        d[0].requires_grad_(False)
        game = gt.GAN(generator(), d, latent=4, penalties=penalties)
        game.step(batch())
        assert game.solver.name == "one-pass"
        assert [p.grad is None for p in d.parameters()] == [True, True, False, False]


def test_the_samples_gradient_does_not_leak_into_the_next_step() -> None:
    """Two steps without moving weights have gradients of their own: nothing adds up."""
    torch.manual_seed(1)
    d = discriminator()
    first = gradients("one-pass", d, penalties=[])
    game = gt.GAN(generator(), d, latent=4, solver="one-pass", lr=0.0, penalties=[])
    torch.manual_seed(0)
    game.models["generator"].load_state_dict(generator().state_dict())
    for _ in range(2):
        game._random["latent"].manual_seed(1)
        game.step(batch())
    twice = [p.grad.clone() for p in game.models["generator"].parameters()]
    game._random["latent"].manual_seed(1)
    game.step(batch())
    same(twice, [p.grad for p in game.models["generator"].parameters()])
    assert len(first[0]) == 4


def test_a_discriminator_that_says_the_same_of_all_is_asked_again() -> None:
    head = nn.Linear(9, 1)
    nn.init.zeros_(head.weight)
    mean = Mixing()
    mean.body = nn.Sequential(nn.Linear(3, 9), nn.Tanh(), head)
    game = gt.GAN(generator(), mean, latent=4, penalties=[])
    game.step(batch())
    assert game.solver.reason.startswith("the discriminator says the same of all samples")
    game.step(batch())
    assert game.solver == ("alternating", "the discriminator mixes the samples of a batch")


def test_a_discriminator_that_begins_to_mix_samples_is_found_out() -> None:
    d = coupled()["batch norm"].eval()
    game = gt.GAN(generator(), d, latent=4, penalties=[])
    for _ in range(3):
        game.step(batch())
    assert game.solver.name == "one-pass"
    d.train()
    game.step(batch())
    assert game.solver == ("alternating", "the discriminator mixes the samples of a batch")


def test_a_penalty_of_ones_own_on_the_fake_logits_leaves_the_generators_gradient_alone() -> None:
    class Drift(Penalty):
        def term(self, judged) -> Tensor:
            return judged.logits["fake"].square().mean()

    torch.manual_seed(1)
    d = discriminator(0.5, 3.0)
    one, other = (gradients(s, copy.deepcopy(d), penalties=[Drift(10.0)]) for s in ("one-pass", "alternating"))
    same(one[0], other[0])
    same(one[1], other[1])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("centre", [0.0, -14.0])
def test_half_precision_keeps_the_generators_gradient_when_the_discriminator_is_sure(kind, centre: float) -> None:
    torch.manual_seed(1)
    d = discriminator(centre, 1.0)
    one, other = (
        gradients(s, copy.deepcopy(d), loss="nonsaturating", penalties=[], autocast=kind)
        for s in ("one-pass", "alternating")
    )
    same(one[0], other[0], within=0.05)


def test_penalties_are_asked_when_they_are_due() -> None:
    asked = []

    class Asked(Penalty):
        def term(self, judged) -> Tensor:
            asked.append(judged.position)
            return judged.logits["real"].square().mean()

    game = gt.GAN(generator(), discriminator(), latent=4, penalties=[Asked(0.5, every=3)])
    penalties = [game.step(batch()).penalty for _ in range(7)]
    assert asked == [0, 3, 6]
    assert [value > 0 for value in penalties] == [True, False, False, True, False, False, True]
