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


def test_two_time_scales_and_a_rate_changed_by_hand_lasts() -> None:
    game = gt.GAN(*pair(), latent=4, lr=(1e-3, 4e-3), steps=10)
    rates = [game.optimizers[name].param_groups[0] for name in ("generator", "discriminator")]
    assert [group["lr"] for group in rates] == [1e-3, 4e-3]
    for step in range(5):
        game.step(data(step)[0])
    assert [group["lr"] for group in rates] == [pytest.approx(5e-4), pytest.approx(2e-3)]
    rates[1]["lr"] *= 0.1
    for step in range(5, 8):
        game.step(data(step)[0])
    left = (1 + math.cos(math.pi * 0.8)) / 2
    assert [group["lr"] for group in rates] == [pytest.approx(1e-3 * left), pytest.approx(4e-4 * left)]


def test_the_second_beta_may_follow_a_schedule() -> None:
    game = gt.GAN(*pair(), latent=4, betas=(0.0, gt.schedules.linear(0.9, 0.99, total_steps=3)))
    seen = []
    for step in range(5):
        seen.append(game.optimizers["generator"].param_groups[0]["betas"])
        game.step(data(step)[0])
    assert seen == [(0.0, pytest.approx(beta)) for beta in (0.9, 0.93, 0.96, 0.99, 0.99)]


def test_the_default_penalties_follow_a_cosine_over_three_quarters_of_the_planned_steps() -> None:
    weights = [[penalty.weight_at(at) for penalty in gt.GAN(*pair(), steps=16).penalties] for at in (0, 6, 12, 99)]
    assert weights == [[pytest.approx(w)] * 2 for w in (0.5, 0.25025, 0.0005, 0.0005)]
    assert [type(penalty) for penalty in gt.GAN(*pair()).penalties] == [gt.R1, gt.R2]
    assert [penalty.weight for penalty in gt.GAN(*pair()).penalties] == [0.1, 0.1]
    assert gt.GAN(*pair(), penalties=[]).penalties == ()


@pytest.mark.parametrize("solver", ["one-pass", "alternating"])
def test_a_generator_that_moves_at_every_third_step(solver: str) -> None:
    g, d = pair()
    game = gt.GAN(g, d, latent=4, generator_every=3, solver=solver, ema=0.5)
    moved, followed, weights, average = [], [], g.body[0].weight.clone(), game.average.body[0].weight.clone()
    for step in range(7):
        before = d.body[0].weight.clone()
        game.step(data(step)[0])
        assert not torch.equal(before, d.body[0].weight)
        moved.append(not torch.equal(weights, g.body[0].weight))
        followed.append(not torch.equal(average, game.average.body[0].weight))
        weights, average = g.body[0].weight.clone(), game.average.body[0].weight.clone()
    assert moved == followed == [True, False, False, True, False, False, True]


def test_looking_ahead_equals_the_unrolled_discriminator_written_out() -> None:
    torch.manual_seed(0)
    g, d = nn.Linear(4, 2), nn.Linear(2, 1)
    game = gt.GAN(g, d, latent=4, loss="nonsaturating", unroll=2, penalties=[], lr=0.5)
    for optimizer, model in (("discriminator", d), ("generator", g)):
        game.optimizers[optimizer] = torch.optim.SGD(model.parameters(), lr=0.5)
    twin_g, twin_d = copy.deepcopy((g, d))
    real, z = data(0)[0], torch.randn(16, 4, generator=random_stream(0, "latent"))
    game.step(real)

    fake = twin_g(z)
    loss = (softplus(-twin_d(real)) + softplus(twin_d(fake.detach()))).mean()
    w, b = (
        p - 0.5 * s
        for p, s in zip(twin_d.parameters(), torch.autograd.grad(loss, list(twin_d.parameters())), strict=True)
    )
    w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
    for _ in range(2):
        total = (softplus(-(real @ w.T + b)) + softplus(fake @ w.T + b)).mean()
        slopes = torch.autograd.grad(total, (w, b), create_graph=True)
        w, b = w - 0.5 * slopes[0], b - 0.5 * slopes[1]
    expected = torch.autograd.grad(softplus(-(fake @ w.T + b)).mean(), list(twin_g.parameters()))
    for parameter, start, slope in zip(g.parameters(), twin_g.parameters(), expected, strict=True):
        assert torch.allclose(parameter, start - 0.5 * slope, atol=1e-6)


