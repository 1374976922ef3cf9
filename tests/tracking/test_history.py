"""A history out of a store, and its prefixes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.runs import SeriesStore
from gradtape.tracking import History, Settings, players, read_history


def stored() -> SeriesStore:
    store = SeriesStore(Path(":memory:"))
    for step in range(6):
        store.channel("a/b/grad_norm", ["w", "v"]).append(step, [step, 10 + step])
        store.channel("a/b/update_norm", ["w", "v"]).append(step, [step, 0])
        store.channel("a/b/weight_norm", ["w", "v"]).append(step, [2, 0])
        if step % 3 == 1:
            store.channel("a/b/zero_share", ["w", "v"]).append(step, [0.5, step])
            store.channel("a/b/conflicts/x | y", ["w", "v"]).append(step, [-1, 1])
            store.channel("a/b/activations/rank", ["relu"]).append(step, [step])
        if step > 2:
            store.channel("a/b/loss", ["loss"]).append(step, [-step])
        if step in (0, 4):
            store.channel("a/b/lr", ["group 0", "group 1"]).append(step, [1 + step, 0.5])
    store.channel("a/b/val_loss", ["val_loss"]).append(5, [7])
    store.channel("a/b/val_loss", ["val_loss"]).append(99, [8])  # at a step of which nothing else is known
    store.note("a/b/settings", {"optimizer": "SGD", "eps": [None, None], "shapes": [[2, 1], []], "group_of": [1, 0]})
    return store


def test_what_is_read_now_and_then_is_nan_in_between() -> None:
    history = read_history(stored(), "a/b")
    assert players(stored()) == ["a/b"]
    assert (history.player, history.parameters, history.steps.tolist()) == ("a/b", ("w", "v"), list(range(6)))
    assert np.array_equal(
        history.measures["zero_share"][:, 1], [math.nan, 1, math.nan, math.nan, 4, math.nan], equal_nan=True
    )
    assert np.array_equal(history.loss, [math.nan, math.nan, math.nan, -3, -4, -5], equal_nan=True)
    assert np.array_equal(
        history.conflicts["x | y"][:, 0], [math.nan, -1, math.nan, math.nan, -1, math.nan], equal_nan=True
    )
    assert history.activations["rank"].modules == ("relu",)
    assert history.activations["rank"].values[[1, 4], 0].tolist() == [1, 4]
    assert list(history.logged) == ["val_loss"]
    assert history.logged["val_loss"][5] == 7
    assert np.isnan(history.logged["val_loss"][:5]).all()
    assert np.isnan(history.measures["grad_max"]).all()  # a measure that was never read
    assert history.measures["grad_max"].shape == (6, 2)


def test_the_update_ratio_is_worked_out() -> None:
    found = read_history(stored(), "a/b").measures["update_ratio"]
    assert found[:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert found[:, 1].tolist() == [0] * 6  # 0 over 0


def test_learning_rates_hold_until_they_change_and_belong_to_parameters() -> None:
    history = read_history(stored(), "a/b")
    assert history.lr[:, 1].tolist() == [1, 1, 1, 1, 5, 5]  # v is of group 0
    assert history.lr[:, 0].tolist() == [0.5] * 6
    assert history.settings.optimizer == "SGD"
    assert history.settings.shapes == ((2, 1), ())
    assert np.isnan(history.settings.eps).all()


def test_a_prefix_knows_nothing_of_what_came_later() -> None:
    whole = read_history(stored(), "a/b")._replace(rivals=(read_history(stored(), "a/b"),))
    part = whole.until(3)
    assert part.steps.tolist() == [0, 1, 2, 3]
    for found, wanted in (
        (part.measures["update_ratio"], whole.measures["update_ratio"]),
        (part.lr, whole.lr),
        (part.loss, whole.loss),
        (part.logged["val_loss"], whole.logged["val_loss"]),
        (part.conflicts["x | y"], whole.conflicts["x | y"]),
        (part.activations["rank"].values, whole.activations["rank"].values),
        (part.rivals[0].measures["grad_norm"], whole.measures["grad_norm"]),
    ):
        assert np.array_equal(found, wanted[:4], equal_nan=True)
    assert len(whole.until(-1).steps) == 0
    assert len(whole.until(100).steps) == 6


def test_a_history_by_hand_needs_only_its_measures() -> None:
    history = History("m", ("w",), np.arange(3), {"grad_norm": np.ones((3, 1))}, np.ones(3))
    assert history.until(1).measures["grad_norm"].shape == (2, 1)
    assert history.settings == Settings()


def test_settings_tell_the_optimizer_the_kinds_and_what_nobody_holds() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, dtype=torch.float64), nn.Linear(1, 1))
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [{"params": model[1].parameters(), "weight_decay": 0.5}, {"params": model[0].parameters()}]
    )
    other = torch.optim.SGD([model[2].bias], lr=0.1)
    with gt.track({"a": model, "b": model}, {"a": optimizer, "b": other}) as tracker:
        model[1].weight.grad = torch.ones(1, 3, dtype=torch.float64)
        optimizer.step()
        settings = read_history(tracker._store, "a").settings
    assert settings.optimizer == "AdamW"
    assert settings.shapes == ((3, 2), (3,), (1, 3), (1,))
    assert settings.dtypes == ("float32", "float32", "float64", "float64")
    assert settings.weight_decay == pytest.approx((0.01, 0.01, 0.5, 0.5))
    assert settings.betas == ((0.9, 0.999),) * 4
    assert settings.unheld == ("2.weight",)  # its bias is the other player's
    assert settings.frozen == ("0.bias",)
