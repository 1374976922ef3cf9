"""Where a tape could say something wrong without a word: it is right, or it refuses, or it warns."""

import copy
import threading
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError, TapeError
from tests.tape.networks import Around, layer


def names(tape: gt.Tape) -> list[str]:
    return [node.name for node in tape]


def test_module_paths_that_look_like_operations_and_inputs() -> None:
    model = Around(lambda self, x: self.linear_1(self.linear_2(x)), linear_1=layer(), linear_2=layer())
    tape = gt.record(model, torch.randn(4, 8))
    assert names(tape) == ["input", "linear_2", "linear_1"]
    assert [tape[name].position for name in names(tape)] == [0, 1, 2]
    assert torch.equal(tape["linear_1"].value, tape.output)
    model = Around(lambda self, x: self.input(x).relu(), input=layer())
    tape = gt.record(model, torch.randn(4, 8))
    assert tape["input"].op == "input"
    assert names(tape) == ["input", "linear_1", "relu_1"]


def test_an_edit_stays_on_the_fork_whatever_is_kept() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(layer(), nn.ReLU(), layer(), nn.Tanh()), torch.randn(4, 8)
    outputs = []
    for keep in (gt.select.everything, gt.select.nothing, gt.select.op("tanh")):
        fork = gt.record(model, x, keep=keep).replay({"1": torch.ones(4, 8)})
        assert fork["1"].op == "edit"
        assert fork.verify().passed
        again = fork.replay({"3": lambda value: value * 2})
        outputs += [again.output, fork.replay({"0": lambda value: value - 9}).output * 2]
    assert all(torch.equal(outputs[0], output) for output in outputs)
    fork = gt.record(model, x).replay({"1": lambda value: value.square()})
    assert fork.verify().passed  # the gradient goes on through the edit
    assert fork.verify().gradients == 9


def test_an_edit_in_place_leaves_the_tape_as_it_was() -> None:
    def zero(value: Tensor) -> Tensor:
        value[:, 3] = 0
        return value

    tape = gt.record(nn.Sequential(layer(), nn.ReLU()), torch.randn(4, 8))
    before = tape["0"].value.clone()
    fork = tape.replay({"0": zero})
    assert torch.equal(tape["0"].value, before)
    assert not fork.output[:, 3].any()
    assert torch.equal(tape.replay({"0": before}).output, tape.output)


def test_a_replay_leaves_parameters_that_the_model_writes_into_alone() -> None:
    def moving(self: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.a.weight.add_(x.mean())
        return x @ self.a.weight

    model = Around(moving, a=layer())
    tape = gt.record(model, torch.ones(4, 8))
    weight = model.a.weight.detach().clone()
    twin = copy.deepcopy(model)
    twin.a.weight.data.sub_(1)  # as it was before the run
    fork = tape.replay({"input": torch.full((4, 8), 3.0)})
    assert torch.equal(model.a.weight, weight)
    torch.testing.assert_close(fork.output, twin(torch.full((4, 8), 3.0)))


@pytest.mark.parametrize("op", ["__iand__", "__ior__", "__ixor__", "__ifloordiv__", "__imod__", "__ilshift__"])
def test_every_augmented_assignment_is_in_place(op: str) -> None:
    def model(x: Tensor) -> Tensor:
        y = x + 0
        getattr(y, op)(torch.tensor(3))
        return y * 1

    x, other = torch.tensor([5, 6, 7]), torch.tensor([1, 9, 12])
    tape = gt.record(model, x)
    assert torch.equal(tape["add_1"].value, x)
    assert torch.equal(tape.replay({"input": other}).output, model(other))
    assert torch.equal(tape["add_1"].value, x)


def by_overload(x: Tensor) -> Tensor:
    y = x * 1
    torch.ops.aten.mul_.Tensor(y, x)
    return y + 1


def test_overloads_of_operations_are_the_operations() -> None:
    x, other = torch.randn(2, 3)
    assert torch.equal(gt.record(by_overload, x).replay({"input": other}).output, by_overload(other))


def assigning_data(x: Tensor) -> Tensor:
    y = x * 1
    y.data = (x * 2).detach()
    return y + 1


def through_a_conjugate(x: Tensor) -> Tensor:
    z = torch.complex(x, x * 2)
    z.conj().mul_(torch.tensor(1j))
    return (z * 1).abs()


@pytest.mark.parametrize("model", [assigning_data, through_a_conjugate])
def test_overwriting_that_cannot_be_followed_is_refused(model: Any) -> None:
    tape = gt.record(model, torch.randn(3))
    with pytest.raises(TapeError, match="was overwritten in place through a view or another name of its memory"):
        tape.replay({"input": torch.randn(3)})


def test_sizes_and_bounds_that_follow_from_values_are_watched_over() -> None:
    def bounded(x: Tensor) -> Tensor:
        return x[: (x > 0).sum()] * 2

    def counted(x: Tensor) -> Tensor:
        y = x[x > 0]
        return y.sum() / len(y)

    x, other = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])
    with pytest.warns(UserWarning, match=r"elements of node 'sum_1' \(item\).*\(2 before, 3 now\)"):
        gt.record(bounded, x).replay({"input": other})
    with pytest.warns(UserWarning, match=r"node 'getitem_1' has shape \(3,\) in the replay and had \(2,\)"):
        fork = gt.record(counted, x).replay({"input": other})
    assert fork["getitem_1"].shape == (3,)


