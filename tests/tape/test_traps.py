"""What has once been recorded wrong: a plain run, a check of the tape and a replay with another input for each."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import TapeError
from tests.tape.networks import Around, Exponential, layer


class Remembering(Around):
    """A function of layers and of one buffer, ``memory``."""

    def __init__(self, function: Callable[..., Any], size: tuple[int, ...] = (8,), **layers: nn.Module) -> None:
        super().__init__(function, **layers)
        self.register_buffer("memory", torch.ones(size))


def running_mean(self: Any, x: Tensor) -> Tensor:
    self.memory += x.detach().mean(0)
    return x - self.memory


def cache(self: Any, x: Tensor) -> Tensor:
    self.memory[:2] = x[:2]
    return self.memory @ x.T


def cache_through_a_view(self: Any, x: Tensor) -> Tensor:
    self.memory.narrow(0, 0, 2).copy_(x[:2])
    return self.memory @ x.T


def flag_of_the_input(x: Tensor) -> Tensor:
    h = x[:, None]
    h.requires_grad = True
    return h * 2


def input_without_gradient(x: Tensor) -> Tensor:
    return x.requires_grad_(False) * 2


def view_read_before_it_is_written(x: Tensor) -> Tensor:
    h = (x * 1.0).view(8, 4).transpose(0, 1)
    h[:2] = h[:2] * 2
    return h.softmax(-1)


def hook_on_a_tensor(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    h.register_hook(lambda grad: 3 * grad)
    return h.sin()


def parameter_in_a_custom_function(self: Any, x: Tensor) -> Tensor:
    return nn.functional.linear(x, Exponential.apply(self.a.weight)) / self.a.weight.detach().abs().max()


def attention_without_mask(self: Any, x: Tensor) -> Tensor:
    return torch.softmax(self.a(x) @ self.b(x).mT, -1) @ x  # the bias of b has a gradient of 0, by rounding alone


def learned_and_sparse(self: Any, x: Tensor) -> Tensor:
    return (self.a(x).to_sparse() * 2).to_dense()


TRAPS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "running mean": lambda: Remembering(running_mean),
    "cache": lambda: Remembering(cache, (4, 8)),
    "cache through a view": lambda: Remembering(cache_through_a_view, (4, 8)),
    "flag of the input": lambda: flag_of_the_input,
    "input without gradient": lambda: input_without_gradient,
    "view read before it is written": lambda: view_read_before_it_is_written,
    "hidden state computed from the cell's": lambda: Around(lambda self, x: self.a(x)[0], a=nn.LSTMCell(8, 8)),
    "hook on a tensor": lambda: Around(hook_on_a_tensor, a=layer()),
    "parameter in a custom function": lambda: Around(parameter_in_a_custom_function, a=layer()),
    "gradient of zero": lambda: Around(attention_without_mask, a=layer(), b=layer()),
    "sparse": lambda: Around(learned_and_sparse, a=layer()),
    "uninitialised": lambda: lambda x: x.new(4, 8).zero_() + x,
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap(name: str) -> None:
    torch.manual_seed(0)
    model = TRAPS[name]()
    twins = [copy.deepcopy(model) for _ in range(2)]
    x, other = torch.randn(2, 4, 8)
    tape = gt.record(model, x)
    assert torch.equal(tape.output, twins[0](x.clone()))
    found = tape.verify()
    assert found.problems == ()
    assert found.values > 0
    assert found.gradients > 0
    torch.testing.assert_close(tape.replay({"input": other}).output, twins[1](other.clone()))


def test_buffers_that_the_model_deletes_do_not_hide_other_tensors() -> None:
    class Forgetting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for number in range(20):
                self.register_buffer(f"b{number}", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            for number in range(20):
                delattr(self, f"b{number}")
            return sum(x * number for number in range(40))

    tape = gt.record(Forgetting(), torch.randn(3, 4))
    assert len(tape) == 1 + 40 + 40
    assert tape.verify().passed


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_runs_in_another_thread_or_language_has_gradients_too() -> None:
    inside = nn.Linear(8, 8)

    def elsewhere(x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(inside, x).result() * 2

    scripted = torch.jit.script(copy.deepcopy(inside))
    for model, weight in ((elsewhere, inside.weight), (nn.Sequential(scripted), scripted.weight)):
        tape = gt.record(model, torch.randn(4, 8))
        assert tape.verify().passed
        tape.backward(tape.output.sum())
        twin = weight.detach().clone().requires_grad_()
        nn.functional.linear(tape["input"].value.detach(), twin).sum().mul(2 if model is elsewhere else 1).backward()
        torch.testing.assert_close(weight.grad, twin.grad)
        assert tape["input"].grad is not None


def test_the_users_generator_is_left_where_it_was() -> None:
    source = torch.Generator().manual_seed(0)
    tape = gt.record(lambda x: x + torch.randn(8, generator=source), torch.zeros(8))
    state = source.get_state()
    assert tape.verify().passed
    assert torch.equal(tape.replay({"input": torch.zeros(8)}).output, tape.output)
    assert torch.equal(source.get_state(), state)


def test_functional_transforms_are_one_node() -> None:
    inside = nn.Linear(8, 8)
    for function in (torch.vmap(inside), torch.func.jacrev(lambda y: y.square().sum())):
        tape = gt.record(lambda x, function=function: function(x) * 2, torch.randn(4, 8))
        assert tape.verify().passed
        assert tape.nodes[1].parents == (tape["input"],)


def test_tensors_in_dataclasses_are_inputs_and_outputs() -> None:
    @dataclass
    class State:
        hidden: Tensor
        more: list[Tensor]

    def model(state: State) -> State:
        return State(state.hidden * 2, [state.more[0] + 1])

    tape = gt.record(model, State(torch.ones(3), [torch.zeros(3)]))
    assert [node.name for node in tape] == ["input", "input_2", "mul_1", "add_1"]
    fork = tape.replay({"input_2": torch.full((3,), 4.0)})
    assert torch.equal(fork.output.more[0], torch.full((3,), 5.0))
    assert fork.output.hidden is tape.output.hidden
    assert tape.verify().values == 2


def test_a_parameter_that_the_run_overwrites_is_told_by_verify() -> None:
    """Parameters are read as they are at any time, so a replay would not be what ran."""

    def clipped(self: Any, x: Tensor) -> Tensor:
        y = self.a(x)
        self.a.weight.data.mul_(2)
        return y + self.a(x)

    tape = gt.record(Around(clipped, a=layer()), torch.randn(4, 8))
    assert any(problem.startswith("the value of a: off by") for problem in tape.verify().problems)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_recorded_and_verify_says_that_it_cannot_compare_them() -> None:
    inside = nn.Linear(3, 2)

    def model(x: Tensor) -> Tensor:
        return inside(torch.nested.as_nested_tensor([x[:2], x[2:]])).to_padded_tensor(0.0)

    tape = gt.record(model, torch.randn(6, 3))
    assert tape["linear_1"].shape == (2, -1)
    assert tape.output.shape == (2, 4, 2)
    tape.backward(tape.output.sum())
    torch.testing.assert_close(tape["input"].grad, inside.weight.sum(0).expand(6, 3))
    with pytest.raises(TapeError, match="is a nested tensor: verify a run on padded tensors"):
        tape.verify()
