"""Steering against closed forms and twins that run alone."""

from functools import partial

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError, TapeError
from tests.tape.test_record import small_cnn


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_sgd_follows_the_closed_form() -> None:
    tape = gt.record(lambda x: (x * 2).sum(dim=1) * 3, torch.ones(2, 2))
    steered = tape.steer("mul_1", lambda out: out.square().sum() / 2, steps=1, lr=0.01, optimizer=torch.optim.SGD)
    # value 2, output 12, gradient of the objective at the node 3 * 12 = 36; step .01 * rms 2
    assert torch.allclose(steered.value, torch.full((2, 2), 2 - 0.02 * 36))
    assert torch.allclose(steered.path[0], torch.full((2, 2), 2.0))
    assert torch.allclose(steered.objective, torch.tensor([144.0, (3 * 2 * 1.28) ** 2]))
    assert torch.allclose(steered.output, torch.full((2,), 3 * 2 * 1.28))


def test_through_a_reversal_it_ascends(x: torch.Tensor) -> None:
    model = small_cnn().eval()
    labels = torch.tensor([0, 1, 2, 0, 1])
    tape = gt.record(model, x)
    frozen = {name: p.clone() for name, p in model.named_parameters()}

    def loss(out: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(out, labels, reduction="sum")

    down = tape.steer("3", loss, steps=5, lr=0.02)
    up = tape.steer("3", loss, steps=5, lr=0.02, through=gt.Reverse())
    assert down.objective[-1] < down.objective[0] == up.objective[0] < up.objective[-1]
    # Adam's first step is the sign of the gradient, so the two leave the start in opposite directions
    assert torch.allclose(down.path[1] - down.path[0], up.path[0] - up.path[1], atol=1e-7)
    assert all(torch.equal(frozen[name], p) and p.grad is None for name, p in model.named_parameters())


def test_an_objective_for_each_sample_moves_each_as_if_it_ran_alone(x: torch.Tensor) -> None:
    model = small_cnn().eval()

    def steered(x: torch.Tensor, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
        tape = gt.record(model, x)
        lr = lr / tape["2"].value.square().mean().sqrt().item()
        found = tape.steer("2", lambda out: out[:, 0].exp(), steps=3, lr=lr, optimizer=torch.optim.SGD)
        return found.value, found.objective

    together, objective = steered(x, 0.05)
    assert objective.shape == (4, 5)
    assert (objective[-1] < objective[0]).all()
    for row in range(5):
        alone, its_own = steered(x[row : row + 1], 0.05)
        assert its_own.shape == (4, 1)
        assert torch.allclose(together[row], alone[0], atol=1e-6)
        assert torch.allclose(objective[:, row], its_own[:, 0])
    summed = gt.record(model, x).steer("2", lambda out: out[:, 0].exp().sum(), steps=3)
    each = gt.record(model, x).steer("2", lambda out: out[:, 0].exp(), steps=3)
    assert torch.equal(summed.value, each.value)
    assert torch.allclose(summed.objective, each.objective.sum(1))


def test_towards_a_value_at_another_node() -> None:
    tape = gt.record(lambda x: (x * 2).sum() + 1, torch.tensor([1.0, 3.0]))
    steered = tape.steer(
        "input", lambda h: (h - 8).square() / 2, at="mul_1", steps=1, lr=0.1 / 5**0.5, optimizer=torch.optim.SGD
    )
    # h = 2, 6 is 6, 2 short of 8; the gradient with respect to x is twice that, the step 0.1
    assert torch.allclose(steered.value, torch.tensor([1.0 + 1.2, 3.0 + 0.4]))
    assert torch.allclose(steered.objective, torch.tensor([[18.0, 2.0], [3.6**2 / 2, 1.2**2 / 2]]))
    assert torch.allclose(steered.output, torch.tensor([4.4, 6.8]))
    with pytest.raises(TapeError, match="node 'mul_1' does not depend on node 'sum_1'"):
        tape.steer("sum_1", torch.sum, at="mul_1")


def test_an_optimizer_that_tries_before_it_moves() -> None:
    tape = gt.record(lambda x: x * torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))

    def bowl(out: torch.Tensor) -> torch.Tensor:
        return (out - 6).square().sum()

    search = partial(torch.optim.LBFGS, line_search_fn="strong_wolfe")
    steered = tape.steer("input", bowl, steps=3, lr=1.0, optimizer=search)
    assert torch.allclose(steered.value, torch.tensor([6.0, 3.0, 2.0]), atol=1e-4)
    assert steered.path.shape == (4, 3)
    assert torch.equal(steered.path[0], torch.ones(3))
    assert steered.objective[0] == 25 + 16 + 9
    assert torch.allclose(
        steered.objective, torch.stack([bowl(torch.tensor([1.0, 2.0, 3.0]) * at) for at in steered.path])
    )

    once = partial(torch.optim.LBFGS, max_iter=1)
    down = tape.steer("input", bowl, steps=1, lr=0.1, optimizer=once)
    up = tape.steer("input", bowl, steps=1, lr=0.1, optimizer=once, through=gt.Reverse())
    assert torch.allclose(down.value - 1, 1 - up.value)
    assert up.objective[1] > up.objective[0] > down.objective[1]
    with pytest.raises(InputError, match="line search knows nothing of Reverse"):
        tape.steer("input", bowl, optimizer=search, through=gt.Reverse())


def test_the_tape_and_the_model_stay_as_they_were(x: torch.Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))

    def f(x: torch.Tensor) -> torch.Tensor:
        h = model[0](x)
        return model[3](model[2](model[1](h) + h))  # the sum needs h too, which is not run again

    tape = gt.record(f, x)
    with torch.no_grad():
        first = tape.steer("relu_1", lambda out: out[:, 0].sum(), steps=2)
    again = tape.steer("relu_1", lambda out: out[:, 0].sum(), steps=2)
    assert torch.equal(first.value, again.value)
    assert not any(tensor.requires_grad for tensor in again)
    assert torch.equal(tape.output, f(x))
    assert not tape.verify().problems
    assert all(p.grad is None for p in model.parameters())
    tape.backward(tape.output.sum())  # steering has not freed its graph
    assert tape["relu_1"].grad is not None


