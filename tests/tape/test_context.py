"""The tape as a context: watching, halting, nesting, threads, compiled code."""

import copy
import threading
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradtape as gt
from gradtape.errors import InputError, TapeError


def names(tape: gt.Tape) -> list[str]:
    return [node.name for node in tape]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2)), nn.ReLU())


def test_modules_are_named_in_the_context_too() -> None:
    generator, critic = net(), nn.Linear(2, 1)
    with gt.Tape({"generator": generator, "critic": critic}) as tape:
        fake = generator(torch.randn(5, 3))
        critic(fake)
        critic(fake.detach())
    modules = ["generator.0", "generator.1.0", "generator.1.1", "generator.2"]
    assert names(tape) == ["randn_1", *modules, "critic", "detach_1", "critic:2"]
    assert tape["generator.1.0"].module == "generator.1.0"
    with gt.Tape(generator) as tape:
        generator(torch.randn(5, 3))
    assert names(tape)[1:] == ["0", "1.0", "1.1", "2"]


def test_watch_takes_a_gradient_for_what_asks_for_none() -> None:
    x = torch.tensor([1.0, 2.0])
    with gt.Tape() as tape:
        node = tape.watch(x, "noise")
        y = (x**3).sum()
        constant = x.detach() * 2
        late = tape.watch(constant)
        z = y + constant.square().sum()
    tape.backward(z)
    assert torch.equal(tape["noise"].grad, torch.tensor([3.0, 12.0]))
    assert node is tape["noise"]
    assert torch.equal(late.grad, torch.tensor([4.0, 8.0]))
    assert not x.requires_grad
    with pytest.raises(TapeError, match="not recording: call it inside"):
        tape.watch(x)
    with gt.Tape() as tape, pytest.raises(InputError, match="type torch.int64 has no gradient"):
        tape.watch(torch.arange(3))


def test_a_persistent_tape_takes_any_number_of_passes() -> None:
    model = net()
    once, often = (gt.record(model, torch.ones(2, 3), persistent=persistent) for persistent in (False, True))
    for tape in (once, often):
        tape.backward(tape.output.sum())
    with pytest.raises(TapeError, match="graph of this tape was freed: call backward with retain_graph=True, or rec"):
        once.backward(once.output.sum())
    first = often["0"].grad.clone()
    often.backward(often.output.sum())
    assert torch.equal(often["0"].grad, 2 * first)


def test_what_runs_while_recording_is_stopped_is_no_part_of_the_tape() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    with gt.Tape() as tape:
        y = x * 3
        with tape.stop_recording():
            monitored = y.square().exp()
        z = y + 1
    assert names(tape) == ["input", "mul_1", "add_1"]
    assert float(monitored.detach()) > 1
    tape.backward(z)
    assert float(tape["input"].grad) == 3.0
    with gt.Tape() as tape:
        w = x.detach() * 1
        with tape.stop_recording():
            y = w * 3
        z = y + 1
    assert names(tape) == ["input", "detach_1", "mul_1", "unrecorded_1", "add_1"]
    assert tape["unrecorded_1"].parents == (tape["mul_1"],)
    with pytest.raises(TapeError, match="'unrecorded_1' was made while recording was stopped, and cannot be run again"):
        tape.replay({"mul_1": lambda value: value + 1})


def test_a_tape_inside_a_tape_gives_second_derivatives() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    with gt.Tape() as outer:
        with gt.Tape() as inner:
            y = x**3
        inner.backward(y, create_graph=True)
        slope = inner["input"].grad
        z = slope * slope  # (3x²)²
    assert names(inner) == ["input", "pow_1"]
    assert names(outer) == ["input", "pow_1", "MulBackward0_1", "mul_1"]
    outer.backward(z)
    assert inner["input"].grad.item() == 12.0
    assert float(outer["input"].grad) == 36 * 2.0**3


def test_a_tape_around_another_sees_the_computation_and_not_the_other_tape() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
    with gt.Tape() as plain:
        model(torch.ones(5, 3))
    with gt.Tape() as outer:
        model_tape = gt.record(model, torch.ones(5, 3))
    assert [node.op for node in outer if node.op != "input"] == [
        "ones", "detach", "clone", "linear", "add_", "batch_norm", "relu", "dropout",
    ]  # fmt: skip
    assert [node.op for node in outer][-5:] == [node.op for node in plain][-5:]
    assert [node.op for node in model_tape] == ["input", "linear", "batch_norm", "relu", "dropout"]


