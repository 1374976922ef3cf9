"""Schedules by their formulas, and the position of what follows one."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError

S = gt.schedules


def values(schedule: object, positions: range | list[int]) -> list[float]:
    return [schedule(position) for position in positions]


def test_each_schedule_by_its_formula() -> None:
    assert values(S.constant(0.3), [0, 5]) == [0.3, 0.3]
    assert values(S.linear(1, 3, total_steps=4), range(6)) == [1, 1.5, 2, 2.5, 3, 3]
    assert values(S.cosine(1, 0, total_steps=4), range(6)) == pytest.approx(
        [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0]
    )
    for position in (0, 3, 50, 100, 150):
        p = min(position / 100, 1)
        assert S.dann(100)(position) == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1)
        assert S.dann(100, gamma=4, strength=0.5)(position) == pytest.approx(0.5 * (2 / (1 + math.exp(-4 * p)) - 1))
    assert values(S.warmup(4, 2.0), range(6)) == [0, 0.5, 1, 1.5, 2, 2]
    assert values(S.warmup(2, S.linear(4, 0, total_steps=2)), range(6)) == [0, 2, 4, 2, 0, 0]
    assert values(S.piecewise({0: 1.0, 3: 0.5}), range(5)) == [1, 1, 1, 0.5, 0.5]
    assert values(S.power(2.0, 0.5), [0, 3]) == [2.0, 1.0]


def test_the_slow_ramp_is_slow() -> None:
    """Over at iteration 20 of 2,400 is a mistake that others have made."""
    ramp = S.dann(2400)
    assert ramp(20) < 0.05
    assert 0.99 < ramp(1300) < ramp(2400)


def test_schedules_print_as_they_were_made_and_can_be_copied_and_pickled() -> None:
    schedule = S.warmup(10, S.dann(100))
    assert repr(schedule) == "warmup(steps=10, after=dann(total_steps=100, gamma=10.0, strength=1.0))"
    assert repr(gt.Reverse(S.constant(1.0))) == "Reverse(strength=constant(value=1.0))"
    for other in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert values(other, range(40)) == values(schedule, range(40))


@pytest.mark.parametrize("make", [S.dann, lambda n: S.linear(0, 1, n), lambda n: S.cosine(0, 1, n), S.warmup])
def test_no_steps_are_refused(make: object) -> None:
    with pytest.raises(InputError, match="was given 0 steps"):
        make(0)


def test_piecewise_must_begin_at_the_beginning() -> None:
    for pieces in ({}, {1: 0.5}, {-1: 0.0, 0: 1.0}):
        with pytest.raises(InputError, match="piecewise begins at"):
            S.piecewise(pieces)


def test_the_position_moves_with_step_in_training_only() -> None:
    rev = gt.Reverse(S.linear(0, 1, total_steps=4))
    seen = []
    for _ in range(3):
        x = torch.ones(1, requires_grad=True)
        rev(x).backward()
        seen.append(-x.grad.item())
        rev.step()
    assert seen == [0.0, 0.25, 0.5]
    rev.eval()
    rev.step()
    assert (rev.position, rev.strength) == (3, 0.75)
    rev.train()
    rev.step()
    assert (rev.position, rev.strength) == (4, 1.0)


def test_the_position_is_in_the_state_and_may_be_set_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2), gt.Reverse(S.linear(0, 1, total_steps=4)))
    model[1].position = 3
    assert model[1].strength == 0.75
    other = nn.Sequential(nn.Linear(2, 2), gt.Reverse(S.linear(0, 1, total_steps=4)))
    assert model.state_dict()["1.position"].item() == 3
    other.load_state_dict(model.state_dict())
    assert (other[1].position, other[1].strength) == (3, 0.75)
    constant = nn.Sequential(nn.Linear(2, 2), gt.Reverse(0.5))
    assert list(constant.state_dict()) == ["0.weight", "0.bias"]  # nothing to remember, so no key that others lack
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: .1.position"):
        other.load_state_dict(constant.state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: .1.position"):
        constant.load_state_dict(model.state_dict())
    with pytest.raises(InputError, match="position of strength is -1"):
        model[1].position = -1
    with pytest.raises(InputError, match="no schedule to move along"):
        constant[1].position = 1


def test_a_chain_keeps_each_members_position() -> None:
    make = lambda: gt.chain(gt.Scale(S.linear(0, 1, 4)), gt.Clip(1.0), gt.Noise(S.power(1.0, 1.0)))  # noqa: E731
    chain, other = make(), make()
    chain.step()
    chain.step()
    other.load_state_dict(chain.state_dict())
    assert [member.position for member in (other.members[0], other.members[2])] == [2, 2]
    assert sorted(chain.state_dict()) == ["members.0.position", "members.2.draws", "members.2.position"]
    chain.eval()
    chain.step()
    assert chain.members[0].position == 2


def test_half_precision_does_not_round_the_position_or_the_value() -> None:
    rev = gt.Reverse(S.linear(0, 1, total_steps=3000)).bfloat16()
    rev.position = 1001  # not a number of bfloat16, which goes from 1000 to 1008
    rev.bfloat16().half()
    assert (rev.position, rev.strength) == (1001, 1001 / 3000)
    assert rev.state_dict()["position"].item() == 1001


def test_on_an_optimizer_it_moves_with_each_step_and_follow_moves_it_elsewhere() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scale, rev = gt.Scale(S.piecewise({0: 1.0, 1: 10.0})), gt.Reverse(S.dann(10))
    attachment, follower = scale.on(optimizer), rev.follow(optimizer)
    for _ in range(2):
        weight.grad = torch.ones(1)
        optimizer.step()
    assert weight.item() == -11.0
    assert (scale.position, rev.position) == (2, 2)
    attachment.remove()
    follower.remove()
    weight.grad = torch.ones(1)
    optimizer.step()
    assert (scale.position, rev.position) == (2, 2)


def test_a_closure_that_is_called_often_is_one_step() -> None:
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = torch.optim.LBFGS([weight], max_iter=5)
    scale = gt.Scale(S.linear(1, 0, total_steps=10))
    scale.on(optimizer)
    calls = []

    def closure() -> torch.Tensor:
        calls.append(1)
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(calls) > 1
    assert scale.position == 1


def test_any_callable_is_a_schedule_and_is_watched() -> None:
    rev = gt.Reverse(lambda position: 0.5 if position < 2 else math.nan)
    rev.step()
    with pytest.raises(InputError, match="strength at position 2 of its schedule is nan"):
        rev.step()
    assert (rev.position, rev.strength) == (1, 0.5)  # nothing is lost
    with pytest.raises(InputError, match="limit at position 0 of its schedule is -1"):
        gt.Clip(S.constant(-1.0))


def test_setting_the_strength_by_hand_ends_the_schedule() -> None:
    rev = gt.Reverse(S.dann(10))
    rev.strength = 0.25
    rev.step()
    assert (rev.strength, rev.schedule, repr(rev)) == (0.25, None, "Reverse(strength=0.25)")
    rev.strength = S.linear(0, 1, total_steps=2)
    rev.step()
    assert rev.strength == 0.5


def test_a_schedule_that_nobody_moves_is_noticed() -> None:
    rev, x = gt.Reverse(S.dann(1000)), torch.ones(1, requires_grad=True)
    for _ in range(499):
        rev(x)
    with pytest.warns(UserWarning, match=r"still at position 0 after 500 uses: call step\(\)"):
        rev(x)
    rev(x)  # once is enough
    moved = gt.Reverse(S.dann(1000))
    for _ in range(600):
        moved(x)
        moved.step()
    still = gt.Reverse(S.dann(1000)).eval()
    for _ in range(600):
        still(x)


def test_a_strength_given_as_a_tensor_is_read_at_each_forward_pass() -> None:
    strength = torch.tensor(0.5)
    rev = gt.Reverse(strength)
    for value in (0.5, 2.0):
        strength.fill_(value)
        x = torch.ones(1, requires_grad=True)
        y = rev(x)
        strength.fill_(99.0)  # between forward and backward: the value of the forward pass counts
        y.backward()
        assert x.grad.item() == -value