def test_unrolling_steps_as_far_as_adam_would() -> None:
    """After a first step Adam's second moment is the gradient squared: an unrolled step moves by about the rate."""
    torch.manual_seed(0)
    g, d = nn.Linear(4, 2), nn.Linear(2, 1)
    game = gt.GAN(g, d, latent=4, loss="wasserstein", unroll=3, penalties=[], lr=(0.0, 1e-2), betas=(0.0, 0.99))
    real = data(0)[0]
    for _ in range(2):
        game._random["latent"].manual_seed(1)
        done = game.step(real)
    z = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        slope = (g(z).mean(0) - real.mean(0)).sign()  # Wasserstein's gradient is the same at every step
        ahead = d.weight - 3 * 1e-2 * slope
        expected = -(g(z) @ ahead.T + d.bias).mean()
    assert done.generator == pytest.approx(float(expected), abs=1e-5)


def test_attributes_as_a_condition_and_what_conditions_do_not_go_with() -> None:
    class WithAttributes(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.body = nn.Linear(inputs + 2, outputs)

        def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
            return self.body(torch.cat([x, attributes], dim=1))

    game = gt.GAN(WithAttributes(4, 2), WithAttributes(2, 1), latent=4)
    game.step(data(0)[0], torch.rand(16, 2))
    told = torch.rand(2500, 2)
    assert game.sample(2500, told).shape == (2500, 2)
    z = torch.randn(2500, 4, generator=torch.Generator().manual_seed(9))
    drawn = game.sample(2500, told, torch.Generator().manual_seed(9))
    assert torch.allclose(drawn, game.average(z, told), atol=1e-6)  # in chunks, each with its own conditions
    with pytest.raises(InputError, match="16 samples and a condition of length 3: give one for each sample"):
        game.step(data(0)[0], torch.rand(3, 2))
    with pytest.raises(InputError, match="5 samples are asked for and the condition has length 3"):
        game.sample(5, torch.rand(3, 2))
    with pytest.raises(InputError, match="Packing judges several samples at once and each has a condition"):
        gt.GAN(G(), D(), latent=4, views=[gt.Packing(2)]).step(*data(0))


def test_what_does_not_fit_is_said_before_anything_moves() -> None:
    g, d = pair()
    before = copy.deepcopy((g.state_dict(), d.state_dict()))
    real = data(0)[0]
    with pytest.raises(InputError, match=r"the batch of shape \(0, 2\) is empty: leave such samples out"):
        gt.GAN(g, d, latent=4).step(real[:0])
    with pytest.raises(InputError, match=r"the batch is of torch.int64: give floats, such as images divided by 255"):
        gt.GAN(g, d, latent=4).step(real.long())
    real[3, 1] = math.nan
    with pytest.raises(InputError, match=r"the batch of shape \(16, 2\) holds values that are not finite"):
        gt.GAN(g, d, latent=4).step(real)
    real = data(0)[0]
    with pytest.raises(InputError, match=r"the generator does not take latents of shape \(16, 64\) \(mat1 and mat2"):
        gt.GAN(g, d).step(real)
    with pytest.raises(InputError, match=r"the generator makes \(16, 2\) and the batch has \(16, 3\)"):
        gt.GAN(g, d, latent=4).step(torch.randn(16, 3))
    with pytest.raises(InputError, match=r"the discriminator gives shape \(16, 2\) for 16 samples: let it give one"):
        gt.GAN(g, nn.Linear(2, 2), latent=4).step(real)
    with pytest.raises(InputError, match="DiffAugment shows images, and samples of shape"):
        gt.GAN(g, d, latent=4, views=[gt.DiffAugment()]).step(real)
    with pytest.raises(InputError, match="Packing is not the last of the views: put it at the end"):
        gt.GAN(g, d, latent=4, views=[gt.Packing(2), gt.InstanceNoise(0.1)])
    for settings, said in (
        ({"solver": "both"}, "there is no solver 'both': use auto, one-pass or alternating"),
        ({"latent": 0}, "latent is 0: give the size of z"),
        ({"generator_every": 0}, "unroll is 0 and generator_every is 0: give unroll from 0 up"),
        ({"lr": -1.0}, "lr is -1.0: give a number from 0 up"),
        ({"lr": (1e-3,)}, r"lr is \(0.001,\): give a number from 0 up, or one for each player"),
        ({"betas": (0.0, 1.0)}, r"betas are \(0.0, 1.0\): give two numbers"),
    ):
        with pytest.raises(InputError, match=said):
            gt.GAN(g, d, **settings)
    with pytest.raises(InputError, match="the generator has no parameter to train: set requires_grad on some"):
        gt.GAN(nn.Identity(), d)
    after = g.state_dict(), d.state_dict()
    for one, other in zip(before, after, strict=True):
        buffers = {name for name in one if "running" in name or "num_batches" in name}
        assert all(torch.equal(one[name], other[name]) for name in one if name not in buffers)


def test_judging_leaves_the_discriminator_as_it_is() -> None:
    d = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    game = gt.GAN(G(), d, latent=4, views=[gt.InstanceNoise(5.0)])
    x = data(0)[0]
    logits = game.judge(x)
    assert torch.equal(logits, game.judge(x))
    assert torch.equal(logits, d.eval()(x).squeeze(1))
    d.train()
    game.judge(x)
    assert d.training
    assert not logits.requires_grad


def test_views_follow_the_game_and_are_in_its_state(tmp_path) -> None:
    def new() -> gt.GAN:
        torch.manual_seed(0)
        views = [gt.InstanceNoise(gt.schedules.linear(1.0, 0.0, total_steps=8))]
        return gt.GAN(G(), D(), latent=4, views=views, penalties=[gt.LeCam(0.1)], steps=8)

    straight = new()
    for step in range(3):
        straight.step(data(step)[0])
    torch.save(straight.state_dict(), tmp_path / "game.pt")
    tail = [straight.step(data(step)[0]) for step in range(3, 6)]
    resumed = new()
    resumed.load_state_dict(torch.load(tmp_path / "game.pt", weights_only=True))
    assert (resumed.position, resumed.views[0].position, resumed.solver) == (3, 3, straight.solver)
    assert [resumed.step(data(step)[0]) for step in range(3, 6)] == tail


def test_half_precision_gives_nearly_the_same_step() -> None:
    found = {}
    for kind in (None, torch.bfloat16):
        game = gt.GAN(*pair(), latent=4, autocast=kind, penalties=[], lr=0.0)
        found[kind] = game.step(data(0)[0])
        assert game.solver.name == "one-pass"
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in game.models["generator"].body.parameters())
    assert tuple(found[torch.bfloat16]) == pytest.approx(tuple(found[None]), abs=0.02)
    assert tuple(found[torch.bfloat16]) != tuple(found[None])


@pytest.mark.parametrize(("loss", "relative"), [("relativistic", True), ("nonsaturating", False)])
def test_adaptive_views_are_told_what_a_logit_means(loss: str, relative: bool) -> None:
    seen = []

    class Watching(gt.InstanceNoise):
        def observe(self, real_logits: Tensor) -> None:
            seen.append(real_logits)

    g, d = pair()
    game = gt.GAN(g, d, latent=4, loss=loss, views=[Watching(0.0)], lr=0.0)
    real = data(0)[0]
    done = game.step(real)
    with torch.no_grad():
        logits = d(real).squeeze(1)
    if relative:
        assert float(seen[0].mean()) == pytest.approx(done.real - done.fake, abs=1e-6)
    else:
        assert torch.allclose(seen[0], logits, atol=1e-6)
