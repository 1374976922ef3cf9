"""What is recorded: values, names, edges, gradients; each beside plain PyTorch."""

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import TapeError


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64, 3),
    )


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_values_and_gradients_equal_plain_pytorch(x: torch.Tensor) -> None:
    model, twin = small_cnn(), small_cnn()
    torch.manual_seed(3)
    tape = gt.record(model, x)
    tape.backward(tape.output.square().sum())

    torch.manual_seed(3)
    x_twin = x.clone().requires_grad_()
    values, value = [], x_twin
    for layer in twin:
        value = layer(value)
        value.retain_grad()
        values.append(value)
    value.square().sum().backward()

    for index, value in enumerate(values):
        assert torch.equal(tape[str(index)].value, value)
        assert torch.equal(tape[str(index)].grad, value.grad)
    assert torch.equal(tape["input"].grad, x_twin.grad)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_names_order_and_edges(x: torch.Tensor) -> None:
    tape = gt.record(small_cnn(), x)
    assert [node.name for node in tape.walk("forward")] == ["input", "0", "1", "2", "3", "4", "5", "6"]
    assert [node.name for node in tape.walk("backward")] == ["6", "5", "4", "3", "2", "1", "0", "input"]
    assert [parent.name for parent in tape["3"].parents] == ["2"]
    assert [child.name for child in tape["3"].children] == ["4"]
    assert tape["conv2d_1"] is tape["0"] is tape[1]
    assert tape["2"].op == "relu"
    assert tape.output is tape["6"].value


def test_residual_block_has_two_parents() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(x).relu()

    tape = gt.record(Residual(), torch.ones(2, 3))
    assert [parent.name for parent in tape["add_1"].parents] == ["input", "relu_1"]
    assert tape["add_1"].source.split("/")[-1].startswith("test_record.py:")
    assert {child.name for child in tape["input"].children} == {"inner", "add_1"}


def test_a_module_used_twice_has_two_nodes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x))

    model = Twice()
    tape = gt.record(model, torch.ones(1, 2))
    assert torch.equal(tape["layer:2"].value, model.layer(tape["layer"].value))
    assert tape["layer"] is not tape["layer:2"]


def test_gradients_of_two_losses_add_up_and_reach_the_users_leaf() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with gt.Tape() as tape:
        y = x * 3
    tape.backward(y.sum(), retain_graph=True)
    tape.backward(y[0] * 2)
    assert tape["mul_1"].grad.tolist() == [3.0, 1.0]
    assert x.grad.tolist() == [9.0, 3.0]


def test_in_place_operations_do_not_change_what_was_recorded() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with gt.Tape() as tape:
        h = x * 2
        y = torch.relu_(h)
    assert tape["mul_1"].value.tolist() == [-2.0, 4.0]
    assert tape["relu__1"].value.tolist() == [0.0, 4.0]
    tape.backward((y * y).sum())
    assert tape["mul_1"].grad.tolist() == [0.0, 8.0]
    assert tape.replay({"mul_1": torch.tensor([3.0, -1.0])}).output.tolist() == [3.0, 0.0]
    assert tape["mul_1"].value.tolist() == [-2.0, 4.0]


def test_a_forward_that_raises_hands_back_the_partial_tape() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"midway at {(x * 2).sum()}")

    with pytest.raises(RuntimeError, match="midway") as caught:
        gt.record(broken, torch.ones(2))
    assert [node.name for node in caught.value.tape.nodes] == ["input", "mul_1", "sum_1"]


def test_nothing_of_the_recording_stays_on_the_model(x: torch.Tensor) -> None:
    model = small_cnn()
    gt.record(model, x)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_wrong_name_is_answered_with_the_closest(x: torch.Tensor) -> None:
    tape = gt.record(small_cnn(), x)
    with pytest.raises(TapeError, match=r"no node 'conv2d_2'.*conv2d_1"):
        tape["conv2d_2"]
    with pytest.raises(TapeError, match="the loss has shape"):
        tape.backward(tape.output)


def test_parameters_never_share_a_gradient_tensor() -> None:
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    with gt.Tape() as tape:
        loss = ((p + q) * 2).sum()
    tape.backward(loss)
    assert p.grad.data_ptr() != q.grad.data_ptr()
    assert p.grad.tolist() == q.grad.tolist() == [2.0] * 3


def test_one_tensor_passed_twice_is_one_node() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    tape = gt.record(lambda a, b: (a * b).sum(), x, x)
    assert tape.replay({"input": torch.zeros(2)}).output.item() == 0.0
    tape.backward(tape.output)
    assert tape["input"].grad.tolist() == [4.0, 6.0]


def test_a_model_may_overwrite_its_input() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    tape = gt.record(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1)), x)
    assert x.tolist() == [[-1.0, 2.0]]
    assert tape["input"].value.tolist() == [[-1.0, 2.0]]
