"""Measures of activations against answers by hand and definitions element by element."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradtape.tracking.activations import ACTIVATIONS, ActivationMeasure, ActivationWatch

KINDS = {kind.name: kind for kind in ACTIVATIONS}


class Returns(nn.Module):
    """A module that returns what it is given, of any class that a measure reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x


def read(name: str, output: Tensor, module: nn.Module | None = None) -> float:
    """What a measure says of an output with units last."""
    measure = KINDS[name]()
    parts = measure.read(module or Returns(), output)
    assert parts.shape == (measure.parts,)
    return float(measure.finish(parts.double().numpy()[None])[0])


def flat(output: Tensor) -> list[float]:
    return [float(value) for value in output.double().flatten()]


def dead_units(output: Tensor) -> float:
    units = [flat(output[..., unit]) for unit in range(output.shape[-1])]
    return sum(all(value == 0 for value in unit) for unit in units) / len(units)


def saturation(output: Tensor) -> float:  # of a Tanh
    return sum(abs(value) >= 0.98 for value in flat(output)) / output.numel()


def kurtosis(output: Tensor) -> float:
    values = flat(output)
    mean = math.fsum(values) / len(values)
    second = math.fsum((value - mean) ** 2 for value in values) / len(values)
    fourth = math.fsum((value - mean) ** 4 for value in values) / len(values)
    return fourth / second**2 - 3 if second > 1e-12 else math.nan


def rank(output: Tensor) -> float:
    matrix = output.double().reshape(-1, output.shape[-1]).numpy()
    sizes = np.linalg.svd(matrix - matrix.mean(0), compute_uv=False)
    if min(matrix.shape) < 2:
        return math.nan
    if sizes.max() < 1e-12:
        return 0.0
    shares = sizes[sizes > 1e-7 * sizes.max()] / sizes[sizes > 1e-7 * sizes.max()].sum()
    return math.exp(-sum(share * math.log(share) for share in shares)) / min(matrix.shape)


def spread(output: Tensor) -> float:
    if len(output) < 2:
        return math.nan
    values = output.double().numpy()
    size = math.sqrt((values**2).mean())
    positions = itertools.product(*map(range, values.shape[1:]))
    deviations = [math.sqrt(((v := values[(slice(None), *at)]) - v.mean()).__pow__(2).mean()) for at in positions]
    return sum(deviations) / len(deviations) / size if size else 0.0


TWINS = {"dead_units": dead_units, "saturation": saturation, "kurtosis": kurtosis, "rank": rank, "spread": spread}


def test_every_measure_has_a_twin() -> None:
    assert list(TWINS) == list(KINDS)


@pytest.mark.parametrize("name", TWINS)
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4), seed=st.integers(0, 99), wide=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_measure_equals_its_twin(name: str, shape: list[int], seed: int, wide: bool) -> None:
    draws = torch.Generator().manual_seed(seed)
    output = torch.randn(shape, generator=draws, dtype=torch.float64 if wide else torch.float32)
    output[..., ::3] = output[..., ::3].relu() if seed % 2 else 0
    wanted = TWINS[name](output)
    assert read(name, output, nn.Tanh()) == pytest.approx(wanted, rel=1e-5, abs=1e-6, nan_ok=True)


def test_dead_units_by_hand() -> None:
    output = torch.tensor([[0.0, 1.0, 0.0, math.nan], [0.0, 0.0, -1.0, 0.0]])  # a Hardswish may be negative
    assert read("dead_units", output) == 0.25
    assert all(applies("dead_units", k) for k in (nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Threshold(1, 0)))
    assert not any(applies("dead_units", k) for k in (nn.GELU(), nn.Threshold(0, 1), nn.LeakyReLU(), nn.Linear(1, 1)))


def applies(name: str, module: nn.Module) -> bool:
    return KINDS[name]().applies(module)


@pytest.mark.parametrize(
    ("module", "values", "share"),
    [
        (nn.Sigmoid(), [0.0, 0.0099, 0.0101, 0.5, 0.9899, 0.9901, 1.0, math.nan], 0.5),
        (nn.Tanh(), [-1.0, -0.981, -0.979, 0.0, 0.979, 0.981, 1.0, 0.5], 0.5),
        (nn.Hardtanh(-2.0, 6.0), [-2.0, -1.93, -1.91, 0.0, 5.91, 5.93, 6.0, 1.0], 0.5),
        (nn.ReLU6(), [0.0, 0.0, 5.9, 5.95], 0.25),
        (nn.Hardsigmoid(), [0.0, 1.0, 0.5, 0.2], 0.5),
        (nn.Softsign(), [-0.99, 0.99, 0.0, 0.9], 0.5),
    ],
)
def test_saturation_by_hand(module: nn.Module, values: list[float], share: float) -> None:
    assert applies("saturation", module)
    assert read("saturation", torch.tensor([values]), module) == share


def test_what_has_no_two_ends_does_not_saturate() -> None:
    assert not any(applies("saturation", module) for module in (nn.ReLU(), nn.Hardtanh(0, math.inf), nn.Linear(1, 1)))


