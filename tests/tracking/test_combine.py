"""Parts of shards, combined over two processes of which the test plays the other."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from gradtape.tracking._combine import Combiner, Parts
from gradtape.tracking.measures import GradMax, GradNorm, NonfiniteCount


class Placement:
    def __init__(self, shard: bool) -> None:
        self.shard = shard

    def is_shard(self) -> bool:
        return self.shard


class Mesh:
    def get_group(self, dimension: int) -> str:
        return f"group {dimension}"


class Parameter:
    """Sharded along some dimensions of a mesh, replicated along others; without any, an ordinary one."""

    def __init__(self, *shards: bool) -> None:
        if shards:
            self.placements, self.device_mesh = [Placement(shard) for shard in shards], Mesh()


Others = Callable[[list[list[float]]], list[str]]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Others:
    """Say what the other process holds at each call, and get the calls."""
    calls: list[str] = []
    held: list[list[float]] = []

    def all_reduce(tensor: Tensor, op: Any, group: str) -> None:
        calls.append(f"{'max' if op == distributed.ReduceOp.MAX else 'sum'} over {group}")
        mine, theirs = tensor.clone(), torch.tensor(held.pop(0), dtype=tensor.dtype)
        assert mine.shape == theirs.shape
        tensor.copy_(torch.maximum(mine, theirs) if op == distributed.ReduceOp.MAX else mine + theirs)

    def plays(numbers: list[list[float]]) -> list[str]:
        held.extend(numbers)
        return calls

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    return plays


def parts(measure: Any, *numbers: float, shards: bool = True) -> Parts:
    return Parts(measure.name, [], measure(), torch.tensor(numbers), shards)


def combined(parameters: list[Parameter], found: list[Parts]) -> list[list[float]]:
    return [p.tensor.tolist() for p in Combiner(parameters)(found)]  # type: ignore[arg-type]


def test_whole_parameters_ask_nobody(other: Others) -> None:
    calls = other([])
    assert combined([Parameter(), Parameter(False)], [parts(GradNorm, 1.0, 2.0)]) == [[1.0, 2.0]]
    assert calls == []


def test_norms_counts_and_maxima_of_shards_combine_and_whole_ones_do_not(other: Others) -> None:
    calls = other([[7.0, 1.0], [16.0, 25.0, 2.0, 0.0]])  # maxima; squares and counts
    found = combined(
        [Parameter(True), Parameter(), Parameter(True)],
        [parts(GradNorm, 3.0, 9.0, 12.0), parts(GradMax, 4.0, 8.0, 6.0), parts(NonfiniteCount, 1.0, 5.0, 0.0)],
    )
    assert found == [[5.0, 9.0, 13.0], [7.0, 8.0, 6.0], [3.0, 5.0, 0.0]]
    assert calls == ["max over group 0", "sum over group 0"]


def test_norms_whose_squares_overflow_32_bits_combine(other: Others) -> None:
    other([[16e60]])
    assert combined([Parameter(True)], [parts(GradNorm, 3e30)])[0][0] == pytest.approx(5e30)


def test_only_the_dimensions_that_shard_are_summed_over(other: Others) -> None:
    calls = other([[16.0]])
    assert combined([Parameter(False, True)], [parts(GradNorm, 3.0)]) == [[5.0]]
    assert calls == ["sum over group 1"]


def test_modules_keep_what_their_own_batch_gave(other: Others) -> None:
    calls = other([])
    assert combined([Parameter(True)], [parts(GradNorm, 3.0, shards=False)])[0] == pytest.approx([3.0])
    assert calls == []


def test_a_nan_in_one_shard_is_nan_in_the_whole(other: Others) -> None:
    other([[float("nan")]])
    assert str(combined([Parameter(True)], [parts(GradNorm, 3.0)])) == "[[nan]]"
