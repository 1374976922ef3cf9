"""Inversion against known inputs, figures worked out by hand, and twins."""

from typing import Any

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError, TapeError
from tests.tape.test_record import small_cnn


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def roughness(x: torch.Tensor) -> torch.Tensor:
    return x.diff(dim=-1).abs().mean((1, 2, 3)) + x.diff(dim=-2).abs().mean((1, 2, 3))


def doubled(x: torch.Tensor) -> gt.Tape:
    return gt.record(lambda x: x * 2, x)


@pytest.mark.parametrize("parameterisation", ["pixels", "fourier"])
def test_an_invertible_map_gives_the_known_input(parameterisation: Any) -> None:
    torch.manual_seed(0)
    mix, goal = nn.Conv2d(3, 3, 1), random(2, 3, 5, 4)
    tape = gt.record(mix, torch.full((2, 3, 5, 4), 0.5))
    found = tape.invert(
        "conv2d_1", mix(goal).detach(), steps=900, lr=0.01, parameterisation=parameterisation, bounds=(0, 1)
    )
    assert torch.allclose(found.input, goal, atol=0.02)
    assert (found.missing < 1e-4).all()


def test_a_reachable_value_of_a_network_is_reached() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))
    goal = torch.rand(3, 6)
    found = gt.record(model, torch.zeros(3, 6)).invert("1", model[:2](goal).detach(), steps=400, lr=0.02)
    assert (found.missing < 1e-4).all()
    assert torch.allclose(found.input, goal, atol=0.02)


def test_missing_is_the_share_that_is_left_of_each_sample() -> None:
    start = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    wanted = torch.tensor([[2.0, 2.0], [2.0, 2.0], [4.0, 8.0]])  # as x * 2, the second is there already
    found = doubled(start).invert("mul_1", wanted, steps=1, lr=0.25)
    assert torch.allclose(found.input, torch.tensor([[0.25, 0.25], [1.0, 1.0], [2.75, 3.25]]))
    assert torch.allclose(found.missing, torch.tensor([0.75**2, 0.0, (1.5**2 + 1.5**2) / (2**2 + 2**2)]))


def test_the_best_is_kept_for_each_sample_not_the_last() -> None:
    start = torch.tensor([[0.0], [5.0]])  # steps of 4: good for the second, worse than nothing for the first
    found = doubled(start).invert("mul_1", torch.tensor([[2.0], [2.0]]), steps=1, lr=4.0)
    assert torch.allclose(found.input, torch.tensor([[0.0], [1.0]]))
    assert torch.allclose(found.missing, torch.tensor([1.0, 0.0]), atol=1e-6)
    # one number for all: the batch stays together, 4 and 1 instead of 0 and 1
    found = doubled(start).invert("mul_1", lambda value: (value - 2).square().sum(), steps=1, lr=4.0)
    assert torch.allclose(found.input, torch.tensor([[4.0], [1.0]]))
    assert found.missing.shape == ()
    assert found.missing.item() == pytest.approx(36)


@pytest.mark.parametrize(("training", "statistics"), [(True, 0.0), (False, 1.0)])
def test_samples_that_depend_on_one_another_stay_together(training: bool, statistics: float) -> None:
    tape = gt.record(nn.BatchNorm1d(1, affine=False).train(training), random(4, 1))
    wanted, met = torch.tensor([[5.0], [-2.0], [1.0], [0.0]]), []

    def objective(value: torch.Tensor) -> torch.Tensor:
        met.append(value.detach())
        return (value - wanted).square().sum(1)

    found = tape.invert("batch_norm_1", objective, steps=12, lr=0.8, statistics=statistics)
    yielded = tape.replay({"input": found.input}).output
    assert any(torch.allclose(yielded, value) for value in met[:-1])  # a batch that was met, not one put together
    assert found.missing.mean() < (tape.output - wanted).square().mean()