def test_halting_ends_the_run_at_a_node() -> None:
    model, ran = net(), []
    model[2].register_forward_hook(lambda *_: ran.append(1))
    x = torch.ones(2, 3)
    whole = gt.record(model, x)
    for halt in ("1.0", "tanh_1", whole["1.0"].position):
        tape = gt.record(model, x, halt=halt)
        assert torch.equal(tape.output, whole["1.0"].value)
        assert len(tape) == 3
        tape.backward(tape.output.sum())
        assert tape["input"].grad is not None
    assert ran == [1]  # of the whole run
    with gt.Tape(halt="relu_1") as tape:
        torch.ones(3).relu().exp()
        raise AssertionError  # not reached
    assert names(tape) == ["ones_1", "relu_1"]
    assert all(not module._forward_hooks for module in model[:2].modules())
    with pytest.raises(TapeError, match="no node '1.00' on this tape: use one of 1.0") as caught:
        gt.record(model, x, halt="1.00")
    assert len(caught.value.tape) == 5
    with pytest.raises(TapeError, match="has 5 nodes and halt is 9"):
        gt.record(model, x, halt=9)


def test_halting_a_tape_goes_through_the_tapes_inside_it() -> None:
    with gt.Tape(halt="exp_1") as outer:
        with gt.Tape() as inner:
            torch.ones(3).exp().sin()
        raise AssertionError
    assert names(outer) == ["ones_1", "exp_1"]
    assert names(inner) == ["ones_1"]


