"""What cannot be used is refused in one sentence."""

import math

import pytest
import torch
import torch._dynamo
from torch import nn

import gradtape as gt
from gradtape.errors import InputError

NET = nn.Sequential(nn.Linear(2, 2))


def SGD() -> torch.optim.Optimizer:  # noqa: N802
    return torch.optim.SGD(NET.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: gt.Clip(torch.tensor(-1.0)), "limit is -1.0: give a finite number of at least 0.0"),
        (lambda: gt.Clip(1.0, by="size"), "by is 'size': use one of 'norm', 'value', 'unit'"),
        (lambda: gt.Clip(1.0, per="batch"), "per is 'batch': use one of 'all', 'tensor', 'sample'"),
        (lambda: gt.Clip(1.0, by="value", per="sample"), "per goes with by='norm'"),
        (lambda: gt.Clip(1.0, by="unit")(torch.ones(2, requires_grad=True)), "compares gradients with weights"),
        (lambda: gt.Clip(1.0, by="unit").gradient(torch.ones(2)), "needs the weights"),
        (lambda: gt.Normalize(per="row"), "per is 'row'"),
        (lambda: gt.Noise(-0.1), "std is -0.1: give a finite number of at least 0.0"),
        (lambda: gt.Project(torch.ones(2), when="never"), "when is 'never'"),
        (lambda: gt.SkipNonfinite(0), "stop_after is 0"),
        (lambda: gt.Reverse(torch.tensor(math.inf)), "strength is"),
        (lambda: gt.Scale(torch.tensor(math.nan)), "factor is"),
        (lambda: gt.Reverse("strong"), "strength is 'strong': give a finite number"),
        (lambda: gt.reverse(torch.ones(1), math.inf), "strength is inf"),
        (lambda: gt.scale(torch.ones(1), torch.ones(2)), "factor has shape"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gt.Reverse().on(nn.Linear(2, 2)), "put on a Linear, which is no optimizer"),
        (lambda: gt.Reverse().follow([]), "put on a list"),
        (lambda: gt.Reverse().at(torch.ones(2), "0"), "a Tensor has no submodules"),
        (lambda: gt.Reverse().at(nn.Linear(2, 2), "foo"), "no submodule 'foo': use one of '', the model itself"),
        (lambda: gt.Reverse()(3.0), "a float has no gradient: give a tensor"),
        (lambda: gt.Clip()([1.0]), "a list has no gradient: give a tensor"),
        (lambda: gt.Mask(3), "a mask was made of 3"),
        (lambda: gt.Project("a"), "the direction is 'a'"),
        (lambda: gt.reverse(torch.ones(1), gt.schedules.dann(3)), "give the schedule to the class"),
        (lambda: gt.Mask("0").on(SGD(), NET), "'0.*' is all of that submodule"),
        (lambda: gt.Mask("0.*").on(SGD(), nn.Linear(2, 2)), "the optimizer holds no parameter of this Linear"),
        (lambda: setattr(gt.Reverse(gt.schedules.dann(3)), "position", 2.5), "the position of strength is 2.5"),
    ],
)
def test_wrong_things_are_refused_in_one_sentence(call: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)


def test_a_tensor_that_turns_bad_later_is_refused_when_it_is_used() -> None:
    limit = torch.tensor(1.0)
    clip = gt.Clip(limit)
    limit.fill_(-1.0)
    with pytest.raises(InputError, match=r"limit is -1\.0"):
        clip.gradient(torch.ones(2))


def test_types_without_a_meaning_here_are_refused() -> None:
    for call in (
        lambda: gt.Project(torch.tensor([1.0, 1j])),
        lambda: gt.Mask(torch.tensor([1j])),
        lambda: gt.Reverse(torch.tensor(1j)),
        lambda: gt.Reverse()(torch.eye(2).to_sparse()),
    ):
        with pytest.raises(InputError):
            call()