def test_what_is_not_finite_is_never_the_best() -> None:
    start = torch.tensor([[1.0], [3.0]])
    found = doubled(start).invert("mul_1", lambda value: value.sum(1).log(), steps=5, lr=0.9)  # nan below 0
    assert torch.allclose(found.input[0], torch.tensor([0.1]))  # its second step is
    assert 0 < found.input[1] < 1.3
    assert torch.allclose(found.missing, (2 * found.input[:, 0]).log())
    found = doubled(start).invert(
        "mul_1", lambda value: torch.where(value < 1, -torch.inf, value).sum(1), steps=5, lr=0.9
    )
    assert (found.input >= 0.5).all()
    assert torch.allclose(found.missing, 2 * found.input[:, 0])
    with pytest.raises(InputError, match="node 'mul_1' is not finite at the start"):
        doubled(-start).invert("mul_1", lambda value: value.sum(1).log())
    with pytest.raises(InputError, match="not finite at the start"):
        doubled(start).invert("mul_1", torch.full((2, 1), torch.nan))


def test_an_objective_finds_what_a_channel_responds_to() -> None:
    filters = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular", bias=False)
    filters.weight.data = torch.tensor([[[[0.0, 0, 0], [-1, 1, 0], [0, 0, 0]]], [[[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]]])
    tape = gt.record(filters, random(2, 1, 6, 6))
    edges = tape.invert("conv2d_1", lambda value: -value[:, 0].square().mean((1, 2)), steps=80, bounds=(0, 1))
    bright = tape.invert("conv2d_1", lambda value: -value[:, 1].mean((1, 2)), steps=80, bounds=(0, 1))
    assert torch.allclose(bright.input, torch.ones(2, 1, 6, 6))
    assert torch.allclose(bright.missing, -torch.ones(2))
    assert (edges.missing < -0.6).all()  # -1 are stripes of 0 and 1; the noise at the start has about -1/6
    assert torch.allclose(edges.missing, -(edges.input - edges.input.roll(1, 3)).square().mean((1, 2, 3)))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (6, 9), (1, 1)])
@pytest.mark.parametrize("parameterisation", ["pixels", "fourier"])
def test_it_starts_at_the_recorded_input(parameterisation: Any, size: tuple[int, int]) -> None:
    x, met = random(2, 3, *size), []

    def wanted(value: torch.Tensor) -> torch.Tensor:
        met.append(value.detach() / 2)
        return value.square().mean((1, 2, 3))

    doubled(x).invert("mul_1", wanted, steps=1, parameterisation=parameterisation)
    assert torch.allclose(met[0], x, atol=1e-5)
    assert not torch.allclose(met[1], x, atol=1e-3)


def test_a_fourier_step_is_the_one_worked_out() -> None:
    x, lr = torch.zeros(1, 1, 3, 4), 0.01
    pattern = torch.tensor([[1.0, 2, 0, 0], [0, 0, -3, 0], [0, 1, 0, 0]], dtype=torch.float64)
    found = doubled(x).invert(
        "mul_1", lambda v: -(v * pattern).sum((1, 2, 3)), steps=1, lr=lr, parameterisation="fourier"
    )
    # frequencies at or below 1/4 count as 1/4; the spectrum of 12 numbers is written out, its mirrored half included
    frequency = [[(min(i, 3 - i) ** 2 / 9 + min(j, 4 - j) ** 2 / 16) ** 0.5 for j in range(4)] for i in range(3)]
    weight = 1 / torch.tensor(frequency, dtype=torch.float64).clamp(min=0.25)
    weight /= (2 * (weight**2).mean()).sqrt()
    step = torch.zeros(3, 4, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            turn = torch.tensor([[2 * torch.pi * (i * a / 3 + j * b / 4) for b in range(4)] for a in range(3)])
            share = (2 if j == 1 else 1) / 12**0.5 * weight[i, j]  # column 3 is the mirror of column 1
            for wave in (turn.double().cos(), -turn.double().sin()):  # real and imaginary part: Adam moves each by lr
                slope = (wave * pattern).sum()
                step += lr * slope.sign() * (slope.abs() > 1e-6) * share * wave
    assert torch.allclose(found.input[0, 0].double(), step, atol=1e-6)


def test_a_fourier_step_moves_pixels_by_the_lr_in_root_mean_square() -> None:
    for size in ((32, 32), (17, 40)):
        x, slope = torch.zeros(4, 3, *size), torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(0))
        tape = gt.record(lambda x, slope=slope: x * slope, x)
        found = tape.invert("mul_1", lambda v: -v.sum((1, 2, 3)), steps=1, lr=0.05, parameterisation="fourier")
        assert found.input.square().mean().sqrt().item() == pytest.approx(0.05, rel=0.1)
        assert (roughness(found.input) < 0.7 * 0.1).all()  # a step of the pixels themselves has 0.1