def test_two_threads_record_the_same_model_each_for_itself() -> None:
    model, tapes, start = net(), {}, threading.Barrier(2)

    def work(number: int) -> None:
        start.wait()
        for _ in range(20):
            tapes[number] = gt.record(model, torch.full((2, 3), float(number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, tape in tapes.items():
        assert names(tape) == ["input", "0", "1.0", "1.1", "2"]
        assert [node.module for node in tape] == ["", "0", "1.0", "1.1", "2"]
        assert torch.equal(tape.output, model(torch.full((2, 3), float(number))))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, on compiling what reads no leaf
def test_compiled_models_are_recorded_without_compilation_which_is_said() -> None:
    model = net()
    expected = gt.record(model, torch.ones(2, 3))
    inner = copy.deepcopy(model)
    inner[1] = torch.compile(inner[1], backend="eager")
    in_place = copy.deepcopy(model)
    in_place[1].compile(backend="eager")
    for compiled in (torch.compile(model, backend="eager"), inner, in_place):
        compiled(torch.ones(2, 3))
        with pytest.warns(UserWarning, match="compiled; it is recorded as it runs without compilation") as caught:
            tape = gt.record(compiled, torch.ones(2, 3))
        assert caught[0].filename == __file__
        assert names(tape) == names(expected)
        assert torch.equal(tape.output, expected.output)
    double = torch.compile(lambda x: x.relu() * 2, backend="eager")
    double(torch.ones(3))
    with gt.Tape() as tape:
        double(torch.ones(3))
    assert names(tape) == ["ones_1", "relu_1", "mul_1"]
    with pytest.warns(UserWarning, match="compiled"):
        assert names(gt.record(double, torch.ones(3))) == ["input", "relu_1", "mul_1"]


def test_compilation_is_back_when_the_last_of_several_tapes_ends() -> None:
    calls: list[int] = []

    def backend(module: torch.fx.GraphModule, _inputs: object) -> torch.fx.GraphModule:
        calls.append(1)
        return module

    compiled = torch.compile(lambda x: x + 1, backend=backend)
    first, second = gt.Tape(), gt.Tape()
    with first:
        second.__enter__()
    compiled(torch.ones(2))  # the second still records
    second.__exit__(None, None, None)
    assert calls == []
    compiled(torch.ones(2))
    assert calls == [1]


def test_checkpointed_parts() -> None:
    layer = nn.Linear(3, 3)
    for reentrant in (True, False):
        twin = copy.deepcopy(layer)
        with gt.Tape() as tape:
            tape.watch(x := torch.ones(2, 3))
            y = checkpoint(lambda h: layer(h).tanh(), x, use_reentrant=reentrant).sum()
            before = names(tape)
            tape.backward(y)  # runs the part again, which is not recorded again
        assert names(tape) == before
        z = torch.ones(2, 3, requires_grad=True)
        twin(z).tanh().sum().backward()
        torch.testing.assert_close(tape["input"].grad, z.grad)
        torch.testing.assert_close(layer.weight.grad, twin.weight.grad)
        layer.zero_grad()
    tape = gt.record(lambda h: checkpoint(layer, h, use_reentrant=True), torch.ones(2, 3))
    with pytest.raises(TapeError, match="use_reentrant=True hides its gradients"):
        tape.verify()


def test_backward_is_the_parameters_own_hooks_included() -> None:
    model, seen = net(), []
    model[0].weight.register_post_accumulate_grad_hook(lambda parameter: seen.append(parameter.grad.clone()))
    hidden: list[Tensor] = []

    def scaled(_module: nn.Module, _args: object, output: Tensor) -> None:
        output.register_hook(lambda grad: grad * 3)
        output.retain_grad()
        hidden.append(output)

    model[0].register_forward_hook(scaled)
    tape = gt.record(model, torch.ones(2, 3))
    tape.backward(tape.output.sum())
    assert torch.equal(seen[0], model[0].weight.grad)
    assert torch.equal(tape["0"].grad, hidden[0].grad)
    assert tape.__exit__(None, None, None) is False


def test_a_tape_does_not_record_twice_at_once() -> None:
    with gt.Tape() as tape, pytest.raises(TapeError, match="is recording already"), tape:
        pass


def test_numbers_that_python_reads_are_watched_over() -> None:
    def branching(x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() > 0 else x * 3

    tape = gt.record(branching, torch.ones(3))
    with pytest.warns(UserWarning, match=r"elements of node 'sum_1' \(item\).*\(3.0 before, -3.0 now\)") as caught:
        fork = tape.replay({"input": -torch.ones(3)})
    assert caught[0].filename == __file__
    assert torch.equal(fork.output, torch.full((3,), -2.0))  # the branch that was taken
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tape.replay({"input": torch.tensor([2.0, 1.0, 0.0])})  # the same sum
        tape.replay({"mul_1": torch.zeros(3)})


def test_forks_are_compared() -> None:
    tape = gt.record(net(), -torch.ones(2, 3))
    fork = tape.replay({"1.0": lambda value: value * 1.5})
    found = tape.compare(fork)
    assert [each.name for each in found.differences] == ["1.0", "1.1", "2"]
    assert (found.same, found.unmatched) == (2, ())
    first = found.differences[0]
    assert first.share == pytest.approx(0.5)
    assert first.distance == pytest.approx(0.5 * float(tape["1.0"].value.detach().norm()))
    assert str(found).startswith("3 nodes differ, 2 are the same, 0 have no match\n1.0: off by 0.5 of its size")
    other = gt.record(nn.Sequential(nn.Linear(3, 5)), torch.ones(2, 3))
    assert tape.compare(other).unmatched == ("0", "1.0", "1.1", "2")


def test_a_random_node_is_one_that_can_be_steered() -> None:
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x * 1

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            return grad

    def model(x: Tensor) -> Tensor:
        x.cos()  # leads nowhere
        h = Opaque.apply(x.sin())
        return (h.exp() + x.detach().tanh()).relu()

    tape = gt.record(model, torch.randn(4))
    chosen = {tape.choose(seed=seed).name for seed in range(30)}
    assert chosen == {"Opaque_1", "exp_1", "add_1"}  # what lies before the custom function cannot be run again
    assert tape.choose(seed=3) is tape.choose(seed=3)
    assert tape.choose(gt.select.op("exp")).name == "exp_1"
    steered = tape.steer(tape.choose(gt.select.op("exp")), lambda output: output.sum(), steps=2)
    assert steered.value.shape == (4,)
    with pytest.raises(TapeError, match="none of .* nodes can be steered"):
        tape.choose(gt.select.op("cos"))
