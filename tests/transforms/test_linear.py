"""The linear family and its three places, against hand-computed gradients."""

import math

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError


@pytest.mark.parametrize("strength", [1.0, 0.3, 0.0, -0.5, torch.tensor(0.3)])
def test_reverse_multiplies_by_minus_strength(strength: float | torch.Tensor) -> None:
    x = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    y = gt.Reverse(strength)(x)
    assert torch.equal(y, x)
    (y * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert torch.allclose(x.grad, -float(strength) * torch.tensor([1.0, 2.0, 4.0]))


def test_values_that_are_not_finite_pass_unchanged() -> None:
    x = torch.tensor([math.inf, -math.inf, math.nan, 1.0], requires_grad=True)
    y = gt.reverse(x, 2.0)
    assert torch.equal(y.nan_to_num(7.0, 8.0, 9.0), x.nan_to_num(7.0, 8.0, 9.0))
    y[3].backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0, -2.0]


def test_reverse_under_func_grad_and_second_derivative() -> None:
    x = torch.tensor([2.0, 3.0])
    assert torch.allclose(torch.func.grad(lambda v: (gt.reverse(v, 0.5) ** 3).sum())(x), -0.5 * 3 * x**2)
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad((gt.reverse(leaf, 0.5) ** 3).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    assert torch.allclose(second, 0.25 * 6 * x)  # the reversal meets the gradient of the gradient once more


def test_chain_order_and_print() -> None:
    x = torch.ones(2, requires_grad=True)
    both = gt.chain(gt.Scale(3.0), gt.chain(gt.Reverse(2.0)))
    both(x).sum().backward()
    assert x.grad.tolist() == both.gradient(torch.ones(2)).tolist() == [-6.0, -6.0]
    assert repr(both) == "chain(Scale(factor=3.0), Reverse(strength=2.0))"


def test_at_a_node_reverses_what_lies_before_it_only() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    x = torch.randn(4, 3)
    model(x).sum().backward()
    plain = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    handle = gt.Reverse(0.5).at(model, "0")
    model(x).sum().backward()
    reversed_ = [p.grad.clone() for p in model.parameters()]
    assert all(torch.allclose(r, -0.5 * p) for r, p in zip(reversed_[:2], plain[:2], strict=True))
    assert all(torch.equal(r, p) for r, p in zip(reversed_[2:], plain[2:], strict=True))
    handle.remove()
    model.zero_grad()
    model(x).sum().backward()
    assert all(torch.equal(p.grad, q) for p, q in zip(model.parameters(), plain, strict=True))


def test_on_an_optimizer_changes_the_step() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    handle = gt.chain(gt.Scale(2.0), gt.Reverse()).on(optimizer)
    (weight * 3).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 + 0.1 * 6)
    handle.remove()
    optimizer.zero_grad()
    (weight * 3).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(1.6 - 0.3)


def test_stop_and_integers() -> None:
    x = torch.ones(2, requires_grad=True)
    assert not gt.stop(x).requires_grad
    assert gt.Stop().gradient(torch.ones(2)).tolist() == [0.0, 0.0]
    assert gt.reverse(torch.tensor([1, 2])).tolist() == [1, 2]


def test_bad_strengths_are_refused() -> None:
    with pytest.raises(InputError, match="strength is inf"):
        gt.Reverse(math.inf)
    with pytest.raises(InputError, match="shape"):
        gt.Scale(torch.ones(2))
    with pytest.raises(InputError, match="nothing to compose"):
        gt.chain()
    with pytest.raises(InputError, match="no submodule 'x'"):
        gt.Reverse().at(nn.Sequential(nn.Linear(1, 1)), "x")


def test_on_an_optimizer_that_takes_a_closure_the_closures_gradients_are_changed() -> None:
    for step in (lambda o, c: o.step(c), lambda o, c: o.step(closure=c)):
        weight = nn.Parameter(torch.tensor([1.0]))
        optimizer = torch.optim.SGD([weight], lr=0.1)

        def closure(weight: nn.Parameter = weight, optimizer: torch.optim.Optimizer = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (weight * 3).sum()
            loss.backward()
            return loss

        gt.Reverse().on(optimizer)
        assert step(optimizer, closure).item() == pytest.approx(3.0)
        assert weight.item() == pytest.approx(1.3)
        gt.Stop().on(optimizer)
        step(optimizer, closure)
        assert weight.item() == pytest.approx(1.3)