def test_a_long_way_out_of_sight_is_no_input() -> None:
    x = torch.randn(3, requires_grad=True)
    with gt.Tape() as tape:
        y = x * 2
        with tape.stop_recording():
            for _ in range(1500):
                y = y + 0.1
        y * 3
    assert tape["unrecorded_1"].parents == (tape["mul_1"],)


def test_tapes_may_end_in_the_order_in_which_they_began() -> None:
    first, second = gt.Tape(), gt.Tape()
    x = torch.ones(3)
    first.__enter__()
    second.__enter__()
    x.sin()
    first.__exit__(None, None, None)
    x.cos()
    second.__exit__(None, None, None)
    x.tan()
    assert names(first) == ["input", "sin_1"]
    assert names(second) == ["input", "sin_1", "cos_1"]


def test_a_tape_ends_where_it_was_begun() -> None:
    caught: list[BaseException] = []
    tape = gt.Tape().__enter__()

    def end() -> None:
        try:
            tape.__exit__(None, None, None)
        except TapeError as error:
            caught.append(error)

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    tape.__exit__(None, None, None)
    assert "does not record in this thread: end it where it was begun" in str(caught[0])


def test_two_tapes_watch_one_tensor() -> None:
    x = torch.tensor(2.0)
    with gt.Tape() as outer:
        with gt.Tape() as inner:
            inner.watch(x)
            outer.watch(x)
            y = x * 3
        z = y + x * x
    outer.backward(z)
    assert outer["input"].grad.item() == 7
    assert names(outer) == ["input", "mul_1", "mul_2", "add_1"]
    assert not x.requires_grad


def test_watching_a_node_goes_on_from_it() -> None:
    with gt.Tape() as tape:
        x = torch.ones(3) * 2
        assert tape.watch(x, "late") is tape["mul_1"]
        y = (x * x).sum()
    tape.backward(y)
    assert torch.equal(tape["late"].grad, torch.full((3,), 4.0))
    assert torch.equal(tape.replay({"mul_1": torch.ones(3)}).output, torch.tensor(3.0))
    with gt.Tape() as tape, pytest.raises(InputError, match="there is a node 'ones_1' already"):
        torch.ones(3)
        tape.watch(torch.zeros(2), "ones_1")


def test_a_model_puts_back_what_it_changed_when_it_is_halted() -> None:
    def restoring(self: Any, x: Tensor) -> Tensor:
        saved = [parameter.detach().clone() for parameter in self.parameters()]
        try:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.zero_()
            return self.a(x).relu()
        finally:
            with torch.no_grad():
                for parameter, old in zip(self.parameters(), saved, strict=True):
                    parameter.copy_(old)

    model = Around(restoring, a=layer())
    before = model.a.weight.detach().clone()
    tape = gt.record(model, torch.ones(2, 8), halt="a")
    assert torch.equal(model.a.weight, before)
    assert torch.equal(tape.output, torch.zeros(2, 8))


def test_a_replay_under_autocast_is_the_run_that_was_recorded() -> None:
    tape = gt.record(layer(), torch.randn(4, 8))
    with torch.autocast("cpu", torch.bfloat16):
        fork = tape.replay({"input": lambda value: value})
    assert torch.equal(fork.output, tape.output)


def test_modules_that_are_lazy_or_raise() -> None:
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    assert gt.record(lazy, torch.randn(4, 8)).verify().values >= 2

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError

    def catching(self: Any, x: Tensor) -> Tensor:
        try:
            return self.a(x)
        except ValueError:
            return x.sin() + self.b(x)

    tape = gt.record(Around(catching, a=Failing(), b=layer()), torch.randn(4, 8))
    assert [(node.name, node.module) for node in tape] == [("input", ""), ("sin_1", ""), ("b", "b"), ("add_1", "")]


def test_batch_norm_by_its_other_name_leaves_the_buffers_alone() -> None:
    norm = nn.BatchNorm1d(8)

    def model(x: Tensor) -> Tensor:
        settings = (True, 0.1, 1e-5)
        return torch.native_batch_norm(x, norm.weight, norm.bias, norm.running_mean, norm.running_var, *settings)[0]

    tape = gt.record(model, torch.randn(4, 8))
    mean = norm.running_mean.clone()
    assert tape.verify().passed
    tape.replay({"input": torch.randn(4, 8)})
    assert torch.equal(norm.running_mean, mean)


