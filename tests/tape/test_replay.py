"""Replay against plain forward passes."""

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import TapeError
from tests.tape.test_record import small_cnn


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_replay_without_a_change_repeats_the_run_exactly(x: torch.Tensor) -> None:
    model = small_cnn()  # with dropout and batch norm in training mode
    torch.manual_seed(3)
    tape = gt.record(model, x)
    statistics, state = model[1].running_mean.clone(), torch.get_rng_state()
    again = tape.replay({"input": lambda value: value})
    for node, twin in zip(tape.nodes, again.nodes, strict=True):
        assert torch.equal(node.value, twin.value), node.name
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), state)


def test_replay_runs_only_what_is_downstream(x: torch.Tensor) -> None:
    model = small_cnn().eval()
    tape = gt.record(model, x)
    calls = []
    for layer in model:
        layer.register_forward_hook(lambda *_: calls.append(1))
    changed = torch.randn_like(tape["3"].value)
    replayed = tape.replay({"3": changed})
    assert torch.allclose(replayed.output, model[4:](changed))
    assert replayed["2"].value is tape["2"].value
    assert torch.equal(tape["3"].value, model[:4](x))  # the first tape is as it was


def test_replay_of_two_edits_and_gradients_through_a_replay() -> None:
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    with gt.Tape() as tape:
        c, d = a * 3, b * 4
        c * d
    replayed = tape.replay({"mul_1": torch.tensor(1.0), "mul_2": lambda value: value + 1})
    assert replayed.output.item() == 21.0
    replayed.backward(replayed.output)
    assert replayed["mul_1"].grad.item() == 21.0
    assert replayed["mul_2"].grad.item() == 1.0
    assert tape["mul_1"].grad is None


def test_replay_keeps_the_structure_of_the_output() -> None:
    tape = gt.record(lambda x: {"twice": x * 2, "more": (x + 1, 7)}, torch.ones(2))
    output = tape.replay({"mul_1": torch.zeros(2)}).output
    assert output["twice"].tolist() == [0.0, 0.0]
    assert output["more"][0].tolist() == [2.0, 2.0]
    assert output["more"][1] == 7


def test_replay_refuses_what_it_cannot_repeat() -> None:
    def through_other_numbers(x: torch.Tensor) -> torch.Tensor:
        h = x * 2
        h.detach().view(torch.int32).add_(1)  # the next larger float
        return h.sum()

    tape = gt.record(through_other_numbers, torch.ones(2, 2))
    assert not tape.verify().problems
    with pytest.raises(TapeError, match="overwritten in place through a view"):
        tape.replay({"input": torch.zeros(2, 2)})


def test_an_edit_of_another_shape_is_refused(x: torch.Tensor) -> None:
    with pytest.raises(TapeError, match="shape"):
        gt.record(small_cnn().eval(), x).replay({"3": torch.zeros(2)})


def test_item_assignment_is_an_operation_like_any_other() -> None:
    def fill(x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(3, 4)
        h[:, 0] = x[:, 0] * 2
        return h

    tape = gt.record(fill, torch.ones(3, 4))
    assert tape.replay({"input": torch.full((3, 4), 100.0)}).output[:, 0].tolist() == [200.0] * 3
    tape.backward(tape.output.sum())
    assert tape["input"].grad.sum(0).tolist() == [6.0, 0.0, 0.0, 0.0]


def test_an_overwrite_through_a_view_that_nothing_reads_is_noticed_too() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        h = x * 2
        h[:, 0].mul_(10)
        return h

    tape = gt.record(f, torch.ones(3, 4))
    assert tape.replay({"input": torch.full((3, 4), 2.0)}).output[0].tolist() == [40.0, 4.0, 4.0, 4.0]
    tape.output.detach().add_(1)  # after the recording
    with pytest.raises(TapeError, match="was overwritten in place"):
        tape.replay({"input": torch.zeros(3, 4)})


def test_draws_of_every_kind_of_operation_repeat() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True)
    for model in (layer, lstm):
        tape = gt.record(model, torch.rand(2, 3, 8))
        again = tape.replay({"input": lambda value: value})
        first = tape.output if model is layer else tape.output[0]
        assert torch.equal(first, again.output if model is layer else again.output[0])


def test_a_buffer_that_is_read_and_then_updated_is_replayed_with_the_value_it_had() -> None:
    class Moving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x / self.mean
            self.mean.mul_(3.0)
            return y

    model = Moving()
    tape = gt.record(model, torch.full((2,), 6.0))
    assert tape.replay({"input": torch.full((2,), 8.0)}).output.tolist() == [8.0, 8.0]
    assert model.mean.tolist() == [3.0, 3.0]


def test_autocast_is_replayed() -> None:
    model = nn.Linear(4, 4)

    def f(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    tape = gt.record(f, torch.rand(2, 4))
    again = tape.replay({"input": lambda value: value})
    assert tape.output.dtype == torch.bfloat16
    assert torch.equal(tape.output, again.output)


def test_an_output_that_cannot_be_looked_into_is_refused() -> None:
    class Opaque:
        def __init__(self, value: torch.Tensor) -> None:
            self.value = value

    tape = gt.record(lambda x: Opaque(x * 2), torch.ones(2))
    with pytest.raises(TapeError, match="no recorded value is found in the output, of type Opaque"):
        tape.replay({"input": torch.zeros(2)})
