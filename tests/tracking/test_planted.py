"""Planted failures in real trainings: each must be found, named and dated."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch._dynamo
from torch import Tensor, nn

import gradtape as gt
from gradtape.tracking import Finding
from tests.transforms.adversaries import batch, network


def blobs(n: int = 16, size: int = 8, classes: int = 4) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    y = torch.arange(n) % classes
    return torch.randn(n, size, generator=draws) + 2 * torch.eye(classes, size)[y], y


def mlp(depth: int = 3, activation: type[nn.Module] = nn.ReLU, width: int = 8, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def run(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    spoil: Callable[[int, Tensor], Tensor] = lambda step, x: x,
    before: Callable[[int], None] = lambda step: None,
    scale: float = 1.0,
    log: bool = True,
) -> list[Finding]:
    x, y = blobs()
    with gt.track(model, optimizer, budget=None) as tracker:
        for step in range(steps):
            before(step)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(spoil(step, x)), y)
            (scale * loss).backward()
            optimizer.step()
            if log:
                tracker.log("loss", scale * loss)
        return tracker.findings


def rules(found: list[Finding]) -> list[tuple[str, int]]:
    return [(finding.rule, finding.since_step) for finding in found]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_deep_sigmoid_network_vanishes_at_its_first_layers(scale: float) -> None:
    model = mlp(12, nn.Sigmoid)
    found = run(model, torch.optim.Adam(model.parameters(), lr=1e-4, eps=1e-30), 40, scale=scale)
    assert rules(found) == [("vanishing", 0)]
    (finding,) = found
    x, y = blobs()
    fresh = mlp(12, nn.Sigmoid)
    nn.functional.cross_entropy(fresh(x), y).backward()
    ratio = {
        name: float(p.grad.double().norm() / p.detach().double().norm())
        for name, p in fresh.named_parameters()
        if name.endswith("weight")
    }
    low = [name for name, value in ratio.items() if value < 1e-4 * max(ratio.values())]
    assert finding.where == f"{', '.join(low[:3])} and {len(low) - 3} more"
    assert low[0] == "0.weight"
    assert 3 < len(low) < 11
    assert finding.player == "model"
    assert "ReLU" in finding.remedy


def test_a_relu_network_of_the_same_depth_does_not_vanish() -> None:
    model = mlp(12, nn.ReLU)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert run(model, torch.optim.Adam(model.parameters(), lr=1e-4), 60) == []


def linear_regression(lr: float, steps: int, scale: float = 1.0, log: bool = True) -> tuple[list[Finding], list[float]]:
    """Full-batch gradient descent on a quadratic: beyond lr 2/L the gradient grows by the same factor every step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1, bias=False)
    x = torch.randn(32, 4)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=lr / scale)
    norms = []
    with gt.track(model, optimizer, budget=None) as tracker:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = scale * (model(x) - y).square().mean()
            loss.backward()
            norms.append(float(model.weight.grad.double().norm()))
            optimizer.step()
            if log:
                tracker.log("loss", loss)
        return tracker.findings, norms


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_learning_rate_beyond_the_bound_explodes_and_then_overflows(scale: float) -> None:
    found, norms = linear_regression(lr=2.0, steps=120, scale=scale)
    start = float(np.median(norms[:5]))
    since = next(step for step, norm in enumerate(norms) if norm > 100 * start)
    infinite = next(step for step, norm in enumerate(norms) if not math.isfinite(norm))
    assert rules(found)[0] == ("learning rate too high", 0)  # the cause
    assert {("exploding", since), ("non-finite", infinite)} <= set(rules(found))
    assert 0 < since < infinite
    (exploded,) = [finding for finding in found if finding.rule == "exploding"]
    assert exploded.where == "weight"
    assert f"clip the gradient norm at {start:.2g}" in exploded.remedy


def test_an_explosion_without_overflow_names_the_peak() -> None:
    found, norms = linear_regression(lr=2.0, steps=20)
    assert [finding.rule for finding in found] == ["exploding"]
    assert found[0].evidence.startswith(f"gradient norm {norms[19]:.2g} at step 19, 1,908,")


def test_nan_in_one_batch_is_dated_and_is_not_called_stalled() -> None:
    model = mlp()
    x_nan = blobs()[0].clone()
    x_nan[3, 2] = math.nan
    found = run(model, torch.optim.Adam(model.parameters()), 90, spoil=lambda step, x: x_nan if step == 37 else x)
    assert rules(found) == [("non-finite", 37)]
    assert "loss was not finite" in found[0].evidence
    assert "53 steps in all" in found[0].evidence  # the weights are NaN ever after


def test_nan_in_one_skipped_batch_counts_one_step() -> None:
    model = mlp()

    def spoil(step: int, x: Tensor) -> Tensor:
        return x * math.nan if step == 37 else x

    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # nothing moves, as when the step is skipped
    optimizer.register_step_pre_hook(lambda *_: None)
    found = run(model, optimizer, 39, spoil=spoil)
    assert "non-finite" in [finding.rule for finding in found]


class _Poison(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        poisoned = grad.clone()
        poisoned[0, 0] = math.nan
        return poisoned


class Poisoned(nn.Sequential):
    """From step 5 on, the gradient that comes back to the output of layer "2" has a NaN; the loss is healthy."""

    on = False

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self):
            x = layer(x)
            if index == 2 and self.on:
                x = _Poison.apply(x)
        return x


