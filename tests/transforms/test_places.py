"""Attached to an optimizer or at a submodule: what the places promise, whatever the rule."""

import copy
import math
import pickle

import pytest
import torch
import torch._dynamo
from torch import nn

import gradtape as gt
from gradtape.errors import InputError


def test_sparse_gradients_are_refused_by_name() -> None:
    model = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    gt.Clip(1.0).on(optimizer)
    model(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="the gradient of parameter weight is sparse"):
        optimizer.step()


def test_parameters_added_to_an_optimizer_later_are_transformed_too() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([first], lr=1.0)
    gt.Reverse().on(optimizer)
    optimizer.add_param_group({"params": [second]})
    first.grad, second.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert (first.item(), second.item()) == (1.0, 1.0)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_scaled_gradients_are_unscaled_before_they_are_transformed(fused: bool, kind: type) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = kind([weight], lr=1.0, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    average = gt.EMA(0.5)
    gt.chain(gt.Clip(1.0), average).on(optimizer)
    for value in (3.0, math.inf, 3.0):
        optimizer.zero_grad()
        before = weight.detach().clone()
        scaler.scale((weight * value).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        took = before - weight.detach()
        if math.isinf(value):
            assert torch.equal(took, torch.zeros(4))  # the scaler skips the step, and nothing remembers it
        elif kind is torch.optim.SGD:
            torch.testing.assert_close(took, torch.full((4,), 0.5))
    if kind is torch.optim.Adam:
        torch.testing.assert_close(optimizer.state[weight]["exp_avg"], torch.full((4,), 0.5 * (1 - 0.9**2)))
    assert average.state_dict()["counts"].tolist() == [[0, 2]]


def test_what_remembers_is_not_moved_by_two() -> None:
    first, second = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2))
    for make in (
        lambda: gt.Accumulate(2),
        lambda: gt.EMA(0.5),
        lambda: gt.Reverse(gt.schedules.dann(10)),
        lambda: gt.chain(gt.Scale(2.0), gt.EMA(0.5)),
    ):
        transform = make()
        attachment = transform.on(first)
        for again in (lambda t=transform: t.on(second), lambda t=transform: t.follow(first)):
            with pytest.raises(InputError, match="goes with the steps of an optimizer already"):
                again()
        attachment.remove()
        transform.on(second)
    constant = gt.Clip(1.0)
    constant.on(first)
    constant.on(second)


def test_a_transformation_at_a_submodule_that_is_never_called_says_so() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.weights = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.used(x), self.weights.weight)

    model = Functional()
    gt.Scale(0.0).at(model, "weights")
    gt.Scale(2.0).at(model, "used")
    with pytest.warns(UserWarning, match=r"Functional ran and did not call its submodule 'weights', so Scale"):
        model(torch.ones(1, 2))
    model(torch.ones(1, 2))  # once is enough
    with pytest.raises(InputError, match="'0' is a ModuleList, which is never called"):
        gt.Scale(2.0).at(nn.Sequential(nn.ModuleList()), "0")
    for transform in (gt.Accumulate(2), gt.Mask("0.*"), gt.Clip(0.1, by="unit"), gt.chain(gt.Scale(2.0), gt.Mask("0"))):
        with pytest.raises(InputError, match="tensor"):
            transform.at(nn.Sequential(nn.Linear(2, 2)), "0")


def test_a_model_with_an_attached_transformation_can_be_pickled_and_copied() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    gt.EMA(0.5).at(model, "0")
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        for twin in (model, other):  # each with an average of its own
            x = torch.ones(1, 2, requires_grad=True)
            twin(x).sum().backward()
            torch.testing.assert_close(x.grad, twin[1].weight @ twin[0].weight)


def test_attached_after_a_model_was_compiled_it_works_and_so_does_taking_it_off() -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    compiled = torch.compile(model, backend="aot_eager")

    def slope() -> torch.Tensor:
        model.zero_grad()
        compiled(torch.ones(1, 2)).sum().backward()
        return model[0].weight.grad.clone()

    plain = slope()
    attachment = gt.Reverse(0.5).at(model, "0")
    torch.testing.assert_close(slope(), -0.5 * plain)
    attachment.remove()
    torch.testing.assert_close(slope(), plain)


@pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")
def test_programs_that_look_for_no_hooks_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for program in (
        torch.export.export(model, (torch.ones(1, 2),)).module(),
        torch.jit.trace(model, (torch.ones(1, 2),)),
    ):
        with pytest.raises(InputError, match="looks for no hooks"):
            gt.Reverse().at(program, "0")


def test_a_closure_keeps_its_place_among_the_arguments_of_step() -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: object = None, extra: int = 0) -> tuple[object, int]:
            return super().step(closure), extra

    optimizer = Odd([nn.Parameter(torch.ones(1))], lr=1.0)
    gt.Reverse().on(optimizer)
    assert optimizer.step(lambda: 7, 5) == (7, 5)
