"""The contract of parts: those of shards, combined, are those of the whole; it holds for the whole registry."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gradtape.tracking.measures import MEASURES, Measure
from tests.tracking.measures.playing import OPTIMIZERS, gradients, play

SHAPES = [(9, 4), (9,), (5, 2, 3), (2, 7), (1,), ()]
COMBINE = {
    "sum": np.add.reduce,
    "max": np.maximum.reduce,
    "norm": lambda parts: np.sqrt(sum(part**2 for part in parts)),
}


def shard(tensor: Tensor | None, rank: int) -> Tensor | None:
    """The rank's rows: of three ranks with rows as even as can be, and a fourth with none."""
    if tensor is None:
        return None
    rows = tensor if tensor.dim() else tensor[None]
    return (*rows.tensor_split(3), rows[:0])[rank]


@pytest.mark.parametrize("kind", MEASURES, ids=[kind.name for kind in MEASURES])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_combined_shards_are_the_whole(kind: type[Measure], optimizer: str, dtype: torch.dtype) -> None:
    weights = [torch.randn(s, generator=torch.Generator().manual_seed(9)).to(dtype) for s in SHAPES]
    steps = [gradients(SHAPES, seed, dtype) for seed in range(2)]
    steps.append([a + b for a, b in zip(*steps, strict=True)])
    steps[2][1] = None  # type: ignore[call-overload]
    steps[2][3][0, 0] = torch.inf
    make = OPTIMIZERS[optimizer]
    whole = play(kind, weights, steps, make)
    shards = [
        play(kind, [shard(w, r) for w in weights], [[shard(g, r) for g in grads] for grads in steps], make)
        for r in range(4)
    ]
    parts = COMBINE[kind.combine]([played.parts.double().numpy() for played in shards])
    np.testing.assert_allclose(kind().finish(parts), whole.numbers, rtol=1e-6, atol=1e-12)
    assert np.isfinite(whole.numbers).any() == kind.applies(make([torch.nn.Parameter(torch.ones(1))]))