def test_nothing_kept_and_no_output_named() -> None:
    x = torch.randn(3)
    with gt.Tape(keep=gt.select.nothing) as tape:
        y = (x * 2).sin()
        torch.equal(y, y + 1)
        z = y * 3
    assert torch.equal(tape.output, z)
    tape.replay({"input": x})
    assert torch.equal(tape.replay({"input": x + 0}).output, z)


def test_bad_requests() -> None:
    tape = gt.record(nn.Sequential(layer(), nn.ReLU()), torch.randn(4, 8))
    other = gt.record(nn.Sequential(nn.Identity(), layer()), torch.randn(4, 8))
    for wrong in (None, slice(0, 2), 1.5):
        with pytest.raises(TapeError, match="give a name, a position or a node"):
            tape[wrong]
    with pytest.raises(TapeError, match="is a node of another tape"):
        tape[other["1"]]
    for edit, what in ((lambda value: None, "is a NoneType"), (0.0, "is a float"), (tape["1"].value.int(), "int32")):
        with pytest.raises(TapeError, match=what):
            tape.replay({"1": edit})
    with pytest.raises(TapeError, match="the loss does not depend on any kept node"):
        tape.backward(torch.ones(3, requires_grad=True).sum())
    with pytest.raises(InputError, match="model is 'abc': give a module, or several by name"):
        gt.Tape("abc")
    with pytest.raises(InputError, match="model is a Tensor"):
        gt.record(torch.ones(3), layer())
    with pytest.raises(InputError, match="among is 'relu': give a selector"):
        tape.choose("relu")
    with pytest.raises(InputError, match="cannot compare with a Tensor"):
        tape.compare(torch.ones(3))
    with pytest.raises(InputError, match=r"bounds is 1: give a lowest value"):
        tape.invert("1", torch.ones(4, 8), bounds=1)
    with pytest.raises(InputError, match="no module fits unfold='2': use one of"):
        tape.draw("graph.svg", unfold="2")
    with pytest.raises(InputError, match=r"cannot draw into 'graph.png': name an .svg file"):
        tape.draw("graph.png")
    with pytest.raises(InputError, match="there is no folder 'nowhere'"):
        tape.draw("nowhere/graph.svg")


def test_what_a_tape_and_its_results_say_of_themselves() -> None:
    torch.manual_seed(0)
    tape = gt.record(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.ones(4, 2))
    assert repr(tape) == "Tape(3 nodes: input, 0, 1)"
    assert str(tape).splitlines()[0].split() == ["node", "op", "shape", "gradient", "norm"]
    assert str(tape).splitlines()[2].split() == ["0", "linear", "4×3"]
    tape.backward(tape.output.sum())
    assert str(tape).splitlines()[3].split() == ["1", "relu", "4×3", "3.46"]
    args, kwargs = tape["0"].arguments
    assert (args[0], kwargs) == (tape["input"], {})
    assert args[1].shape == (3, 2)
    assert tape.find(gt.select.op("relu") | gt.select.name("linear_1")) == [tape["0"], tape["1"]]
    assert tape["1"] in tape
    assert "1" in tape
    assert repr(tape.steer("0", lambda output: output.square().sum(), steps=2)).startswith(
        "Steered(2 steps, objective "
    )
    found = tape.invert("0", torch.zeros(4, 3), steps=2)
    assert repr(found).startswith("Inverted(4 samples, missing 0.")


def test_what_is_sparse_or_no_number_is_compared() -> None:
    tape = gt.record(lambda x: (x * float("nan")).to_sparse().to_dense() + 1, torch.ones(2))
    assert tape.compare(tape).same == 5
    x = torch.tensor([1.0, 0.0])
    tape = gt.record(lambda x: (x * 1).to_sparse().to_dense(), x)
    found = tape.compare(tape.replay({"input": x * 3}))
    assert [each.share for each in found.differences] == [2.0] * 4


def test_overwriting_several_elements_at_once_and_lists_in_place() -> None:
    def spread(x: Tensor) -> Tensor:
        v = x.expand(3, 4)
        v[0] = 0.3
        return v * 1

    with torch.no_grad():
        tape = gt.record(spread, torch.ones(1, 4))
        with pytest.raises(TapeError, match="was overwritten in place"):
            tape.replay({"input": torch.zeros(1, 4)})

    def listed(x: Tensor) -> Tensor:
        y = x * 1
        torch._foreach_mul_([y], 3.0)
        return y + 1

    tape = gt.record(listed, torch.ones(3))
    assert torch.equal(tape["mul_1"].value, torch.ones(3))
    assert torch.equal(tape.replay({"input": torch.full((3,), 2.0)}).output, torch.full((3,), 7.0))


