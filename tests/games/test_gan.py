"""The step against a plain two-step twin, the average, the state, and a ring of Gaussians."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import gradtape as gt
from gradtape.errors import InputError
from gradtape.games import LOSSES, GameStep, Penalty
from gradtape.seeding import generator as random_stream


class G(nn.Module):
    """A generator that may take labels and has a buffer that moves."""

    def __init__(self, out: int = 2, hidden: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, hidden, bias=False), nn.BatchNorm1d(hidden), nn.Tanh(), nn.Linear(hidden, out)
        )
        self.shift = nn.Embedding(3, out)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.body(z)
        return x if labels is None else x + self.shift(labels)


class D(nn.Module):
    def __init__(self, out: int = 2, hidden: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(out, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.shift = nn.Embedding(3, out)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.body(x if labels is None else x - self.shift(labels))


def pair() -> tuple[G, D]:
    torch.manual_seed(0)
    return G(), D()


def data(step: int, n: int = 16) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(100 + step)
    return torch.randn(n, 2, generator=draws) + 1, torch.randint(3, (n,), generator=draws)


def written_out(
    g: nn.Module, d: nn.Module, loss: str, r1: float, r2: float, labelled: bool, steps: int, at_once: bool
) -> list[GameStep]:
    """The textbook step: detach, then a second pass, before or after the discriminator has moved."""
    g_adam = torch.optim.Adam(g.parameters(), lr=1e-2, betas=(0.0, 0.99))
    d_adam = torch.optim.Adam(d.parameters(), lr=1e-2, betas=(0.0, 0.99))
    draws, done = random_stream(0, "latent"), []
    for step in range(steps):
        real, labels = data(step)
        condition = (labels,) if labelled else ()
        fake = g(torch.randn(16, 4, generator=draws), *condition)
        sides = [real.clone().requires_grad_(), fake.detach().clone().requires_grad_()]
        d_real, d_fake = (d(x, *condition).view(-1) for x in sides)
        d_loss = LOSSES[loss].discriminator(d_real, d_fake).mean()
        penalty = torch.zeros(())
        for weight, logits, x in ((r1, d_real, sides[0]), (r2, d_fake, sides[1])):
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            penalty = penalty + weight / 2 * (slope**2).sum(dim=1).mean()
        if at_once:
            g_loss = LOSSES[loss].generator(d_real.detach(), d(fake, *condition).view(-1)).mean()
            slopes = torch.autograd.grad(g_loss, list(g.parameters()), allow_unused=True)
        d_adam.zero_grad()
        (d_loss + penalty).backward()
        d_adam.step()
        if not at_once:
            g_loss = LOSSES[loss].generator(d_real.detach(), d(fake, *condition).view(-1)).mean()
            slopes = torch.autograd.grad(g_loss, list(g.parameters()), allow_unused=True)
        for parameter, slope in zip(g.parameters(), slopes, strict=True):
            parameter.grad = slope
        g_adam.step()
        done.append(GameStep(*(v.item() for v in (d_loss, g_loss, penalty, d_real.mean(), d_fake.mean()))))
    return done


@pytest.mark.parametrize(
    ("loss", "r1", "r2"),
    [*((loss, r, r / 2) for loss in LOSSES for r in (0.0, 0.6)), ("hinge", 0.5, 0.0), ("relativistic", 0.0, 0.3)],
)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("solver", ["one-pass", "alternating"])
def test_the_step_equals_the_textbook_step(loss: str, r1: float, r2: float, labelled: bool, solver: str) -> None:
    g, d = pair()
    twins = copy.deepcopy((g, d))
    penalties: list[Penalty] = [gt.R1(r1), gt.R2(r2)] if r1 or r2 else []
    game = gt.GAN(g, d, loss=loss, latent=4, penalties=penalties, lr=1e-2, solver=solver)
    done = []
    for step in range(3):
        real, labels = data(step)
        done.append(game.step(real, labels if labelled else None))
    expected = written_out(*twins, loss, r1, r2, labelled, 3, at_once=solver == "one-pass")
    for mine, twin in zip(done, expected, strict=True):
        assert tuple(mine) == pytest.approx(tuple(twin), abs=1e-5)
    assert game.solver.name == solver
    for model, twin in zip((g, d), twins, strict=True):
        for (name, mine), theirs in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
            assert torch.allclose(mine.double(), theirs.double(), atol=1e-6), name


def linear_game(*penalties: Penalty) -> tuple[gt.GAN, nn.Linear]:
    torch.manual_seed(0)
    critic = nn.Linear(3, 1)
    game = gt.GAN(nn.Linear(4, 3), critic, loss="wasserstein", latent=4, penalties=penalties, lr=1e-2)
    return game, critic


@pytest.mark.parametrize("kind", [gt.R1, gt.R2])
def test_the_penalty_of_a_linear_discriminator_and_its_effect_on_the_weights(kind: type[Penalty]) -> None:
    real = torch.randn(8, 3, generator=torch.Generator().manual_seed(5))
    grads = {}
    for weight in (0.0, 0.8):
        game, critic = linear_game(kind(weight))
        w = critic.weight.detach().clone()
        done = game.step(real)
        assert done.penalty == pytest.approx(weight / 2 * float((w**2).sum()), rel=1e-6)
        grads[weight] = critic.weight.grad.clone()
    assert torch.allclose(grads[0.8] - grads[0.0], 0.8 * w, atol=1e-6)  # double backward: d/dw of weight/2 |w|^2


def test_the_discriminator_gets_no_gradient_in_the_generators_half() -> None:
    g, d = pair()
    game = gt.GAN(g, d, latent=4)
    seen = []
    game.optimizers["discriminator"].register_step_post_hook(
        lambda *_: seen.extend(p.grad.clone() for p in d.parameters() if p.grad is not None)
    )
    game.step(data(0)[0])
    assert len(seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(seen, [p.grad for p in d.body.parameters()], strict=True))
    assert d.shift.weight.grad is None
    assert all(p.grad is not None for p in g.body.parameters())
    assert all(p.requires_grad for p in d.parameters())


def test_a_frozen_part_of_the_discriminator_stays_frozen() -> None:
    g, d = pair()
    d.body[0].requires_grad_(False)
    before = d.body[0].weight.clone()
    game = gt.GAN(g, d, latent=4, lr=1e-2)
    for step in range(3):
        game.step(data(step)[0])
    assert [p.requires_grad for p in d.body.parameters()] == [False, False, True, True]
    assert torch.equal(d.body[0].weight, before)


def test_the_moving_average_by_hand_and_its_buffers() -> None:
    g, d = pair()
    game = gt.GAN(g, d, latent=4, lr=1e-2, ema=0.7)
    expected = [p.detach().clone() for p in g.parameters()]
    for step in range(4):
        game.step(data(step)[0])
        keep = min(0.7, (1 + step) / (10 + step))  # small at first: 0.1, 0.18, ...
        expected = [keep * mean + (1 - keep) * p.detach() for mean, p in zip(expected, g.parameters(), strict=True)]
    for mine, by_hand in zip(game.average.parameters(), expected, strict=True):
        assert torch.allclose(mine, by_hand, atol=1e-6)
        assert not mine.requires_grad
    assert game.average.body[1].num_batches_tracked.item() == 4
    assert torch.equal(game.average.body[1].running_mean, g.body[1].running_mean)
    assert not game.average.training
    assert g.training
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))
    sample = game.sample(5, random=torch.Generator().manual_seed(9))
    assert torch.equal(sample, game.average(z))  # samples come from the average, and not from the generator
    assert not torch.allclose(sample, copy.deepcopy(g).eval()(z))
    assert not sample.requires_grad


def test_without_averaging_the_average_is_the_generator() -> None:
    g, d = pair()
    game = gt.GAN(g, d, latent=4, ema=0.0)
    game.step(data(0)[0])
    assert all(torch.equal(a, b) for a, b in zip(game.average.parameters(), g.parameters(), strict=True))


def test_the_learning_rate_follows_a_cosine_to_zero_and_stays_there() -> None:
    g, d = pair()
    game = gt.GAN(g, d, latent=4, lr=1e-2, steps=4)
    rates = []
    for step in range(6):
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in game.optimizers.values()])
        if step == 4:
            still = copy.deepcopy(g.state_dict())
        game.step(data(step)[0])
    expected = [1e-2 * (1 + math.cos(math.pi * min(step, 4) / 4)) / 2 for step in range(6)]
    assert rates == [pytest.approx([rate, rate], abs=1e-9) for rate in expected]
    assert rates[4] == [0.0, 0.0]
    for name, value in g.named_parameters():
        assert torch.equal(value, still[name])


def test_without_decay_the_learning_rate_stays() -> None:
    game = gt.GAN(*pair(), latent=4, lr=3e-3)
    for step in range(3):
        game.step(data(step)[0])
    assert game.optimizers["generator"].param_groups[0]["lr"] == 3e-3


def test_a_game_saved_and_loaded_goes_on_bit_for_bit(tmp_path) -> None:
    def new(seed: int) -> gt.GAN:
        torch.manual_seed(seed)
        return gt.GAN(G(), D(), latent=4, penalties=[gt.R1(0.1)], lr=1e-2, steps=12)

    straight = new(0)
    for step in range(5):
        straight.step(*data(step))
    torch.save(straight.state_dict(), tmp_path / "game.pt")
    tail = [straight.step(*data(step)) for step in range(5, 10)]
    resumed = new(1)
    resumed.load_state_dict(torch.load(tmp_path / "game.pt", weights_only=True))
    assert [resumed.step(*data(step)) for step in range(5, 10)] == tail
    for mine, theirs in zip(resumed.models.values(), straight.models.values(), strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
        )
    labels = torch.tensor([0, 1, 2])
    assert torch.equal(resumed.sample(3, labels), straight.sample(3, labels))


def test_same_seed_same_samples_and_the_global_random_state_is_left_alone() -> None:
    drawn = {}
    for run, seed in enumerate((7, 7, 8)):
        game = gt.GAN(*pair(), latent=4, seed=seed)
        state = torch.get_rng_state()
        game.step(data(0)[0])
        drawn[run] = game.sample(6)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_latent_of_ones_own_is_called_with_the_number_of_samples() -> None:
    asked = []

    def latent(n: int) -> Tensor:
        asked.append(n)
        return torch.ones(n, 4)

    game = gt.GAN(*pair(), latent=latent)
    game.step(data(0, n=5)[0])
    assert game.sample(3).shape == (3, 2)
    assert asked == [5, 3]


def test_what_a_step_reports() -> None:
    game, critic = linear_game()
    real = torch.randn(8, 3, generator=torch.Generator().manual_seed(5))
    z = torch.randn(8, 4, generator=random_stream(0, "latent"))
    with torch.no_grad():
        on_real, on_fake = critic(real).mean().item(), critic(game.models["generator"](z)).mean().item()
    done = game.step(real)
    assert (done.real, done.fake) == (pytest.approx(on_real), pytest.approx(on_fake))
    assert done.discriminator == pytest.approx(on_fake - on_real)
    assert all(type(value) is float for value in done)


def test_errors_say_what_to_give() -> None:
    g, d = pair()
    with pytest.raises(InputError, match="there is no loss 'wgan': use one of minimax, nonsaturating"):
        gt.GAN(g, d, loss="wgan")
    for ema in (1.0, -0.1, math.nan):
        with pytest.raises(InputError, match=f"ema is {ema}: give a number from 0"):
            gt.GAN(g, d, ema=ema)
    with pytest.raises(InputError, match="steps is 0: give at least 1, or None"):
        gt.GAN(g, d, steps=0)


def test_a_ring_of_gaussians_is_learnt_in_all_its_modes() -> None:
    angle = torch.arange(8) * math.pi / 4
    centres = torch.stack([angle.cos(), angle.sin()], dim=1) * 2**0.5  # unit variance
    torch.manual_seed(0)

    def net(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs)
        )

    game = gt.GAN(net(8, 2), net(2, 1), latent=8, penalties=[gt.R1(0.02), gt.R2(0.02)], lr=4e-3, steps=500, ema=0.99)
    draws = torch.Generator().manual_seed(1)

    def spread() -> tuple[int, float]:
        distance = torch.cdist(game.sample(1000, random=torch.Generator().manual_seed(2)), centres)
        near, mode = distance.min(dim=1)
        close = near < 0.3
        return int((torch.bincount(mode[close], minlength=8) >= 30).sum()), float(close.double().mean())

    assert spread() == (0, 0.0)
    for _ in range(500):
        rows = torch.randint(8, (64,), generator=draws)
        game.step(centres[rows] + 0.05 * torch.randn(64, 2, generator=draws))
    modes, close = spread()
    assert modes == 8
    assert close > 0.4


def test_the_default_loss_is_the_paired_relativistic_one() -> None:
    game, critic = linear_game()
    default = gt.GAN(*pair(), latent=4)
    assert default.loss is LOSSES["relativistic"]
    r, f = torch.tensor([1.0]), torch.tensor([3.0])
    assert torch.equal(default.loss.discriminator(r, f), softplus(f - r))
    assert game.loss is LOSSES["wasserstein"]
    assert critic.weight.requires_grad
