"""How far a step moves the weights, beside a twin that copies them around every step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Adamax, AdamW, Optimizer, RMSprop

import gradtape as gt
from gradtape.tracking import read_history
from gradtape.tracking.measures import UPDATES

Make = Callable[[Any], Optimizer]


class Lion(Optimizer):
    """An optimizer that torch does not have (Chen et al. 2023)."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                held = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.add_((held * 0.9 + p.grad * 0.1).sign(), alpha=-group["lr"])
                held.lerp_(p.grad, 0.01)


class HalfAdam(Adam):
    """A subclass may do anything in its step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        before = [p.clone() for group in self.param_groups for p in group["params"]]
        super().step()
        for p, kept in zip([p for group in self.param_groups for p in group["params"]], before, strict=True):
            p.lerp_(kept, 0.5)


OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "sgd with decay": lambda p: SGD(p, lr=0.1, weight_decay=0.3),
    "sgd with decay, maximize": lambda p: SGD(p, lr=0.1, weight_decay=0.3, maximize=True),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.3),
    "nesterov, maximize": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.3, maximize=True),
    "fused sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda p: Adam(p, lr=0.01),
    "adam, one tensor at a time": lambda p: Adam(p, lr=0.01, foreach=False),
    "adam, foreach": lambda p: Adam(p, lr=0.01, foreach=True),
    "fused adam": lambda p: Adam(p, lr=0.01, fused=True),
    "adam with decay, maximize": lambda p: Adam(p, lr=0.01, weight_decay=0.1, maximize=True),
    "adam with a large eps": lambda p: Adam(p, lr=0.01, eps=0.1),
    "amsgrad": lambda p: Adam(p, lr=0.01, amsgrad=True, betas=(0.5, 0.9)),
    "adam, lr a tensor": lambda p: Adam(p, lr=torch.tensor(0.01)),
    "adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw, much decay": lambda p: AdamW(p, lr=0.1, weight_decay=2.0),
    "fused adamw, amsgrad": lambda p: AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True, fused=True),
    "rmsprop": lambda p: RMSprop(p, lr=0.01),
    "rmsprop, centered, decay": lambda p: RMSprop(p, lr=0.01, centered=True, weight_decay=0.3),
    "rmsprop, momentum": lambda p: RMSprop(p, lr=0.01, momentum=0.9, centered=True, weight_decay=0.1),
    "rmsprop, maximize, decay": lambda p: RMSprop(p, lr=0.01, weight_decay=0.3, maximize=True),
    "adagrad": lambda p: Adagrad(p, lr=0.1, initial_accumulator_value=0.1),
    "adagrad, decay": lambda p: Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.3),
    "adagrad, maximize, decay": lambda p: Adagrad(p, lr=0.1, weight_decay=0.3, maximize=True),
    "adamax, of which nothing is known": lambda p: Adamax(p, lr=0.01),
    "lion, not from torch": lambda p: Lion(p, lr=0.01),
    "a subclass of adam": lambda p: HalfAdam(p, lr=0.01),
}


class Sizes(nn.Module):
    """Small, empty, scalar, strided and large parameters, and one without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Linear(6, 8)
        self.strided = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        self.large = nn.Parameter(torch.randn(300, 1000) * 0.1)
        self.scalar = nn.Parameter(torch.tensor(0.5))
        self.absent = nn.Parameter(torch.ones(3))  # gets no gradient
        self.empty = nn.Parameter(torch.zeros(0, 4))

    def loss(self, draws: torch.Generator) -> Tensor:
        x = torch.randn(4, 6, generator=draws)
        image = torch.randn(2, 2, 5, 5, generator=draws).to(memory_format=torch.channels_last)
        some = self.small(x).square().mean() + self.strided(image).square().mean() + self.empty.sum()
        rows = self.large[torch.randint(300, (50,), generator=draws)]
        return some * self.scalar + (rows @ torch.randn(1000, 2, generator=draws)).square().mean()


def trained(make: Make, dtype: torch.dtype = torch.float32, steps: int = 6) -> tuple[Tensor, Tensor]:
    """Return what is stored and what the twin saw, shape (steps, parameters)."""
    torch.manual_seed(0)
    model = Sizes().to(dtype)
    others = [p for name, p in model.named_parameters() if not name.startswith("small")]
    groups = [{"params": list(model.small.parameters()), "lr": 0.03}, {"params": others}]
    optimizer = make(groups)
    draws = torch.Generator().manual_seed(1)
    torch.set_default_dtype(dtype)
    wanted = []
    try:
        with gt.track(model, optimizer, budget=None) as tracker:
            for step in range(steps):
                optimizer.zero_grad()
                model.loss(draws).backward()
                before = {name: p.detach().clone() for name, p in model.named_parameters()}
                if step == 3:
                    for group in optimizer.param_groups:
                        group["lr"] = group["lr"] * 0.5
                optimizer.step()
                moved = [(p.detach().double() - before[name].double()).norm() for name, p in model.named_parameters()]
                wanted.append(torch.stack(moved))
            tracker.flush()
            history = read_history(tracker._store, "model")
    finally:
        torch.set_default_dtype(torch.float32)
    assert history.parameters == tuple(name for name, _ in model.named_parameters())
    return torch.from_numpy(history.measures["update_norm"].copy()), torch.stack(wanted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_equals_that_of_a_twin_with_copied_weights(name: str) -> None:
    found, wanted = trained(OPTIMIZERS[name], torch.float64)
    assert wanted.count_nonzero() > 30
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-12)  # the store keeps 32-bit numbers


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_of_32_bit_weights_is_right_up_to_their_rounding(name: str) -> None:
    found, wanted = trained(OPTIMIZERS[name])
    assert torch.allclose(found, wanted, rtol=2e-5, atol=1e-7)  # the twin's own difference is rounded