def test_the_shifts_are_in_range_seeded_and_only_for_the_gradient() -> None:
    mark = torch.zeros(1, 1, 9, 9)
    mark[..., 4, 4] = 1

    def shifts(**settings: Any) -> tuple[list[tuple[int, int]], bytes]:
        seen = []

        def wanted(value: torch.Tensor) -> torch.Tensor:
            if value.requires_grad:
                seen.append(tuple(int(place) - 4 for place in divmod(int(value.argmax()), 9)))
            else:
                assert int(value.argmax()) == 40  # what is judged is not shifted
            return (value - 2).square().mean((1, 2, 3)) * 1e-3

        found = doubled(mark).invert("mul_1", wanted, lr=1e-4, **settings)
        return seen, found.input.numpy().tobytes()

    first, values = shifts(steps=80, jitter=2, seed=3)
    assert {down for down, _ in first} == {across for _, across in first} == {-2, -1, 0, 1, 2}
    assert len(set(first)) > 15  # of 25: down and across are drawn apart
    assert shifts(steps=80, jitter=2, seed=3) == (first, values)
    assert shifts(steps=80, jitter=2, seed=4)[0] != first
    assert set(shifts(steps=5, jitter=0)[0]) == {(0, 0)}


def test_no_jitter_is_as_without_and_jitter_makes_the_gradient_that_of_the_shifted() -> None:
    x, slope = torch.zeros(1, 1, 4, 4), random(1, 1, 4, 4) - 0.5
    tape = gt.record(lambda x: x * slope, x)
    plain = tape.invert("mul_1", lambda v: v.sum((1, 2, 3)), steps=3)
    assert torch.equal(tape.invert("mul_1", lambda v: v.sum((1, 2, 3)), steps=3, jitter=0, seed=9).input, plain.input)
    steps = [-0.05 * slope.roll((down, across), (2, 3)).sign() for down in (-1, 0, 1) for across in (-1, 0, 1)]
    for seed in range(5):
        found = tape.invert("mul_1", lambda v: v.sum((1, 2, 3)), steps=1, jitter=1, seed=seed)
        met = [step for step in [*steps, x] if torch.allclose(found.input, step, atol=1e-5)]
        assert met  # a step against the gradient of one shift, or none where that is no gain
        assert torch.allclose(found.missing, (found.input * slope).sum((1, 2, 3)))
        assert found.missing <= 0


def test_the_best_is_judged_without_a_shift() -> None:
    board = torch.tensor([1.0, -1.0, 1.0, -1.0])
    slope = (board[:, None] * board).reshape(1, 1, 4, 4)  # shifted by one, everything is the other way round
    tape = gt.record(lambda x: x * slope, torch.zeros(1, 1, 4, 4))
    found = [tape.invert("mul_1", lambda v: v.sum((1, 2, 3)), steps=steps, jitter=1, seed=5) for steps in range(1, 30)]
    costs = [each.missing.item() for each in found]
    assert costs == sorted(costs, reverse=True)  # the same way, of which more and more is seen
    assert costs[-1] < costs[0] <= 0