def test_a_nan_gradient_names_the_layer_in_which_it_began() -> None:
    model = Poisoned(*mlp(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def before(step: int) -> None:
        model.on = step == 5

    found = run(model, optimizer, 6, before=before)
    assert rules(found) == [("non-finite", 5)]
    assert found[0].where == "2.bias"
    assert "the loss was 1." in found[0].evidence
    assert "4 of 8 parameters" in found[0].evidence
    assert "1 steps in all" in found[0].evidence


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_learning_rate_of_next_to_nothing_is_stalled_from_the_start(scale: float, log: bool) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-13, eps=1e-30)
    found = run(model, optimizer, 50, scale=scale, log=log)
    assert rules(found) == [("stalled", 0)]
    assert "raise the learning rate" in found[0].remedy


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("steps_before", [15, 200])  # before and after the loss has fallen by half
def test_a_learning_rate_that_becomes_zero_is_stalled_since_then(steps_before: int, log: bool) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def before(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.05 if step < steps_before else 0.0

    found = run(model, optimizer, steps_before + 60, before=before, log=log)
    assert rules(found) == [("stalled", steps_before)]


def test_a_network_of_dead_units_with_a_frozen_loss_is_stalled() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].bias.fill_(-1e3)
        model[2].bias.fill_(-1e3)
        model[4].weight.zero_()
        model[4].bias.zero_()  # balanced classes: no gradient at the output either
    found = run(model, torch.optim.SGD(model.parameters(), lr=0.1), 40)
    assert ("stalled", 0) in rules(found)


def test_units_that_die_on_the_way_are_stalled_although_their_gradient_fell() -> None:
    model = mlp()

    def before(step: int) -> None:
        if step == 30:
            with torch.no_grad():
                model[2].bias.fill_(-1e3)
                model[4].bias.zero_()

    found = run(model, torch.optim.SGD(model.parameters(), lr=0.02), 120, before=before)
    assert ("stalled", 30) in rules(found)


@pytest.mark.parametrize(
    ("kind", "evidence"),
    [
        ("softmax over one unit", "no gradient comes back from the critic (norm 0) for 60 steps"),
        ("module with backward", "it is a Module that defines backward"),
        ("never applied", "it was not called in training for 60 steps"),
        ("detached feature", "what it was given has no gradient to reverse for 60 steps"),
        ("strength of 0", "its strength was 0 at every step for 60 steps"),
    ],
)
def test_an_adversary_that_does_nothing_is_named(kind: str, evidence: str) -> None:
    model = network(kind, strength=0.0 if kind == "strength of 0" else 0.5)
    found = [finding for finding in against_domains(model) if finding.rule == "no-op adversary"]
    assert [(finding.where, finding.since_step) for finding in found] == [("reversal", 0)]
    assert evidence in found[0].evidence


def test_a_reversal_beside_the_model_that_is_never_called_is_named_too() -> None:
    found = against_domains(network(), reversals={"of the other head": gt.Reverse()})
    assert [(finding.rule, finding.where) for finding in found] == [("no-op adversary", "of the other head")]


def test_an_adversary_that_stops_working_is_dated() -> None:
    model = network()

    def break_it(step: int) -> None:
        model.kind = "detached feature" if step >= 25 else "right"

    found = [f for f in against_domains(model, before=break_it) if f.rule == "no-op adversary"]
    assert [(finding.where, finding.since_step) for finding in found] == [("reversal", 25)]


@pytest.mark.parametrize("strength", [0.5, gt.schedules.dann(60), gt.schedules.warmup(30)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_working_adversary_is_left_alone(strength: object, scale: float) -> None:
    model = network(strength=strength)
    assert against_domains(model, before=lambda step: model.reversal.step(), scale=scale) == []


def test_an_evaluation_between_the_steps_and_a_compiled_model_are_no_reason_to_speak() -> None:
    model = network()

    def evaluate(step: int) -> None:
        with torch.no_grad():
            model(batch()[0])

    assert against_domains(model, before=evaluate) == []
    torch._dynamo.reset()
    compiled = torch.compile(network(), backend="aot_eager")
    assert against_domains(compiled, steps=25) == []


def test_a_flow_with_weights_that_calls_its_inverse_backward_is_no_adversary() -> None:
    class Flow(nn.Linear):
        def backward(self, z: Tensor) -> Tensor:
            return torch.linalg.solve(self.weight, z.T).T

    torch.manual_seed(0)
    model = nn.Sequential(Flow(8, 8), nn.Linear(8, 4))
    assert run(model, torch.optim.SGD(model.parameters(), lr=0.01), 30) == []


def test_gradients_per_sample_do_not_disturb_the_tracker() -> None:
    model = network()
    model.eval()
    x, _ = batch(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def per_sample(weights: dict[str, Tensor], one: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, (one[None],))[1].sum()

    with gt.track(model, optimizer, budget=None) as tracker:
        for _ in range(25):
            weights = {name: p.detach() for name, p in model.named_parameters()}
            torch.func.vmap(torch.func.grad(per_sample), in_dims=(None, 0))(weights, x)
            optimizer.zero_grad()
            model(x)[1].mean().backward()
            optimizer.step()
        assert [finding for finding in tracker.findings if finding.rule == "no-op adversary"] == []


def against_domains(
    model: nn.Module,
    *,
    before: Callable[[int], None] = lambda step: None,
    steps: int = 60,
    scale: float = 1.0,
    reversals: dict[str, gt.Reverse] | None = None,
) -> list[Finding]:
    x, domain = batch()
    y = (x[:, 0] > x[:, 1]).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-12)
    with gt.track(model, optimizer, reversals=reversals, budget=None) as tracker:
        for step in range(steps):
            before(step)
            optimizer.zero_grad()
            scores, logit = model(x)
            guess = nn.functional.binary_cross_entropy_with_logits(logit[:, 0], domain.float())
            (scale * (nn.functional.cross_entropy(scores, y) + guess)).backward()
            optimizer.step()
        return [finding for finding in tracker.findings if finding.rule != "vanishing"]  # a constant critic vanishes