def test_no_random_node_without_a_gradient() -> None:
    with pytest.raises(TapeError, match="none of 3 nodes can be steered"):
        gt.record(lambda x: x.long() * 2, torch.rand(3)).choose()


def unseen_through_a_view(x: Tensor) -> Tensor:
    h = x * 1.5
    v = h[1:]
    v.detach().mul_(0.5)
    return v * 3


def seen_and_unseen(x: Tensor) -> Tensor:
    h = x * 2
    first, second = h.detach()[0], h[1]
    first.zero_()
    second.mul_(3)
    return h.sum()


def without_gradients(x: Tensor) -> Tensor:
    h = x * 2
    with torch.no_grad():
        h[0].mul_(2)
    return h * 1


def transposed_and_dropped(x: Tensor) -> Tensor:
    h = x * 1
    v = h.T
    h[0].zero_()
    return nn.functional.dropout(v) + nn.functional.dropout((x * 1).T)


@pytest.mark.parametrize("model", [unseen_through_a_view, seen_and_unseen, without_gradients, transposed_and_dropped])
def test_values_and_gradients_of_a_fork_are_those_of_a_run(model: Any) -> None:
    x, other = torch.randn(2, 3, 4)
    torch.manual_seed(0)
    tape = gt.record(model, x)
    assert torch.equal(tape.replay({"input": lambda value: value}).output, tape.output)
    fork = tape.replay({"input": other})
    torch.manual_seed(0)
    twin = other.clone().requires_grad_()
    expected = model(twin * 1)
    torch.testing.assert_close(fork.output, expected)
    (wanted,) = torch.autograd.grad(expected.sum(), twin)
    (found,) = torch.autograd.grad(fork.output.sum(), fork["input"].value)
    torch.testing.assert_close(found, wanted)


def test_the_order_in_memory_of_an_edit_is_that_of_the_node() -> None:
    tape = gt.record(lambda x: nn.functional.dropout((x * 1).T), torch.randn(30, 40))
    assert torch.equal(tape.replay({"T_1": lambda value: value.contiguous()}).output, tape.output)


def test_gradients_are_on_after_a_halt() -> None:
    def model(x: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                return x.sin() + 1
        finally:
            with torch.no_grad():
                pass

    for halt in ("input", "sin_1"):
        gt.record(model, torch.ones(3), halt=halt)
        assert torch.is_grad_enabled()


def test_steering_past_a_number_that_python_has_read_is_told() -> None:
    def branching(x: Tensor) -> Tensor:
        h = x * 1
        return h * 2 if h.sum().item() > 0 else h * -3

    tape = gt.record(branching, torch.ones(3))
    with pytest.warns(UserWarning, match=r"elements of node 'sum_1' \(item\)"):
        tape.steer("mul_1", lambda output: output.sum(), steps=30)


def test_nothing_of_autograds_graph_is_held_for_what_is_not_kept() -> None:
    seen: list[Any] = []

    def model(x: Tensor) -> Tensor:
        dead = x.exp()
        seen.append(weakref.ref(dead))
        return x * 2

    tape = gt.record(model, torch.randn(3), keep=gt.select.nothing)
    assert seen[0]() is None
    assert all(node.edge is None for node in tape if node.op != "input")
    assert tape.verify().passed


def test_a_selector_goes_by_the_name_that_a_node_has_in_the_end() -> None:
    model = nn.Sequential(layer(), nn.ReLU(), nn.ModuleList([layer()])[0])
    kept = lambda keep: [node.name for node in gt.record(model, torch.ones(2, 8), keep=keep) if node.kept]  # noqa: E731
    assert kept(~gt.select.name("0")) == ["input", "1", "2"]
    assert kept(gt.select.name("0")) == ["input", "0"]
    lstm = nn.Sequential(nn.LSTM(8, 8))
    tape = gt.record(lstm, torch.ones(2, 8), keep=gt.select.name("0[0]"))
    assert [node.name for node in tape if node.kept] == ["input", "0[0]"]


def test_hooks_on_tensors_are_those_of_a_fork_too() -> None:
    def hooked(self: Any, x: Tensor) -> Tensor:
        h = self.a(x)
        h.register_hook(lambda grad: 3 * grad)
        return h.sin()

    model, (x, other) = Around(hooked, a=layer()), torch.randn(2, 4, 8)
    fork, run = gt.record(model, x).replay({"input": other}), gt.record(model, other)
    assert torch.equal(fork.output, run.output)
    for tape in (fork, run):
        tape.backward(tape.output.sum())
    assert torch.equal(fork["input"].grad, run["input"].grad)