@pytest.mark.parametrize(
    "settings", [{}, {"parameterisation": "fourier"}, {"parameterisation": "fourier", "jitter": 2}]
)
def test_bounds_always_hold(settings: Any) -> None:
    x, met = random(3, 1, 7, 8) * 2 - 0.5, []  # the recorded input is not within them itself

    def wanted(value: torch.Tensor) -> torch.Tensor:
        met.append(value.detach() / 2)
        return -value.square().mean((1, 2, 3))

    found = doubled(x).invert("mul_1", wanted, steps=8, lr=0.3, bounds=(0.0, 1.0), **settings)
    assert 0 <= found.input.min() <= found.input.max() <= 1
    assert all(value.min() > -1e-5 and value.max() < 1 + 1e-5 for value in met)
    assert found.missing.mean() < -2  # and it got somewhere: -1.7 is the start, -4 the end


def test_smoothness_is_the_total_variation() -> None:
    x, wanted = random(2, 1, 6, 6), random(2, 1, 6, 6, seed=2) * 2
    tape = doubled(x)
    free, smooth = (tape.invert("mul_1", wanted, steps=60, smoothness=weight) for weight in (0.0, 3.0))
    assert (roughness(smooth.input) < 0.7 * roughness(free.input)).all()
    assert (free.missing < smooth.missing).all()
    # of a ramp only the two ends can make it shorter, and Adam's first step has the sign of the slope
    ramp, step = torch.arange(4.0).reshape(1, 1, 1, 4), torch.tensor([0.1, 0.0, 0.0, -0.1]).reshape(1, 1, 1, 4)
    for start, moved in ((ramp, step), (ramp.mT, step.mT)):
        found = doubled(start).invert("mul_1", lambda v: v.sum((1, 2, 3)) * 0, steps=1, lr=0.1, smoothness=1.0)
        assert torch.allclose(found.input - start, moved, atol=1e-5)


