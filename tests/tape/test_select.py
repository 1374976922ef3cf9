"""What is kept: values and gradients of the selected nodes, everything else made again where it is needed."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError, TapeError
from tests.tape.test_record import small_cnn


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def kept(tape: gt.Tape) -> list[str]:
    return [node.name for node in tape if node.kept and node.op != "input"]


def test_selectors_and_their_algebra(x: Tensor) -> None:
    features, head = small_cnn()[:3], nn.Sequential(*small_cnn()[4:])
    net = nn.ModuleDict({"features": features, "pool": nn.MaxPool2d(2), "head": head})
    net.forward = lambda x: net["head"](net["pool"](net["features"](x))) * 2.0
    select = gt.select
    layers = ["features.0", "features.1", "features.2"], ["head.0", "head.1", "head.2"]
    expected = {
        select.everything: [*layers[0], "pool", *layers[1], "mul_1"],
        select.module("features"): layers[0],
        select.module("features.*") & select.op("relu", "conv*"): ["features.0", "features.2"],
        select.module("features.?", "head.2") & ~select.op("relu"): ["features.0", "features.1", "head.2"],
        select.name("head*") | select.op("relu"): ["features.2", *layers[1]],
        select.where(lambda node: node.memory <= 4 * 5 * 3): ["head.2", "mul_1"],
        select.module("") & ~select.module("?*"): ["mul_1"],
    }
    for selector, names in expected.items():
        tape = gt.record(net, x, keep=selector)
        assert kept(tape) == names, selector
        assert len(tape) == 9
    assert repr((select.module("a") | select.op("b")) & ~select.nothing) == "(module('a') | op('b')) & ~nothing"


def test_the_rest_is_metadata_and_has_no_gradient(x: Tensor) -> None:
    model = small_cnn()
    tape = gt.record(model, x, keep=gt.select.op("relu"))
    everything = gt.record(small_cnn(), x)
    assert [(node.name, node.shape, node.dtype, node.memory) for node in tape] == [
        (node.name, node.shape, node.dtype, node.memory) for node in everything
    ]
    torch.manual_seed(0)
    tape.backward(tape.output.sum())
    assert tape["2"].grad is not None
    assert tape["1"].grad is None
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(TapeError, match="value of node '1' was not kept: record with a keep that selects it"):
        tape["1"].value  # noqa: B018
    assert "null" in tape.to_json()


@pytest.mark.parametrize("keep", [gt.select.nothing, gt.select.op("relu"), gt.select.name("3")])
def test_what_was_not_kept_is_made_again(x: Tensor, keep: gt.tape.select.Selector) -> None:
    """Dropout's draws, batch norm in training and all: forks and steering are those of the full tape."""
    tapes = []
    for selector in (gt.select.everything, keep):
        model = small_cnn()
        torch.manual_seed(7)
        tapes.append(gt.record(model, x, keep=selector))
    full, lean = tapes
    assert lean.verify().passed
    edit = {"2": lambda value: value * 0.5}
    fork = lean.replay(edit)
    assert kept(fork) == sorted({*kept(lean), "2"})  # an edit is kept
    assert torch.equal(fork.output, full.replay(edit).output)
    assert not torch.equal(fork.output, lean.output)
    steered = [tape.steer("4", lambda output: output.square().sum(), steps=3) for tape in tapes]
    assert torch.equal(steered[0].value, steered[1].value)
    found = [tape.invert("3", full["3"].value * 0.5, steps=3).input for tape in tapes]
    assert torch.equal(*found)


def test_nothing_is_held_of_what_was_not_kept(x: Tensor) -> None:
    seen: list[weakref.ref[Tensor]] = []
    model = small_cnn().eval()
    model[0].register_forward_hook(lambda _module, _args, output: seen.append(weakref.ref(output)))
    with torch.no_grad():
        lean = gt.record(model, x, keep=gt.select.nothing)
        full = gt.record(model, x)
    assert [ref() is None for ref in seen] == [True, False]
    assert len(lean) == len(full) == 8


def test_a_tape_is_freed_without_the_garbage_collector(x: Tensor) -> None:
    gc.disable()
    try:
        tape = gt.record(small_cnn(), x)
        tape.backward(tape.output.sum())
        value, node, whole = weakref.ref(tape["2"].value), weakref.ref(tape["2"]), weakref.ref(tape)
        del tape
        assert (whole(), node(), value()) == (None, None, None)
    finally:
        gc.enable()


def test_an_id_given_again_is_no_old_node() -> None:
    """With nothing kept, values die at once, and the next tensor often gets their id."""

    def many(x: Tensor) -> Tensor:
        for _ in range(50):
            x = (x * 1.0).sin()
        return x

    tape = gt.record(many, torch.randn(3), keep=gt.select.nothing)
    assert len(tape) == 101
    assert all([parent.position for parent in node.parents] == [node.position - 1] for node in tape.nodes[1:])


def test_a_selector_that_fits_no_node_and_what_is_no_selector(x: Tensor) -> None:
    with pytest.warns(UserWarning, match=r"keep=op\('rleu'\) selects none of 7 nodes"):
        gt.record(small_cnn(), x, keep=gt.select.op("rleu"))
    with pytest.raises(InputError, match="keep is 'relu': give a selector"):
        gt.Tape(keep="relu")
    with pytest.raises(InputError, match=r"select.op is given \(\): give at least one"):
        gt.select.op()


def test_what_a_name_deselects_may_be_overwritten() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    tape = gt.record(model, torch.randn(4, 8), keep=~gt.select.name("0"))
    assert kept(tape) == ["1", "2"]
    assert tape.verify().passed
    assert torch.equal(tape.replay({"0": lambda value: value}).output, tape.output)
