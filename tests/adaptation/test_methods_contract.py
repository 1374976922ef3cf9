"""What every method of adaptation promises, over the whole registry."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradtape.adaptation.methods import DANN, MCC, METHODS, Method, Seen, make, parts_of
from gradtape.errors import InputError
from gradtape.transforms import schedules
from tests.adaptation.batches import Batch, adapted, batch, gradients, method

ADAPTING = [name for name in METHODS if name != "source"]
COMBINED = ["dann+mcc", "cdan+e+bsp", "mcd+afn", "partial+coral+mcc"]
ALL = [*METHODS, *COMBINED]
CRITICS = ["dann", "cdan", "cdan+e", "adda", "multi-source", "partial", "generalisation", "mcc+dann"]


def test_the_registry() -> None:
    assert list(METHODS) == [
        *("source", "dann", "cdan", "cdan+e", "adda", "mcd", "mdd", "mcc", "afn", "coral", "mmd", "jan", "bsp"),
        *("self-training", "multi-source", "partial", "open-set", "generalisation"),
    ]
    assert [kind.name for kind in METHODS.values()] == list(METHODS)


# Does it do anything?


@pytest.mark.parametrize("name", ALL)
def test_no_method_is_a_no_op(name: str) -> None:
    made, given = method(name), batch(30, 20)
    found = made.check(*given)
    assert found.passed, found.problems
    assert bool(found.adapted) == (name != "source")
    assert all(own.split(".")[0] in ("features", "target_features") for own in found.adapted)


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_that_ends_in_a_softmax_over_one_unit_is_found(name: str) -> None:
    made = method(name)
    for part in getattr(made, "parts", [made]):
        for critic in getattr(part, "critics", [getattr(part, "critic", None)])[-1:]:
            if critic is not None:
                critic[-1] = nn.Sequential(nn.Linear(64, 1), nn.Softmax(dim=1)).double()
                if name == "generalisation":  # as many outputs as sources, all alike
                    critic.append(_Twice())
    assert not made.check(*batch(30, 20)).passed


class _Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, 2)


def test_a_critic_that_ends_in_a_sigmoid_is_found() -> None:
    made = method("dann")
    assert isinstance(made.critic, nn.Sequential)
    made.critic.append(nn.Sigmoid())
    (problem,) = made.check(*batch(30, 20)).problems
    assert "probabilities" in problem


class _Cut(DANN):
    def term(self, seen: Seen) -> Tensor:
        return super().term(seen._replace(both=seen.both.detach()))


class _Around(MCC):
    def term(self, seen: Seen) -> Tensor:
        return super().term(seen) + seen.target_logits.square().mean()


class _Stopped(MCC):
    def term(self, seen: Seen) -> Tensor:
        return super().term(seen._replace(target_logits=seen.target_logits.detach()))


@pytest.mark.parametrize(
    ("kind", "said"), [(_Cut, "no gradient"), (_Around, "twice the strength"), (_Stopped, "no gradient of mcc's term")]
)
def test_a_method_that_breaks_its_gradient_is_found(kind: type[Method], said: str) -> None:
    whole = method("mcc")
    problems = kind(whole.features, whole.head, strength=0.5).double().check(*batch(30, 20)).problems
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize("name", ["dann", "mcc", "adda", "dann+mcc"])
def test_a_strength_that_is_0_for_good_is_found_and_one_that_starts_there_is_not(name: str) -> None:
    given = batch(30, 20)
    assert any("strength is 0" in problem for problem in method(name, strength=0.0).check(*given).problems)
    assert method(name, strength=None).check(*given).passed


@pytest.mark.parametrize("name", ["dann", "partial", "self-training", "adda", "multi-source", "dann+mcc"])
def test_a_check_leaves_the_method_as_it_is(name: str) -> None:
    made, given = method(name, strength=schedules.linear(0, 1, 10)), batch(30, 20)
    given.loss(made)
    state, figures = copy.deepcopy(made.state_dict()), dict(made.figures)
    made.check(*given)
    assert figures == made.figures
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in state.items())
    assert all(not module._forward_hooks for module in made.modules())


# What λ means


@pytest.mark.parametrize("name", ADAPTING)
def test_twice_the_strength_is_twice_the_gradient_of_the_features(name: str) -> None:
    given = batch()
    once, twice = (
        gradients(given.term(made), adapted(made)) for made in (method(name, strength=1.0), method(name, strength=2.0))
    )
    assert once.norm() > 1e-6
    torch.testing.assert_close(twice, 2 * once, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_at_strength_0_the_features_learn_as_from_the_source_alone(name: str) -> None:
    given, made = batch(), method(name, strength=0.0)
    found = gradients(given.loss(made), adapted(made))
    alone = make("source", made.features, made.head)
    expected = gradients(given.loss(alone), made.features)
    if name == "adda":  # the source's features are fixed by then
        expected = torch.zeros_like(expected)
    if "mcd" in name:
        other = getattr(made, "other", None) or made.parts[0].other  # type: ignore[attr-defined]
        expected = (expected + gradients(given.loss(make("source", made.features, other)), made.features)) / 2
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_each_row_twice_is_the_same_loss(name: str) -> None:
    given = batch()
    doubled = Batch(*(value.repeat_interleave(2, 0) for value in given))
    torch.testing.assert_close(doubled.loss(method(name)), given.loss(method(name)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    given, one, other = batch(), method(name), method(name)
    rows, others = torch.arange(12).roll(5), torch.arange(8).flip(0)
    turned = Batch(given.xs[rows], given.ys[rows], given.xt[others], given.domains[rows])
    first, second = gradients(given.loss(one), one), gradients(turned.loss(other), other)
    torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-12)


# Any batch


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("n", "m"), [(12, 5), (5, 12), (1, 1), (1, 7), (7, 1)])
def test_batches_of_any_size(name: str, n: int, m: int) -> None:
    made = method(name)
    loss = batch(n, m).loss(made)
    assert math.isfinite(loss.item())
    assert bool(gradients(loss, made).isfinite().all())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("factor", [1e4, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_that_are_huge_or_all_the_same(name: str, factor: float, dtype: torch.dtype) -> None:
    made, given = method(name, features=nn.Linear(4, 6), strength=1.0).to(dtype), batch()
    for _ in range(2):
        loss = given._replace(xs=factor * given.xs.to(dtype), xt=factor * given.xt.to(dtype)).loss(made)
        assert math.isfinite(loss.item())
        assert bool(gradients(loss, made).isfinite().all())


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.tanh(self.layer(torch.cat([left, right], dim=1)))


@pytest.mark.parametrize("name", ALL)
def test_several_inputs_are_as_good_as_one(name: str) -> None:
    given = batch()
    pairs: list[Any] = [
        tuple((x[:, :1], x[:, 1:]) for x in (given.xs, given.xt)),
        tuple({"right": x[:, 1:], "left": x[:, :1]} for x in (given.xs, given.xt)),
    ]
    two = _Two()
    one = nn.Sequential(copy.deepcopy(two.layer), nn.Tanh())
    expected = given.loss(method(name, features=one))
    for xs, xt in pairs:
        made = method(name, features=copy.deepcopy(two))
        torch.testing.assert_close(made(xs, given.ys, xt, domains=given.domains), expected)
        torch.testing.assert_close(made.predict(xt), method(name, features=one).predict(given.xt))


@pytest.mark.parametrize("name", METHODS)
def test_regression_works_or_is_refused(name: str) -> None:
    given = batch()
    given = given._replace(ys=given.ys.double())
    if "regression" not in METHODS[name].tasks:
        with pytest.raises(InputError, match=f"{name.replace('+', '.')} is no method for regression"):
            method(name, task="regression")
        return
    made = method(name, task="regression")
    loss = given.loss(made)
    assert bool(gradients(loss, made).isfinite().all())
    task = (made.head(made.features(given.xs)).squeeze(1) - given.ys).square().mean()
    torch.testing.assert_close(made.figures["task"], task.detach())
    assert made.predict(given.xt).shape == (8, 1)


@pytest.mark.parametrize("name", ADAPTING)
def test_what_a_method_needs_is_asked_for(name: str) -> None:
    given, made = batch(), method(name)
    if made.needs_target:
        with pytest.raises(InputError, match="no target"):
            made(given.xs, given.ys, domains=given.domains)
    if made.needs_domains:
        with pytest.raises(InputError, match="no domains"):
            made(given.xs, given.ys)
    with pytest.raises(InputError, match="11 labels"):
        made(given.xs, given.ys[:11], given.xt)


# State


def _trained(made: Method, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        loss = batch(seed=step).loss(made)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ALL)
def test_what_is_saved_goes_on_as_if_nothing_had_happened(name: str) -> None:
    settings: dict[str, Any] = {"strength": schedules.linear(0, 1, 6), **({"pretrain": 2} if name == "adda" else {})}
    made = method(name, **settings)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    _trained(made, optimizer, range(3))
    saved, held = copy.deepcopy(made.state_dict()), copy.deepcopy(optimizer.state_dict())
    expected = _trained(made, optimizer, range(3, 6))
    assert made.strength == (1.0 if name != "adda" else pytest.approx(4 / 6))
    resumed = method(name, seed=1, **settings)
    resumed.load_state_dict(saved)
    optimizer = torch.optim.AdamW(resumed.parameters(), lr=1e-2)
    optimizer.load_state_dict(held)
    assert _trained(resumed, optimizer, range(3, 6)) == expected
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in made.state_dict().items())


@pytest.mark.parametrize("name", ALL)
def test_only_steps_of_training_move_the_schedule_or_anything_else(name: str) -> None:
    made, given = method(name, strength=schedules.linear(0, 1, 4)), batch()
    given.loss(made)
    assert {each.strength for each in (made, *getattr(made, "parts", []))} == {0.25}
    before = copy.deepcopy(made.state_dict())
    given.loss(made.eval())
    made.predict(given.xt)
    with torch.no_grad():
        given.loss(made.train())
        made.predict(given.xt)
    assert made.strength == 0.25
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize("name", ALL)
def test_a_copy_is_a_method_of_its_own(name: str) -> None:
    made, given = method(name, strength=schedules.linear(0, 1, 4)), batch()
    given.loss(made)
    copied = copy.deepcopy(made)
    before = copy.deepcopy(made.state_dict())
    loss = given.loss(copied)
    _trained(copied, torch.optim.SGD(copied.parameters(), lr=0.1), range(2))
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in before.items())
    assert made.strength == 0.25
    torch.testing.assert_close(given.loss(made), loss)


# Names and sums


@pytest.mark.parametrize("name", COMBINED)
def test_a_sum_of_methods_is_the_sum_of_their_terms(name: str) -> None:
    made, given = method(name).eval(), batch()  # partial's shares stay where they are
    assert made.name == name
    loss = given.loss(made)
    terms = [given.term(part) for part in made.parts]  # type: ignore[attr-defined]
    task = made.supervised(made.see(*given))
    torch.testing.assert_close(made.figures["term"], sum(terms).detach())  # type: ignore[union-attr]
    torch.testing.assert_close(loss, task + sum(terms))
    for part, term in zip(parts_of(name), terms, strict=True):
        torch.testing.assert_close(made.figures[f"{part} term"], term.detach())


@pytest.mark.parametrize(("one", "other"), [("dann", "mcc"), ("mcd", "coral"), ("partial", "cdan+e")])
def test_the_order_of_a_sum_does_not_matter(one: str, other: str) -> None:
    made, given = method(f"{one}+{other}"), batch()
    turned = made.parts[1] + made.parts[0]  # type: ignore[attr-defined]
    assert turned.name == f"{other}+{one}"
    state = copy.deepcopy(made.state_dict())
    first = gradients(given.loss(made), made.features)
    made.load_state_dict(state)
    torch.testing.assert_close(gradients(given.loss(turned), made.features), first)
    torch.testing.assert_close(turned.predict(given.xt), made.predict(given.xt))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cdan+e", ["cdan+e"]),
        ("cdan+e+mcc", ["cdan+e", "mcc"]),
        ("mcc+cdan+e", ["mcc", "cdan+e"]),
        ("cdan+mcc", ["cdan", "mcc"]),
    ],
)
def test_names_are_taken_apart(name: str, parts: list[str]) -> None:
    assert parts_of(name) == parts


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("dan", {}, "no method 'dan', did you mean 'dann'"),
        ("MCC", {}, "no method 'MCC', did you mean 'mcc'"),
        ("dann+", {}, "no method ''"),
        ("dann+corall", {}, "no method 'corall', did you mean 'coral'"),
        ("qqq", {}, "no method 'qqq': use one of source, dann"),
        ("dann", {"temperature": 1}, "dann has no setting 'temperature': it takes critic, loss, steps"),
        ("adda+mcc", {}, "adda runs the networks in its own way"),
        ("mcd+partial", {}, "mcd and partial each have a task loss"),
        ("generalisation", {"sources": 1}, "1 source"),
        ("mdd", {"gamma": 0}, "gamma is 0"),
        ("partial", {"momentum": 1}, "momentum is 1"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        make(name, nn.Linear(4, 6), nn.Linear(6, 3), **settings)
    assert said in str(caught.value)


def test_parts_must_share_their_networks_and_their_task() -> None:
    features, head = nn.Linear(4, 6), nn.Linear(6, 1)
    with pytest.raises(InputError, match="not the same features"):
        DANN(features, head) + MCC(nn.Linear(4, 6), head)
    with pytest.raises(InputError, match="not the same features"):
        DANN(features, head) + DANN(features, head, task="regression")


def test_settings_reach_the_parts_that_know_them() -> None:
    made = make("dann+mcc", nn.Linear(4, 6), nn.Linear(6, 3), strength=0.3, temperature=2.0, loss="minimax")
    dann, mcc = made.parts  # type: ignore[attr-defined]
    assert (dann.loss, mcc.temperature, dann.strength, mcc.strength) == ("minimax", 2.0, 0.3, 0.3)
