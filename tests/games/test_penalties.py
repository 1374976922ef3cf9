"""Every penalty against brute force and by hand, and what all of them promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError
from gradtape.games import (
    ADA,
    PENALTIES,
    Consistency,
    DiffAugment,
    GradientPenalty,
    InstanceNoise,
    Judged,
    LeCam,
    Packing,
    Penalty,
    spectral_norm,
)
from gradtape.seeding import generator as random_stream
from tests.games.judging import NEEDS, Shift, batch, judged, linear, smooth


def made(name: str, *args: Any, **settings: Any) -> Penalty:
    return PENALTIES[name](*args, **NEEDS.get(name, {}), **settings)


def slope_norms(discriminator: nn.Module, points: Tensor) -> list[float]:
    """The slope at each point, by central differences."""
    found = []
    with torch.no_grad():
        for point in points.unbind():
            total = 0.0
            for element in range(point.numel()):
                step = torch.zeros(point.numel(), dtype=torch.float64)
                step[element] = 1e-5
                up, down = (discriminator((point + s * step.view_as(point))[None]).item() for s in (1, -1))
                total += ((up - down) / 2e-5) ** 2
            found.append(math.sqrt(total))
    return found


def twin(name: str, d: nn.Module, real: Tensor, fake: Tensor, random: torch.Generator) -> float:
    """The term of a penalty by its formula, sample by sample, for the first batch that it sees."""
    n = len(real)
    if name in ("r1", "r2"):
        return sum(norm**2 for norm in slope_norms(d, real if name == "r1" else fake)) / n / 2
    if name == "gradient_penalty":
        ways = torch.rand(n, 1, generator=random)
        points = torch.stack([(1 - u.double()) * x + u.double() * y for u, x, y in zip(ways, real, fake, strict=True)])
        return sum((norm - 1) ** 2 for norm in slope_norms(d, points)) / n
    if name == "dragan":
        flat = real.flatten().tolist()
        mean = sum(flat) / len(flat)
        std = math.sqrt(sum((value - mean) ** 2 for value in flat) / len(flat))
        points = real + 0.5 * std * torch.rand(real.shape, generator=random).double()
        return sum((norm - 1) ** 2 for norm in slope_norms(d, points)) / n
    with torch.no_grad():
        on_real, on_fake = ([d(x[None]).item() for x in side] for side in (real, fake))
        if name == "lecam":
            mean_real, mean_fake = sum(on_real) / n, sum(on_fake) / n
            return sum((r - mean_fake) ** 2 for r in on_real) / n + sum((f - mean_real) ** 2 for f in on_fake) / n
        assert name == "consistency"
        total = 0.0
        for side, before in ((real, on_real), (fake, on_fake)):
            noise = torch.randn(side.shape, generator=random).double()
            total += sum((b - d((x + 0.3 * e)[None]).item()) ** 2 for x, e, b in zip(side, noise, before, strict=True))
        return total / n


@pytest.mark.parametrize("name", PENALTIES)
def test_the_value_is_that_of_the_formula(name: str) -> None:
    d, (real, fake) = smooth(), batch()
    by_hand = twin(name, d, real, fake, random_stream(0, "penalty"))
    assert by_hand > 1e-4
    assert made(name, 0.7)(judged(d, real, fake)).item() == pytest.approx(0.7 * by_hand, rel=1e-6)


@pytest.mark.parametrize(("name", "at_w"), [("r1", 12.5), ("r2", 12.5), ("gradient_penalty", 16.0), ("dragan", 16.0)])
@pytest.mark.parametrize("shape", [(2,), (1, 1, 2), ()])
def test_penalties_of_a_linear_discriminator_whose_slope_is_5(name: str, at_w: float, shape: tuple[int, ...]) -> None:
    d = linear([3.0, 4.0]) if shape else linear([5.0])
    flattened = nn.Sequential(nn.Flatten() if shape else nn.Unflatten(0, (-1, 1)), d)
    real, fake = batch(6, shape)
    assert PENALTIES[name](0.5)(judged(flattened, real, fake)).item() == pytest.approx(0.5 * at_w, rel=1e-12)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_gradient_that_reaches_the_weights_is_that_of_the_value(name: str) -> None:
    d, (real, fake) = smooth(), batch()

    def value() -> Tensor:
        penalty = made(name, 0.7)
        if isinstance(penalty, LeCam):  # its averages are no function of the weights: they are held where they are
            penalty.decay = 1.0
            penalty.load_state_dict({"real": torch.tensor(1.5).double(), "fake": torch.tensor(-0.5).double()})
        return penalty(judged(d, real, fake))

    weights = [d[1].weight, d[1].bias, d[3].weight]
    for weight, grad in zip(weights, torch.autograd.grad(value(), weights), strict=True):
        assert grad.abs().max() > 1e-4
        for element in range(0, weight.numel(), 4):
            found = []
            for step in (1e-6, -2e-6):
                weight.data.view(-1)[element] += step
                found.append(value().item())
            weight.data.view(-1)[element] += 1e-6
            assert grad.reshape(-1)[element].item() == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_says_what_it_needs_and_needs_no_more(name: str) -> None:
    d, (real, fake) = smooth(), batch()
    penalty = made(name)
    assert penalty.slopes <= {"real", "fake"}
    value = penalty(judged(d, real, fake, sides=" ".join(penalty.slopes)))
    assert value.shape == ()
    before = judged(d, real, fake)
    logits = {side: logit.detach().requires_grad_() for side, logit in before.logits.items()}
    slopes = {side: slope.detach().requires_grad_() for side, slope in before.slopes.items()}
    value = made(name)(before._replace(logits=logits, slopes=slopes))
    read = [*logits.items(), *((f"slope of {side}", slope) for side, slope in slopes.items())]
    if value.requires_grad:
        grads = torch.autograd.grad(value, [leaf for _, leaf in read], allow_unused=True)
        used = {side for (side, _), grad in zip(read, grads, strict=True) if grad is not None}
    assert {f"slope of {side}" for side in penalty.slopes} == {side for side in used if side.startswith("slope")}
    assert penalty.fakes == any("fake" in side for side in used)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_mean_of_lazy_terms_over_a_cycle_is_the_plain_term(name: str) -> None:
    d, (real, fake) = smooth(), batch()
    plain = made(name, 0.7)(judged(d, real, fake)).item()
    lazy = made(name, 0.7, every=4)
    due = [position for position in range(12) if lazy.due(position)]
    assert due == [0, 4, 8]
    terms = [lazy(judged(d, real, fake, position)).item() for position in due]
    assert sum(terms) / 12 == pytest.approx(plain, rel=1e-12)
    assert all(made(name).due(position) for position in range(5))


@pytest.mark.parametrize("name", PENALTIES)
def test_a_weight_follows_its_schedule_and_zero_weighs_nothing(name: str) -> None:
    d, (real, fake) = smooth(), batch()
    fading = made(name, gt.schedules.linear(2.0, 0.0, total_steps=10))
    one = made(name, 1.0)(judged(d, real, fake)).item()
    found = [fading(judged(d, real, fake, position)).item() for position in (0, 3, 10, 99)]
    assert found == pytest.approx([2 * one, 1.4 * one, 0.0, 0.0], rel=1e-12)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_saved_and_loaded_gives_the_same_next_value(name: str, tmp_path: Any) -> None:
    d, penalty, resumed = smooth(), made(name, 0.7), made(name, 0.7)
    for position in range(3):
        penalty(judged(d, *batch(seed=position), position))
    torch.save(penalty.state_dict(), tmp_path / "penalty.pt")
    tail = [penalty(judged(d, *batch(seed=position), position)).item() for position in (3, 4)]
    resumed.load_state_dict(torch.load(tmp_path / "penalty.pt", weights_only=True))
    assert [resumed(judged(d, *batch(seed=position), position)).item() for position in (3, 4)] == tail


@pytest.mark.parametrize("name", PENALTIES)
def test_only_the_given_stream_is_drawn_from(name: str) -> None:
    d, (real, fake) = smooth(), batch()
    state = torch.get_rng_state()
    values = [made(name)(judged(d, real, fake, seed=seed)).item() for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert values[0] == values[1]
    assert (values[0] != values[2]) == (name in ("gradient_penalty", "dragan", "consistency"))


@pytest.mark.parametrize("name", PENALTIES)
def test_settings_out_of_range_are_refused(name: str) -> None:
    kind = PENALTIES[name].__name__
    for weight in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match=f"the weight of {kind} is {weight}: give a finite number from 0 up"):
            made(name, weight)
    for every in (0, -3, 1.5):
        with pytest.raises(InputError, match=f"every of {kind} is {every}: give a whole number from 1 up"):
            made(name, every=every)
    sinking = made(name, gt.schedules.linear(1.0, -1.0, total_steps=4))
    with pytest.raises(InputError, match=f"the weight of {kind} at position 3 of its schedule is -0.5"):
        sinking(judged(smooth(), *batch(), position=3))


def test_defaults_and_how_penalties_print() -> None:
    assert [repr(made(name)) for name in PENALTIES] == [
        "R1(0.1)",
        "R2(0.1)",
        "GradientPenalty(10.0)",
        "DRAGAN(10.0)",
        "LeCam(0.1, decay=0.99)",
        "Consistency(10.0, view=InstanceNoise(0.3))",
    ]
    assert repr(gt.R1(0.5, every=16)) == "R1(0.5, every=16)"
    assert repr(gt.R1(0.5)) == "R1(0.5)"


def test_interpolates_lie_between_the_samples_of_a_pair() -> None:
    seen = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.sum((1, 2))

    real, fake = torch.zeros(500, 2, 3), torch.arange(1.0, 501.0).reshape(-1, 1, 1).expand(500, 2, 3)
    GradientPenalty()(judged(Watching(), real, fake))
    ways = seen[-1] / fake
    assert torch.allclose(ways, ways[:, :1, :1].expand_as(ways), rtol=1e-5)  # one point per pair
    assert (ways.min().item(), ways.max().item()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert ways.mean().item() == pytest.approx(0.5, abs=0.05)
    with pytest.raises(
        InputError, match=r"pairs real samples of shape \(500, 2, 3\) with generated ones of .*\(7, 2, 3\)"
    ):
        GradientPenalty()(judged(Watching(), real, fake[:7]))


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_a_flat_discriminator_costs_1_and_leaves_no_nan_behind(name: str) -> None:
    d = linear([0.0, 0.0])
    value = PENALTIES[name](1.0)(judged(d, *batch(4, (2,))))
    value.backward()
    assert value.item() == 1.0
    assert torch.equal(d[0].weight.grad, torch.zeros(1, 2))


def test_lecams_averages_by_hand() -> None:
    penalty = LeCam(2.0, decay=0.75)

    def step(real: list[float], fake: list[float]) -> float:
        logits = {"real": torch.tensor(real), "fake": torch.tensor(fake)}
        return penalty(Judged(lambda x: x, *logits.values(), logits, {}, 0, torch.Generator())).item()

    assert all(math.isnan(value) for value in penalty.state_dict().values())
    # a_R = 2, a_F = -1: mean of (1 + 1)^2, (3 + 1)^2 and mean of (-1 - 2)^2, (-1 - 2)^2
    assert step([1.0, 3.0], [-1.0, -1.0]) == pytest.approx(2 * (10 + 9))
    # a_R = 0.75 * 2 + 0.25 * 6 = 3, a_F = -0.75 + 0.25 * 3 = 0
    assert step([6.0, 6.0], [3.0, 3.0]) == pytest.approx(2 * (36 + 0))
    assert [value.item() for value in penalty.state_dict().values()] == [3.0, 0.0]
    assert math.isinf(step([math.inf, 0.0], [3.0, 3.0]))  # this batch is lost, and the averages are not
    assert [value.item() for value in penalty.state_dict().values()] == [3.0, 0.75]
    with pytest.raises(InputError, match="the decay of LeCam is 1.0: give a number from 0 up to, and without, 1"):
        LeCam(decay=1.0)


def test_lecams_averages_are_no_function_of_the_weights() -> None:
    logits = {
        "real": torch.tensor([1.0, 4.0], requires_grad=True),
        "fake": torch.tensor([0.0, -2.0], requires_grad=True),
    }
    value = LeCam(3.0, decay=0.5)(Judged(lambda x: x, *logits.values(), logits, {}, 0, torch.Generator()))
    real, fake = torch.autograd.grad(value, list(logits.values()))
    assert real.tolist() == [3 * (1 + 1), 3 * (4 + 1)]  # 3 * 2 * (D(x) - a_F) / 2, with a_F = -1
    assert fake.tolist() == [3 * (0 - 2.5), 3 * (-2 - 2.5)]


def test_lecams_averages_move_at_half_precision() -> None:
    penalty = LeCam(1.0, decay=0.999)
    for mean in (100.0, 101.0):
        logits = {side: torch.full((4,), mean, dtype=torch.bfloat16) for side in ("real", "fake")}
        penalty(Judged(lambda x: x, *logits.values(), logits, {}, 0, torch.Generator()))
    assert penalty.state_dict()["real"].item() == pytest.approx(100.001, abs=1e-4)


def test_the_consistency_of_a_linear_discriminator() -> None:
    d, (real, fake) = linear([3.0, 4.0]), batch(5, (2,))
    # each view moves a logit by 0.5 * (3 + 4), on either side
    assert Consistency(2.0, view=Shift(0.5))(judged(d, real, fake)).item() == pytest.approx(2 * (3.5**2 + 3.5**2))
    assert Consistency(2.0, view=Shift(0.0))(judged(d, real, fake)).item() == 0.0


def test_the_view_of_consistency_follows_the_games_steps_and_looks_at_the_logits() -> None:
    d, (real, fake) = linear([1.0]), batch(5, (1,))
    fading = Consistency(1.0, view=InstanceNoise(gt.schedules.linear(1.0, 0.0, total_steps=10)), every=5)
    assert fading(judged(d, real, fake, 5)).item() > 0.1
    assert fading(judged(d, real, fake, 10)).item() == 0.0
    adaptive = Consistency(1.0, view=ADA(horizon=40))
    images = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0)).double()
    nn.init.zeros_(images[1].weight)
    nn.init.ones_(images[1].bias)
    for position in range(4):
        adaptive(judged(images, *batch(2, (1, 4, 4)), position))
    assert adaptive.view.p == pytest.approx(8 / 40)
    assert adaptive.state_dict()["view"]["p"].item() == pytest.approx(8 / 40)


def test_consistency_refuses_points_without_a_view_for_them_and_a_view_that_packs() -> None:
    assert repr(Consistency()) == f"Consistency(10.0, view={DiffAugment(('translation', 'cutout'))!r})"
    with pytest.raises(InputError, match=r"samples of shape \(8, 3\) are no images: .*InstanceNoise"):
        Consistency()(judged(smooth(), *batch()))
    with pytest.raises(InputError, match=r"the view of Consistency is Packing\(2\), which makes one sample of several"):
        Consistency(view=Packing(2))


def test_spectral_norm_brings_every_largest_singular_value_to_1() -> None:
    torch.manual_seed(0)
    d = nn.ModuleDict(
        {
            "linear": nn.Linear(5, 7),
            "conv": nn.Conv2d(2, 3, 3),
            "up": nn.ConvTranspose1d(2, 3, 3),
            "labels": nn.Embedding(4, 6),
            "norm": nn.LayerNorm(3),
            "deep": nn.Sequential(nn.Linear(4, 4, bias=False)),
        }
    )
    layers = [d["linear"], d["conv"], d["up"], d["labels"], d["deep"][0]]
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(5)
    before = [layer.weight.detach().clone() for layer in layers]
    state = torch.get_rng_state()
    assert spectral_norm(d) is d
    assert torch.equal(torch.get_rng_state(), state)
    for _ in range(300):
        for layer in layers:
            _ = layer.weight
    for layer, raw in zip(layers, before, strict=True):
        matrix = raw.transpose(0, 1).flatten(1) if layer is d["up"] else raw.flatten(1)
        assert torch.allclose(layer.weight, raw / torch.linalg.matrix_norm(matrix, 2), rtol=1e-4)
    assert d["norm"].weight.tolist() == [1.0] * 3
    names = list(d.state_dict())
    assert list(spectral_norm(d).state_dict()) == names  # normalised once is enough
    assert len([name for name in names if name.endswith("_u")]) == 5


def test_spectral_norm_begins_the_same_for_the_same_seed() -> None:
    def beginning(seed: int, elsewhere: int) -> Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(9, 9)
        torch.manual_seed(elsewhere)  # where the global stream is does not matter
        return spectral_norm(layer, seed).parametrizations.weight[0]._v

    assert torch.equal(beginning(0, 1), beginning(0, 2))
    assert not torch.equal(beginning(0, 1), beginning(1, 1))
