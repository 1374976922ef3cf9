"""Recording changes nothing and misses nothing on the architectures that people use."""

import gc
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import gradtape as gt
from tests.tape.architectures import ARCHITECTURES, DEPENDS_ON_NUMBERS, NOT_RUN_AGAIN
from tests.tape.tiny import Inputs

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns of what it is about to rename


@pytest.fixture(scope="module", autouse=True)
def without_looking_at_the_library() -> Iterator[None]:
    """Spare the garbage collector the many objects of transformers: it would take a third of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


def seed() -> None:
    """Some of these models draw from the generators of numpy or Python."""
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Return the tensors of a plain run."""
    seed()
    return tensors(model(**inputs))


def with_other(tape: gt.Tape, model: nn.Module, inputs: Inputs) -> tuple[str, Tensor]:
    """Give a model another input, and return its node and value: that of the first embedding, where it reads words."""
    for key, value in inputs.items():
        if key in tape and value.is_floating_point():
            inputs[key] = torch.randn_like(value)
            return key, inputs[key]
    layers = [path for path, module in model.named_modules() if isinstance(module, nn.Embedding) and path in tape]
    path = min(layers, key=lambda each: tape[each].position)
    other = torch.randn_like(tape[path].value)
    uses: list[int] = []
    model.get_submodule(path).register_forward_hook(
        lambda _module, _args, output: uses.append(0) or (output if len(uses) > 1 else other.clone())
    )
    return path, other


def same_bits(left: list[Tensor], right: list[Tensor]) -> bool:
    pairs = zip(left, right, strict=True)
    return len(left) > 0 and all(torch.equal(mine.nan_to_num(), theirs.nan_to_num()) for mine, theirs in pairs)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_output_is_that_of_a_plain_run_verify_passes_and_a_replay_is_a_run(name: str) -> None:
    architecture = ARCHITECTURES[name]
    for training in (False, True) if architecture.drops() else (False,):
        expected = run(*architecture.make(training))
        model, inputs = architecture.make(training)
        seed()
        tape = gt.record(model, **inputs)
        assert same_bits(tensors(tape.output), expected)

        checked = tape.verify()
        assert checked.problems == ()
        assert checked.values > 20
        assert checked.gradients > 40

        if name not in NOT_RUN_AGAIN | DEPENDS_ON_NUMBERS:
            fresh, inputs = architecture.make(training)
            path, other = with_other(tape, fresh, inputs)
            replayed = tensors(tape.replay({path: other}).output)
            for mine, theirs in zip(replayed, run(fresh, inputs), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)