def test_no_weights_are_copied_where_the_state_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    clone = Tensor.clone
    monkeypatch.setattr(Tensor, "clone", lambda self, **kwargs: copies.append(self.data_ptr()) or clone(self, **kwargs))
    torch.manual_seed(0)
    model = nn.Linear(500, 500)
    for kind in UPDATES:
        optimizer = kind(model.parameters(), lr=0.01)
        model(torch.ones(2, 500)).square().mean().backward()
        optimizer.step()
        with gt.track(model, optimizer, activations=False):
            optimizer.step()  # the first: the distance from the start needs one copy
            copies.clear()
            optimizer.step()
            assert model.weight.data_ptr() not in copies, kind


def test_a_step_that_a_scaler_leaves_out_changes_nothing() -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with gt.track(model, optimizer) as tracker:
        for x in (3.0, torch.inf, 1.0):
            optimizer.zero_grad()
            before = model.weight.detach().clone()
            scaler.scale(model(torch.tensor([[x, x]])).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if x == torch.inf:
                assert torch.equal(before, model.weight)
        tracker.flush()
        history = read_history(tracker._store, "model")
    grads, updates = history.measures["grad_norm"][:, 0], history.measures["update_norm"][:, 0]
    assert grads[0] == pytest.approx(3 * 2**0.5)
    assert history.measures["nonfinite_count"][:, 0].tolist() == [0, 2, 0]
    assert updates[1] == 0
    assert updates[0] == pytest.approx(0.5 * 2**0.5, rel=1e-5)
    assert history.loss[0] == pytest.approx(6.0)


def test_what_changes_in_the_optimizer_is_followed() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD([model.weight], lr=0.1, momentum=0.9)
    with gt.track(model, optimizer, budget=None) as tracker:
        wanted = []
        for step in range(8):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            before = model.weight.detach().clone()
            if step == 2:
                optimizer.load_state_dict(optimizer.state_dict())  # new groups
            if step == 6:
                optimizer.param_groups[0]["momentum"] = 0.0
            if step == 4:
                optimizer.add_param_group({"params": [model.bias], "lr": 0.5})
                with pytest.warns(UserWarning, match="given parameters after tracking began"):
                    optimizer.step()
            else:
                optimizer.step()
            wanted.append(float((model.weight.detach() - before).norm()))
        tracker.flush()
        history = read_history(tracker._store, "model")
    assert history.measures["update_norm"][:, 0] == pytest.approx(wanted, rel=1e-5)
    assert history.lr.shape == (8, 1)


@pytest.mark.parametrize("lr", [1.0, 0.5])
def test_a_decay_that_leaves_nothing_of_the_weights(lr: float) -> None:
    model = nn.ParameterDict({"w": nn.Parameter(torch.tensor([3.0, 4.0]))})
    for optimizer in (
        torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1 / lr),
        torch.optim.SGD(model.parameters(), lr=lr, weight_decay=1 / lr),
        torch.optim.SGD(model.parameters(), lr=torch.tensor(lr), weight_decay=0.1),
        torch.optim.AdamW(model.parameters(), lr=torch.tensor([lr]), weight_decay=0.1),
    ):
        with gt.track(model, optimizer) as tracker:
            model["w"].grad = torch.tensor([1.0, -2.0])
            before = model["w"].detach().clone()
            optimizer.step()
            tracker.flush()
            found = read_history(tracker._store, "model").measures["update_norm"][0, 0]
        assert found == pytest.approx(float((model["w"].detach() - before).norm()), rel=1e-5)


def test_hooks_that_are_added_later_change_what_is_read() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with gt.track(model, optimizer) as tracker, gt.track(model, optimizer) as second:
        gt.Scale(0.5).on(optimizer)
        for _ in range(3):
            model.weight.grad = torch.ones(1, 1)
            optimizer.step()
        for held in (tracker, second):
            held.flush()
            found = read_history(held._store, "model").measures
            assert found["grad_norm"][1:, 0].tolist() == [0.5, 0.5]  # at the first step the hook was still behind


def test_a_step_that_ends_in_an_error_does_not_stop_the_reading() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = HalfAdam(model.parameters(), lr=0.5)

    def broken() -> float:
        raise ValueError("no such batch")

    with gt.track(model, optimizer) as tracker:
        for closure in (None, broken, None):
            model.weight.grad = torch.ones(1, 2)
            try:
                torch.optim.Adam.step(optimizer, closure) if closure else optimizer.step()
            except ValueError:
                continue
        tracker.flush()
        assert read_history(tracker._store, "model").measures["update_norm"][:, 0].tolist() == pytest.approx(
            [0.25 * 2**0.5] * 2
        )
