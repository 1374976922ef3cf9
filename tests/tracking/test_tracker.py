"""The tracker: players, logging, resuming, and that the training it watches is left as it was."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError, RunError
from gradtape.runs import Run, SeriesStore
from gradtape.tracking.history import channel_of, players, read_history
from tests.tracking.test_measures import OPTIMIZERS, net


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, after=lambda step: None) -> None:
    draws = torch.Generator().manual_seed(2)
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 6, generator=draws)).square().mean().backward()
        optimizer.step()
        after(step)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_are_bit_equal_with_and_without_tracking_and_no_hook_stays(name: str) -> None:
    plain, tracked = net(), net()
    train(plain, OPTIMIZERS[name](plain.parameters()), 5)
    optimizer = OPTIMIZERS[name](tracked.parameters())
    hooks = [dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)]
    modules = [(dict(m._forward_hooks), dict(m._backward_hooks)) for m in tracked.modules()]
    random = torch.get_rng_state()
    tracker = gt.track(tracked, optimizer)
    assert optimizer._optimizer_step_pre_hooks
    train(tracked, optimizer, 5)
    tracker.close()
    assert [dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)] == hooks
    assert [(dict(m._forward_hooks), dict(m._backward_hooks)) for m in tracked.modules()] == modules
    assert all(not p._backward_hooks for p in tracked.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    for a, b in zip(plain.parameters(), tracked.parameters(), strict=True):
        assert torch.equal(a, b)


def test_close_leaves_the_hooks_of_others() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gt.Scale(0.5).on(optimizer)
    mine = dict(optimizer._optimizer_step_pre_hooks)
    gt.track(model, optimizer).close()
    assert dict(optimizer._optimizer_step_pre_hooks) == mine


def test_nothing_is_read_after_close() -> None:
    model, store = net(), SeriesStore(Path(":memory:"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = gt.track(model, optimizer, store)
    train(model, optimizer, 3)
    tracker.close()
    train(model, optimizer, 2)
    assert read_history(store, "model").steps.tolist() == [0, 1, 2]


def test_two_players_have_their_own_series_steps_and_findings() -> None:
    models = {"a": net(0), "b": net(1)}
    optimizers = {name: torch.optim.SGD(model.parameters(), lr=0.1) for name, model in models.items()}
    optimizers["b"].param_groups[0]["lr"] = 1e-13
    store = SeriesStore(Path(":memory:"))
    with gt.track(models, optimizers, store) as tracker:
        train(models["a"], optimizers["a"], 25)
        train(models["b"], optimizers["b"], 30)
        tracker.log("loss", 2.0, "b")
        assert [(f.rule, f.player) for f in tracker.findings] == [("stalled", "b")]
    assert players(store) == ["a", "b"]
    assert len(read_history(store, "a").steps) == 25
    assert len(read_history(store, "b").steps) == 30
    assert 0 < read_history(store, "a").loss[-1] < 2  # caught from backward
    assert read_history(store, "b").loss[-1] == 2.0
    with pytest.raises(InputError, match="player None is not tracked: name one of a, b"):
        tracker.log("loss", 1.0)
    with pytest.raises(InputError, match="'c' is not tracked"):
        tracker.log("loss", 1.0, "c")


def test_a_logged_number_lands_at_the_step_it_follows() -> None:
    model, store = net(), SeriesStore(Path(":memory:"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def log(step: int) -> None:
        if step != 2:
            tracker.log("loss", torch.tensor(10.0 + step, requires_grad=True))

    with gt.track(model, optimizer, store) as tracker:
        train(model, optimizer, 5, log)
    series = store.read(channel_of("model", "loss"))
    assert series.steps.tolist() == [0, 1, 3, 4]
    assert series.values[:, 0].tolist() == [10.0, 11.0, 13.0, 14.0]
    loss = read_history(store, "model").loss
    assert loss[[0, 1, 3, 4]].tolist() == [10.0, 11.0, 13.0, 14.0]
    assert math.isnan(loss[2])


def test_resume_at_counts_on_and_replaces_what_was_read_before() -> None:
    model, store = net(), SeriesStore(Path(":memory:"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gt.track(model, optimizer, store):
        train(model, optimizer, 6)
    first = store.read("model/grad_norm")
    with gt.track(model, optimizer, store) as tracker:
        tracker.resume_at(4)
        train(model, optimizer, 4)
        tracker.log("loss", 5.0)
    again = store.read("model/grad_norm")
    assert again.steps.tolist() == list(range(8))
    assert (again.values[:4] == first.values[:4]).all()
    assert (again.values[4:6] != first.values[4:6]).any()
    losses = store.read(channel_of("model", "loss"))
    assert losses.steps.tolist() == list(range(8))  # caught from backward
    assert losses.values[7, 0] == 5.0  # but for the last, which was logged


def test_a_folder_becomes_a_finished_run_that_can_be_read_again(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-13)
    tracker = gt.track(model, optimizer, tmp_path / "runs" / "first")
    assert Run.open(tmp_path / "runs" / "first").status == "running"
    train(model, optimizer, 25)
    found = tracker.findings
    tracker.close()
    assert [f.rule for f in found] == ["stalled"]
    assert tracker.findings == found  # also after the end
    run = Run.open(tmp_path / "runs" / "first")
    assert (run.status, run.info["command"]) == ("finished", "track")
    assert read_history(run.series, "model").steps.tolist() == list(range(25))
    run.close()
    tracker.close()  # twice does no harm


def test_a_run_ends_as_the_block_that_trains_ends(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for error, status in ((ValueError("no such batch"), "failed"), (KeyboardInterrupt(), "interrupted")):
        with pytest.raises(type(error)), gt.track(model, optimizer, tmp_path / status):
            train(model, optimizer, 3)
            raise error
        run = Run.open(tmp_path / status)
        assert run.status == status
        assert read_history(run.series, "model").steps.tolist() == [0, 1, 2]
        run.close()
    assert not optimizer._optimizer_step_pre_hooks


def test_an_open_run_is_not_closed(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Run.create(tmp_path / "run", command="augment", settings={}) as run:
        with gt.track(model, optimizer, run):
            train(model, optimizer, 2)
        assert run.status == "running"
        assert len(run.series.read("model/grad_norm").steps) == 2


def test_errors_name_what_is_wrong_and_leave_no_folder(tmp_path: Path) -> None:
    model, other = net(), net(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="models are named a and optimizers b: give both the same names"):
        gt.track({"a": model}, {"b": optimizer}, tmp_path / "run")
    with pytest.raises(InputError, match="optimizer of player 'model' holds no parameter of its model"):
        gt.track(other, optimizer, tmp_path / "run")
    with pytest.raises(InputError, match="optimizer of player 'b' holds no parameter"):
        gt.track({"a": model, "b": other}, {"a": optimizer, "b": optimizer}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not optimizer._optimizer_step_pre_hooks
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="exists and is not empty"):
        gt.track(model, optimizer, tmp_path / "full")
    assert not optimizer._optimizer_step_pre_hooks


def test_steps_with_a_closure_are_read_at_its_first_call() -> None:
    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, 2.0)
    optimizer = torch.optim.LBFGS(weight.parameters(), lr=0.5, max_iter=4)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight(torch.ones(1, 1)) - 1).square().sum()
        loss.backward()
        return loss

    store = SeriesStore(Path(":memory:"))
    with gt.track(weight, optimizer, store):
        optimizer.step(closure)
    found = read_history(store, "model").measures
    assert found["grad_norm"].tolist() == [[2.0]]  # d/dw (w - 1)^2 at w = 2
    assert found["weight_norm"].tolist() == [[2.0]]
    assert found["update_ratio"][0, 0] == pytest.approx(abs(weight.weight.item() - 2.0) / 2.0, rel=1e-5)


def test_log_takes_one_number() -> None:
    model = nn.Linear(1, 1)
    with (
        gt.track(model, torch.optim.SGD(model.parameters(), lr=0.1)) as tracker,
        pytest.raises(InputError, match="'loss' has shape"),
    ):
        tracker.log("loss", torch.ones(2))


def test_what_cannot_be_used_is_said_in_one_sentence() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    for arguments, sentence in (
        ((optimizer, model), "player 'model' is a SGD with a Sequential: give a torch.nn.Module, then"),
        ((model, schedule), "with a ConstantLR"),
        ((model, None), "with a NoneType"),
        (({}, {}), "models are named nothing and optimizers nothing"),
        (({1: model}, {1: optimizer}), "a player is called 1"),
        (({"": model}, {"": optimizer}), "a player is called ''"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            gt.track(*arguments)
    for budget in (0, -1, 2, math.nan, "a"):
        with pytest.raises(InputError, match="budget is"):
            gt.track(model, optimizer, budget=budget)
    assert not optimizer._optimizer_step_pre_hooks
    tracker = gt.track(model, optimizer)
    for step in (1.5, "a", -1, 2**63):
        with pytest.raises(InputError, match="step is"):
            tracker.resume_at(step)
    for name, value in (("x", None), ("x", 1j), ("x", torch.tensor(1j)), ("", 1.0), ("lr", 1.0), ("grad_norm", 1.0)):
        with pytest.raises(InputError):
            tracker.log(name, value)
    with pytest.raises(InputError, match="log_losses got 1 loss"):
        tracker.log_losses({"a": torch.ones(1, requires_grad=True)})
    with pytest.raises(InputError, match="loss 'b' is no tensor of one element with a graph"):
        tracker.log_losses({"a": torch.ones(1, requires_grad=True), "b": torch.ones(1)})
    with pytest.raises(InputError, match="a player 'model' is tracked already"):
        tracker.add("model", model, optimizer)


def test_a_pause_leaves_no_hook_and_counts_no_step() -> None:
    model, store = net(), SeriesStore(Path(":memory:"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = gt.track(model, optimizer, store, budget=None)
    train(model, optimizer, 3)
    tracker.pause()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(not p._backward_hooks for p in model.parameters())
    train(model, optimizer, 2)
    tracker.resume()
    tracker.resume()
    train(model, optimizer, 2)
    tracker.close()
    assert store.read("model/grad_norm").steps.tolist() == list(range(5))
    assert not optimizer._optimizer_step_pre_hooks


def test_players_of_two_trackers_in_one_store_are_no_rivals() -> None:
    store = SeriesStore(Path(":memory:"))
    for names in (("a", "b"), ("c",)):
        models = {name: net() for name in names}
        optimizers = {name: torch.optim.SGD(model.parameters(), lr=0.1) for name, model in models.items()}
        with gt.track(models, optimizers, store):
            for name in names:
                train(models[name], optimizers[name], 2)
    assert {name: read_history(store, name).settings.beside for name in "abc"} == {"a": ("b",), "b": ("a",), "c": ()}


def test_named_losses_are_stored_with_the_cosine_of_their_gradients() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gt.track(model, optimizer, budget=None) as tracker:
        for _ in range(32):
            optimizer.zero_grad()
            a = (model.weight * torch.tensor([[3.0, 0.0]])).sum()
            b = (model.weight * torch.tensor([[-1.0, 1.0]])).sum()
            tracker.log_losses({"a": a, "b": b})
            assert model.weight.grad is None
            (a + b).backward()
            optimizer.step()
        tracker.flush()
        history = read_history(tracker._store, "model")
    cosines = history.conflicts["a | b"][:, 0]
    assert cosines[np.isfinite(cosines)] == pytest.approx([-(0.5**0.5)] * 2)
    assert history.logged["loss/a"].tolist() == pytest.approx([a.item()] * 32)
    assert history.loss[-1] == pytest.approx((a + b).item())