def test_regions_without_gradient_stay_so() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        h = x * 1.0
        with torch.no_grad():
            s = h.clone()
        return h - 2 * s

    tape = gt.record(f, torch.ones(2))
    steered = tape.steer("input", torch.sum, steps=1, lr=0.1, optimizer=torch.optim.SGD)
    assert torch.allclose(steered.value, torch.full((2,), 0.9))  # autograd's gradient is +1, so descent lowers x


def test_bad_requests_say_what_to_do(x: torch.Tensor) -> None:
    tape = gt.record(small_cnn().eval(), x)
    with pytest.raises(InputError, match="steps is 0: give a whole number of at least 1"):
        tape.steer("3", torch.sum, steps=0)
    with pytest.raises(InputError, match="lr is nan"):
        tape.steer("3", torch.sum, lr=float("nan"))
    with pytest.raises(InputError, match=r"objective has shape \(5, 3\): return a scalar, or one .*, \(5,\)"):
        tape.steer("3", lambda out: out)
    with pytest.raises(InputError, match="the objective is a float"):
        tape.steer("3", lambda out: 1.0)
    with pytest.raises(InputError, match="through is a float: give a transformation"):
        tape.steer("3", torch.sum, through=1.0)
    with pytest.raises(TapeError, match="no gradient of the objective"):
        tape.steer("3", lambda out: out.detach().sum())
    with pytest.raises(TapeError, match="no gradient of the objective"):
        tape.steer("3", lambda out: tape.output.sum())  # it has one, but not by way of the moved value
    with torch.no_grad():
        silent = gt.record(small_cnn().eval(), x)
    with pytest.raises(TapeError, match="record with gradients on"):
        silent.steer("3", torch.sum)
    side = gt.record(lambda x: (x * 2, (x + 1).detach())[0], torch.ones(2))
    with pytest.raises(TapeError, match="does not depend"):
        side.steer("add_1", torch.sum)
    with pytest.raises(InputError, match="node 'input' is not finite"):
        gt.record(lambda x: x * 2, torch.tensor([torch.inf])).steer("input", torch.sum)
    with pytest.raises(InputError, match="node 'input' holds torch.int64"):
        gt.record(nn.Embedding(3, 2), torch.tensor([1])).steer("input", torch.sum)


def test_an_objective_that_stops_being_finite_is_refused_with_its_step() -> None:
    tape = gt.record(lambda x: x * 1.0, torch.ones(2))
    with pytest.raises(InputError, match="not finite at step 2 of 9"):  # 1, 0.4, then -0.2, of which there is no root
        tape.steer("input", lambda out: out.sqrt().sum(), steps=9, lr=0.6)
    with pytest.raises(InputError, match="not finite at step 2 of 2"):  # nor is the last
        tape.steer("input", lambda out: out.sqrt().sum(), steps=2, lr=0.6)


def test_an_objective_without_a_slope_is_told() -> None:
    tape = gt.record(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(2, 3))
    with pytest.warns(UserWarning, match="gradient of the objective is 0 where the search starts, so nothing moves"):
        tape.steer("input", lambda value: (value - 100).relu().sum(), steps=2)
    with pytest.warns(UserWarning, match="gradient of the objective is 0"):
        tape.invert("0", lambda value: (value - 100).relu().sum(), steps=2)
    tape.invert("0", tape["0"].value, steps=2)  # there already: nothing to tell
