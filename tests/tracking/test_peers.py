"""What goes wrong in other tools that watch gradients, as tests of this one."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.tracking import MEASURES, read_history
from gradtape.tracking.measures import Measure


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, *grads: torch.Tensor) -> gt.tracking.History:
    """Return what is known after steps with these gradients of the first parameter."""
    with gt.track(model, optimizer, budget=None) as tracker:
        for grad in grads:
            next(model.parameters()).grad = grad
            optimizer.step()
        tracker.flush()
        return read_history(tracker._store, "model")


def vector(values: torch.Tensor) -> nn.ParameterDict:
    return nn.ParameterDict({"w": nn.Parameter(values)})


def test_a_gradient_that_is_all_nan_is_counted_stored_and_found() -> None:  # wandb.watch logs nothing
    model = vector(torch.ones(4))
    history = stepped(model, torch.optim.SGD(model.parameters(), lr=0.0), torch.full((4,), math.nan))
    assert history.measures["nonfinite_count"].tolist() == [[4.0]]
    assert np.isnan(history.measures["grad_norm"]).all()
    assert [finding.rule for finding in gt.tracking.judge([history])] == ["non-finite"]


def test_weight_decay_against_the_gradient_makes_a_small_update() -> None:  # Composer adds where it should subtract
    model = vector(torch.full((4,), -2.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5, eps=0.0)
    history = stepped(model, optimizer, torch.full((4,), 3.0))  # Adam moves by -0.1, decay by +0.1
    assert history.measures["update_norm"][0, 0] == pytest.approx(0.0, abs=1e-7)  # and not 0.4


@pytest.mark.parametrize(
    ("dtype", "value", "n"),
    [(torch.bfloat16, 1.0, 9_000_000), (torch.float16, 1.0, 9_000_000), (torch.float16, 300.0, 100)],
)
def test_half_precision_norms_neither_round_nor_overflow(dtype: torch.dtype, value: float, n: int) -> None:
    model = vector(torch.ones(n, dtype=dtype))
    history = stepped(model, torch.optim.SGD(model.parameters(), lr=0.0), torch.full((n,), value, dtype=dtype))
    assert history.measures["grad_norm"][0, 0] == pytest.approx(3000.0, rel=1e-6)  # and not 3008, nor inf


def test_gradients_whose_squares_underflow_or_overflow_have_a_norm() -> None:
    model = vector(torch.ones(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    history = stepped(model, optimizer, torch.full((4,), 1e-30), torch.full((4,), 1e30), torch.zeros(4))
    assert history.measures["grad_norm"][:, 0] == pytest.approx([2e-30, 2e30, 0.0], rel=1e-6)
    assert history.measures["nonfinite_count"][:, 0].tolist() == [0, 0, 0]


def test_a_mean_that_stays_negative_is_no_alarm() -> None:  # msProbe
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gt.track(model, optimizer, budget=None) as tracker:
        for step in range(300):
            optimizer.zero_grad()
            (model(torch.rand(32, 3)) - step / 50).square().mean().backward()  # it always has to rise
            optimizer.step()
        tracker.flush()
        means = read_history(tracker._store, "model").measures["grad_mean"]
        assert np.nanmax(means[10:]) < 0
        assert tracker.findings == []


def test_what_is_not_due_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:  # msProbe computes at every step
    calls: Counter[str] = Counter()

    def counted(kind: type[Measure], method: str) -> None:
        original = getattr(kind, method)

        def count(self: Measure, reading: object) -> object:
            calls[f"{kind.name}.{method}"] += 1
            return original(self, reading)

        monkeypatch.setattr(kind, method, count)

    for kind in MEASURES:
        for method in ("prepare", "before_step", "after_step"):
            counted(kind, method)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())
    with gt.track(model, optimizer, budget=None):
        for _ in range(64):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    for kind in MEASURES:
        assert calls[f"{kind.name}.after_step"] == (4 if kind.dear else 64), kind.name
        assert calls[f"{kind.name}.before_step"] == (4 if kind.dear else 64), kind.name
        assert calls[f"{kind.name}.prepare"] == (4 if kind.lead else 0), kind.name


def test_tied_weights_are_read_once() -> None:
    first, last = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    last.weight = first.weight
    model = nn.Sequential(first, last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gt.track(model, optimizer) as tracker:
        model(torch.ones(1, 3)).sum().backward()
        wanted = float(first.weight.grad.norm())
        optimizer.step()
        tracker.flush()
        history = read_history(tracker._store, "model")
    assert history.parameters == ("0.weight",)
    assert history.measures["grad_norm"][0, 0] == pytest.approx(wanted, rel=1e-6)


def test_a_compiled_model_is_tracked_and_trains_the_same() -> None:  # wandb.watch breaks
    trained = []
    for tracked in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        compiled = torch.compile(model, backend="aot_eager")
        tracker = gt.track(model, optimizer) if tracked else None
        for _ in range(5):
            optimizer.zero_grad()
            compiled(torch.ones(2, 3)).sum().backward()
            optimizer.step()
        trained.append([p.detach().clone() for p in model.parameters()])
        if tracker is not None:
            tracker.close()
            norms = read_history(tracker._store, "model").measures["grad_norm"]
            assert norms.shape == (5, 4)
            assert (norms > 0).all()
    assert all(torch.equal(a, b) for a, b in zip(*trained, strict=True))