def test_kurtosis_by_hand() -> None:
    assert read("kurtosis", torch.tensor([[-1.0, 1.0], [1.0, -1.0]])) == pytest.approx(-2)  # the least there is
    assert read("kurtosis", torch.tensor([[0.0] * 99 + [1.0]] * 2)) == pytest.approx((1 - 3 * 0.0099) / 0.0099 - 3)
    many = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0))
    assert read("kurtosis", many) == pytest.approx(0, abs=0.02)
    assert read("kurtosis", 1000 * many + 1e5) == pytest.approx(read("kurtosis", many), abs=1e-4)
    assert math.isnan(read("kurtosis", torch.full((3, 3), 0.1)))
    assert math.isnan(read("kurtosis", torch.full((3, 3), 1e8) + torch.rand(3, 3)))  # as good as equal
    assert math.isnan(read("kurtosis", torch.tensor([[1.0, math.inf]])))


def test_kurtosis_of_parts_of_a_batch_adds_up() -> None:
    output = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) ** 3
    measure = KINDS["kurtosis"]()
    parts = sum(measure.read(Returns(), part) for part in output.tensor_split(3))
    assert isinstance(parts, Tensor)
    assert measure.finish(parts.numpy()[None])[0] == pytest.approx(kurtosis(output), rel=1e-9)


def test_rank_by_hand() -> None:
    line = torch.outer(torch.arange(8.0), torch.tensor([1.0, 2.0, -1.0, 0.5]))
    assert read("rank", line) == pytest.approx(1 / 4)
    assert read("rank", 1e-30 * line) == pytest.approx(1 / 4)
    assert read("rank", 1e30 * line) == pytest.approx(1 / 4)
    even = torch.cat([torch.eye(4), -torch.eye(4)])  # centred already, four equal singular values
    assert read("rank", even) == pytest.approx(1)
    assert read("rank", even + 100) == pytest.approx(1)
    assert read("rank", torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)) / 2
    )
    assert read("rank", torch.full((5, 3), 1 / 3)) == 0
    assert read("rank", 1 + 1e-7 * torch.randn(50, 30, generator=torch.Generator().manual_seed(0))) == 0  # rounding
    assert math.isnan(read("rank", torch.tensor([[1.0, math.nan], [0.0, 1.0]])))
    assert math.isnan(read("rank", torch.tensor([[1.0, math.inf], [0.0, 1.0]])))
    assert math.isnan(read("rank", torch.ones(1, 5)))


def test_rank_takes_rows_and_units_evenly_spaced() -> None:
    draws = torch.Generator().manual_seed(0)
    output = torch.randn(3, 300, 700, generator=draws)  # 900 rows
    rows, units = [i * 900 // 128 for i in range(128)], [i * 700 // 512 for i in range(512)]
    assert read("rank", output) == pytest.approx(rank(output.reshape(900, 700)[rows][:, units]), rel=1e-5)
    half = output.clone()
    half[1:] = 0  # the latter samples count too
    assert read("rank", half) < 0.5


def test_spread_by_hand() -> None:
    assert read("spread", torch.tensor([[1.0, 2.0], [1.0, 2.0]])) == 0  # all samples alike, however their units differ
    assert read("spread", torch.tensor([[1.0, -2.0], [-1.0, 2.0]])) == pytest.approx(1.5 / math.sqrt(2.5))
    assert read("spread", torch.zeros(4, 2)) == 0
    assert math.isnan(read("spread", torch.ones(1, 2)))


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_in_single_precision(kind: type[ActivationMeasure], dtype: torch.dtype) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = {"saturation": nn.Tanh(), "dead_units": nn.ReLU()}.get(kind.name, Returns())

        def forward(self, x: Tensor) -> Tensor:
            return self.module(x)

    draws = torch.Generator().manual_seed(0)
    output = (200 * torch.rand(300, 8, generator=draws)).to(dtype)  # fourth powers overflow, sums stall
    output[:, 2] = 0
    model = Half()
    watch = ActivationWatch(model, [kind()])
    watch.arm()
    with torch.autocast("cpu", dtype):
        seen = model(output)
    parts = watch.collect()[kind.name]
    wanted = TWINS[kind.name](seen if kind.name != "rank" else seen[[i * 300 // 128 for i in range(128)]])
    assert float(kind().finish(parts.numpy())[0]) == pytest.approx(wanted, rel=1e-5)


def test_autocast_does_not_round_where_sums_have_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("measures._reduce", "activations._base", "activations._shape", "activations._watch"):
        monkeypatch.setattr(f"gradtape.tracking.{room}.wide", lambda _: torch.float32)  # as where there are no 64
    model, output = Returns(), torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    watch = ActivationWatch(model, [KINDS["rank"]()])
    watch.arm()
    with torch.autocast("cpu", torch.bfloat16):
        model(output)
    parts = watch.collect()["rank"]
    assert parts.dtype == torch.float32
    assert float(parts[0, 0] / parts[0, 1]) == pytest.approx(rank(output), rel=1e-5)