class Normed(nn.Module):
    """Two batch norms, of which one leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.aside = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        for layer, mean, variance in (
            (self.first, 1.0, [4.0, 2.0]),
            (self.second, 0.0, [9.0, 9.0]),
            (self.aside, 50.0, [1.0, 1.0]),
        ):
            layer.running_mean.fill_(mean)
            layer.running_var.copy_(torch.tensor(variance))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.aside(x)
        return self.second(self.first(x) * 3)


@torch.no_grad()
def strangeness(model: Normed, x: torch.Tensor) -> float:
    """The formula, channel by channel, with the numbers of this model."""
    incoming, gaps = {model.first: x, model.second: model.first(x) * 3}, []
    for layer, value in incoming.items():
        for channel in range(2):
            numbers = value[:, channel].flatten()
            m, v = layer.running_mean[channel], layer.running_var[channel]
            mean = numbers.mean()
            variance = ((numbers - mean) ** 2).mean()
            gaps.append((mean - m) ** 2 / (v + 1e-5) + ((variance - v) / (v + 1e-5)) ** 2)
    return float(sum(gaps)) / 4


@pytest.mark.parametrize("as_context", [False, True])
def test_the_statistics_term_is_the_one_worked_out_and_leads_to_the_running_ones(as_context: bool) -> None:
    model, x = Normed().eval(), torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    if as_context:  # there the running statistics are recorded values
        with gt.Tape(keep=gt.select.nothing) as tape:
            model(x)
    else:
        tape = gt.record(model, x)
    source, node = ("input", "batch_norm_3")

    def lowest(statistics: float, level: float) -> bool:
        """Whether leaving the start is a gain when the objective takes ``level`` for it."""
        moved = torch.zeros(())

        def wanted(value: torch.Tensor) -> torch.Tensor:
            nonlocal moved
            moved = moved + 1
            return (moved > 1) * level + 0 * value.sum()

        return not torch.equal(
            tape.invert(node, wanted, source=source, steps=1, lr=0.01, statistics=statistics).input, x
        )

    step = tape.invert(node, lambda value: 0 * value.sum(), source=source, steps=1, lr=0.01, statistics=1.0).input
    gain = strangeness(model, x) - strangeness(model, step)
    assert gain > 0
    assert lowest(2.0, 2 * gain * 0.99)  # the gain of the term is known to one part in a hundred
    assert not lowest(2.0, 2 * gain * 1.01)

    found = tape.invert(node, lambda value: 0 * value.sum(), source=source, steps=300, statistics=1.0).input
    assert strangeness(model, found) < 0.02 * strangeness(model, x)
    running = model.first
    assert (found.mean((0, 2, 3)) - running.running_mean).abs().max() < 0.3
    assert torch.allclose(found.var((0, 2, 3), correction=0), running.running_var, rtol=0.2)


def test_statistics_keep_the_batch_together_and_weigh_the_same_for_every_size() -> None:
    model, x = Normed().eval(), torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    once, twice = (
        gt.record(model, batch).invert(
            "second", lambda value: value.square().mean((1, 2, 3)), steps=4, statistics=0.3, smoothness=0.1
        )
        for batch in (x, torch.cat([x, x]))
    )
    assert torch.allclose(torch.cat([once.input, once.input]), twice.input, atol=1e-4)


def test_any_node_can_be_the_source() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(7, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(12, 3)
    )
    tape = gt.record(model.eval(), torch.tensor([[1, 2, 3], [4, 5, 6]]))
    with pytest.raises(InputError, match="node 'input' holds torch.int64.*embeddings of token ids"):
        tape.invert("3", torch.zeros(2, 3))
    wanted = model[1:](model[0](torch.tensor([[6, 5, 4], [1, 1, 2]]))).detach()
    found = tape.invert("3", wanted, source="0", steps=150)
    assert found.input.shape == (2, 3, 4)
    assert (found.missing < 1e-3).all()
    assert torch.allclose(model[1:](found.input), wanted, atol=0.1)


def test_a_node_without_the_samples_in_its_first_dimension_is_wanted_as_one() -> None:
    tape = gt.record(lambda x: x.mean(0), torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    found = tape.invert("mean_1", torch.tensor([2.0, 3.0, 1.0]), steps=200)
    assert torch.allclose(found.input.mean(0), torch.tensor([2.0, 3.0, 1.0]), atol=0.01)
    assert found.missing.shape == ()


@pytest.mark.parametrize("training", [False, True])
def test_same_seed_same_bytes_and_nothing_is_changed(training: bool) -> None:
    model, x = small_cnn().train(training), random(4, 1, 8, 8)
    tape = gt.record(model, x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values, state = [node.value.clone() for node in tape.nodes], torch.get_rng_state()
    settings: Any = {"parameterisation": "fourier", "jitter": 2, "statistics": 0.1, "smoothness": 0.1, "steps": 6}
    with torch.no_grad():
        first = tape.invert("6", lambda out: -out[:, 1], **settings)
    again = tape.invert("6", lambda out: -out[:, 1], **settings)
    assert torch.equal(first.input, again.input)
    assert first.missing.mean() < -tape.output[:, 1].mean()
    assert torch.allclose(first.missing, -tape.replay({"input": first.input}).output[:, 1])
    assert not first.input.requires_grad
    assert not torch.equal(first.input, tape.invert("6", lambda out: -out[:, 1], **settings, seed=1).input)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(node.value, value) for node, value in zip(tape.nodes, values, strict=True))
    assert all(p.grad is None for p in model.parameters())
    tape.backward(tape.output.sum())


def test_what_the_tape_did_not_keep_is_computed_again() -> None:
    model, x = small_cnn().train(), random(4, 1, 8, 8)
    settings: Any = {"parameterisation": "fourier", "jitter": 1, "statistics": 0.1, "steps": 3}
    found = []
    for keep in (gt.select.everything, gt.select.nothing):
        torch.manual_seed(3)
        tape = gt.record(model, x, keep=keep)
        found += [
            tape.invert("3", torch.ones(4, 4, 4, 4), **settings).input,
            tape.invert("6", lambda out: -out[:, 1], source="2", steps=3).input,
            tape.steer("2", lambda value: value.mean((1, 2, 3)), at="3", steps=3).value,
        ]
        model = small_cnn().train()
    assert all(torch.equal(found[index], found[index + 3]) for index in range(3))


def test_half_precision_images_have_a_spectrum_too() -> None:
    found = doubled(random(1, 1, 5, 5).bfloat16()).invert(
        "mul_1", torch.ones(1, 1, 5, 5), steps=40, parameterisation="fourier"
    )
    assert found.input.dtype == torch.bfloat16
    assert found.missing < 0.1


REFUSED = [
    ({"steps": 0}, "steps is 0: give a whole number of at least 1"),
    ({"steps": 2.5}, "steps is 2.5"),
    ({"lr": 0.0}, "lr is 0.0: give a step size above 0"),
    ({"lr": float("inf")}, "lr is inf"),
    ({"parameterisation": "wavelets"}, "parameterisation is 'wavelets': give 'pixels' or 'fourier'"),
    ({"jitter": -1}, "jitter is -1: give a whole number of pixels"),
    ({"jitter": 0.5}, "jitter is 0.5"),
    ({"smoothness": -0.1}, "smoothness is -0.1: give a weight of at least 0"),
    ({"statistics": float("nan")}, "statistics is nan: give a weight of at least 0"),
    ({"bounds": (1.0, 0.0)}, r"bounds is \(1.0, 0.0\): give a lowest value and a higher one"),
    ({"parameterisation": "fourier"}, r"node 'input' has shape \(2, 3\): fourier, jitter and smoothness"),
    ({"jitter": 1}, r"node 'input' has shape \(2, 3\)"),
    ({"smoothness": 1.0}, r"node 'input' has shape \(2, 3\)"),
    ({"statistics": 1.0}, "no batch norm with running statistics lies between 'input' and 'mul_1'"),
]


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_settings_that_cannot_be_used_are_refused(settings: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        doubled(torch.ones(2, 3)).invert("mul_1", torch.zeros(2, 3), **settings)


def test_bad_requests_say_what_to_do() -> None:
    tape = doubled(torch.ones(2, 3))
    with pytest.raises(InputError, match=r"wanted has shape \(1,\), node 'mul_1' \(2, 3\): give"):
        tape.invert("mul_1", torch.zeros(1))
    with pytest.raises(InputError, match="wanted is a list: give a tensor, or a function"):
        tape.invert("mul_1", [1.0])
    with pytest.raises(InputError, match=r"objective has shape \(2, 3\): return a scalar, or one .*, \(2,\)"):
        tape.invert("mul_1", lambda value: value)
    with pytest.raises(InputError, match="the objective is a float"):
        tape.invert("mul_1", lambda value: 1.0)
    with pytest.raises(TapeError, match="no gradient of the objective"):
        tape.invert("mul_1", lambda value: torch.tensor(1.0))
    with pytest.raises(TapeError, match="node 'input' does not depend on node 'mul_1'"):
        tape.invert("input", torch.zeros(2, 3), source="mul_1")
    untracked = gt.record(nn.BatchNorm1d(3, track_running_stats=False), torch.rand(4, 3))
    with pytest.raises(InputError, match="no batch norm with running statistics"):
        untracked.invert("batch_norm_1", torch.zeros(4, 3), statistics=1.0)
    behind = gt.record(nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()).eval(), torch.rand(4, 3))
    with pytest.raises(
        InputError, match="lies between '0' and '1'"
    ):  # what comes into it does not depend on the source
        behind.invert("1", torch.zeros(4, 3), source="0", statistics=1.0)
