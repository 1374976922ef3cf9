"""A tape says of a run what the run did, on networks of many kinds; and where it does not, verify finds it."""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import gradtape as gt
from gradtape.errors import TapeError
from gradtape.tape._node import Ref
from tests.tape.networks import NETWORKS, NOT_RUN_AGAIN, Around, layer, rows


def made(name: str) -> tuple[torch.nn.Module, tuple[object, ...], dict[str, object]]:
    torch.manual_seed(0)
    model, (args, kwargs) = NETWORKS[name]()
    return model, args, kwargs


@pytest.mark.parametrize("name", NETWORKS)
def test_verify_passes(name: str) -> None:
    model, args, kwargs = made(name)
    tape = gt.record(model, *args, **kwargs)
    found = tape.verify()
    assert found.problems == ()
    parameters = sum(parameter.requires_grad for parameter in model.parameters())
    if name not in ("dead branch", "no grad", "lstm", "gru", "rnn"):
        assert found.gradients > parameters  # those of nodes beside them


@pytest.mark.filterwarnings("ignore:node 'nonzero_1' has shape")  # experts take as many rows as they are given
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("embedding", *NOT_RUN_AGAIN)])
def test_a_replay_with_another_input_is_a_run_with_it(name: str) -> None:
    model, args, kwargs = made(name)
    twin = copy.deepcopy(model)
    other = torch.randn_like(args[0])
    torch.manual_seed(1)
    again = gt.record(model, *args, **kwargs).replay({"input": other})
    torch.manual_seed(1)
    expected = twin(other.requires_grad_(), *args[1:], **kwargs)
    leaves = list(zip(tree_leaves(again.output), tree_leaves(expected), strict=True))
    for mine, theirs in leaves:
        torch.testing.assert_close(mine, theirs)
    mine, theirs = (
        torch.autograd.grad(sum(pair[side].abs().sum() for pair in leaves), list(net.parameters()), allow_unused=True)
        for side, net in enumerate((model, twin))
    )
    for left, right in zip(mine, theirs, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", NOT_RUN_AGAIN)
def test_what_cannot_be_run_again_is_refused_by_name(name: str) -> None:
    model, args, kwargs = made(name)
    tape = gt.record(model, *args, **kwargs)
    with pytest.raises(TapeError, match=r"was made by (Exponential|_GradientRule), no function of torch's"):
        tape.replay({"input": rows()})
    last = tape.nodes[-1]
    behind = last.parents[0]
    torch.testing.assert_close(tape.replay({behind.position: behind.value}).output, tape.output)


def test_a_value_that_was_changed_behind_the_tapes_back_is_found() -> None:
    model, args, _ = made("mlp")
    tape = gt.record(model, *args)
    tape["1"].value.data.add_(0.01)
    assert [problem.split(":")[0] for problem in tape.verify().problems[:1]] == ["the value of 1"]


def test_a_dependency_that_the_tape_has_missed_is_found() -> None:
    model, args, _ = made("mlp")
    tape = gt.record(model, *args)
    call = tape["2"].call
    call.arguments = [a if not isinstance(a, Ref) else tape["1"].value.detach() for a in call.arguments]
    found = tape.verify()
    assert not found
    assert "the gradient of 1: the tape has none" in found.problems
    assert "3 values and 8 gradients compared, " in str(found)


def test_a_wrong_derivative_is_found() -> None:
    model, args, _ = made("mlp")
    tape = gt.record(model, *args)
    call = tape["1"].call
    call.function = lambda x, **_: gt.scale(torch.relu(x), 1.01)
    assert any(problem.startswith("the gradient of 0: off by") for problem in tape.verify().problems)


def test_verify_changes_nothing_and_needs_the_graph() -> None:
    model, args, _ = made("dropout")
    tape = gt.record(model, *args)
    state = torch.get_rng_state()
    assert tape.verify().passed
    assert torch.equal(torch.get_rng_state(), state)
    assert all(node.grad is None for node in tape)
    assert all(parameter.grad is None for parameter in model.parameters())
    tape.backward(tape.output.sum())
    with pytest.raises(TapeError, match="graph of this tape was freed: call backward with retain_graph=True"):
        tape.verify()


def test_ancestors_descendants_and_what_lies_between() -> None:
    def diamond(x: Tensor) -> Tensor:
        left, right = x.sin(), x.cos()
        other = right * 2
        return left + right + other.detach().sum()

    tape = gt.record(diamond, rows())
    names = lambda nodes: [node.name for node in nodes]  # noqa: E731
    assert names(tape.descendants("cos_1")) == ["mul_1", "add_1", "detach_1", "sum_1", "add_2"]
    assert names(tape.ancestors("add_1")) == ["input", "sin_1", "cos_1"]
    assert names(tape.between("cos_1", "add_1")) == ["cos_1", "add_1"]
    assert names(tape.between("sin_1", "mul_1")) == []
    assert names(tape.between("mul_1", "mul_1")) == ["mul_1"]
    assert names(tape.between("input", "add_2")) == names(tape.nodes)


def test_the_shared_memory_of_a_value_that_was_overwritten_twice_is_put_together_in_order() -> None:
    def twice(self: Around, x: Tensor) -> Tensor:
        h = self.a(x)
        first, second = h[:, :5], h[:, 3:]
        first.mul_(2.0)
        second.add_(1.0)  # three columns of both
        return h * 1.0

    torch.manual_seed(0)
    model, x, other = Around(twice, a=layer()), rows(), rows()
    tape = gt.record(model, x)
    assert tape.verify().passed
    torch.testing.assert_close(tape.replay({"input": other}).output, model(other))
