"""Every dear measure against its definition in Python's numbers, element by element."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradtape.tracking.measures import MEASURES, Measure, Reading
from gradtape.tracking.measures import _reduce as reduce
from tests.tracking.measures.playing import OPTIMIZERS, Grads, Played, gradients, play

KINDS = {kind.name: kind for kind in MEASURES if kind.dear}
SHAPES = [(8, 3, 2, 2), (8,), (5, 8), (5,), (), (1, 1), (7, 0), (0,)]
Numbers = list[float]


def flat(tensor: Tensor) -> Numbers:
    return [float(value) for value in tensor.double().flatten()]


def total(values: Sequence[float]) -> float:
    return math.fsum(values)


def largest(grad: Numbers) -> float:
    return max((abs(value) for value in grad), default=0.0)


def mean(grad: Numbers) -> float:
    return total(grad) / len(grad) if grad else math.nan


def zero_share(grad: Numbers) -> float:
    return sum(value == 0 for value in grad) / len(grad) if grad else math.nan


def zero_units(grad: Tensor) -> float:
    rows = [flat(row) for row in (grad if grad.dim() else grad[None])] if grad.numel() else []
    return sum(all(value == 0 for value in row) for row in rows) / len(rows) if rows else math.nan


def histogram(grad: Numbers) -> Numbers:
    counts = [0] * 32
    for value in grad:
        if value == 0:
            counts[0] += 1
        elif not math.isfinite(value):
            counts[31] += 1
        else:
            exponent = math.frexp(abs(value))[1] - 1  # 2^exponent <= |value| < 2^(exponent + 1)
            counts[1 if exponent < -40 else 30 if exponent >= 16 else 2 + (exponent + 40) // 2] += 1
    return [count / len(grad) for count in counts] if grad else [math.nan] * 32


def cosine(a: Numbers, b: Numbers | None) -> float:
    if b is None:
        return math.nan
    size = math.sqrt(total([x * x for x in a])) * math.sqrt(total([x * x for x in b]))
    return total([x * y for x, y in zip(a, b, strict=True)]) / size if size else math.nan


def noise_scale(a: Numbers, b: Numbers) -> float:
    dot = total([x * y for x, y in zip(a, b, strict=True)])
    return total([(x - y) ** 2 for x, y in zip(a, b, strict=True)]) / 2 / dot if dot > 0 else math.nan


def surprise(grad: Numbers, state: dict[str, Tensor], beta: float, eps: float = 1e-8) -> float:
    if "exp_avg_sq" not in state or not grad:
        return math.nan
    correction = 1 - beta ** float(state["step"])
    ratios = [g * g / max(v / correction, eps * eps) for g, v in zip(grad, flat(state["exp_avg_sq"]), strict=True)]
    return math.sqrt(total(ratios) / len(ratios))


def twins(played: Played, grad: Grads, before: Grads, beta: float) -> dict[str, list]:
    """Every dear measure of each parameter."""
    found: dict[str, list] = {name: [] for name in KINDS}
    for index, (g, old) in enumerate(zip(grad, before, strict=True)):
        start, after = flat(played.start[index]), flat(played.after[index])
        found["distance"].append(math.sqrt(total([(x - y) ** 2 for x, y in zip(after, start, strict=True)])))
        state = played.state[index]
        momentum = state.get("exp_avg", state.get("momentum_buffer"))
        if g is None:
            for name in KINDS.keys() - {"distance"}:
                found[name].append([math.nan] * 32 if name == "grad_histogram" else math.nan)
            continue
        numbers = flat(g)
        previous = None if old is None else flat(old)
        values = {
            "grad_max": largest(numbers),
            "grad_mean": mean(numbers),
            "zero_share": zero_share(numbers),
            "zero_units": zero_units(g),
            "grad_histogram": histogram(numbers),
            "previous_cosine": cosine(numbers, previous),
            "momentum_cosine": cosine(numbers, None if momentum is None else flat(momentum)),
            "noise_scale": math.nan if previous is None else noise_scale(numbers, previous),
            "adam_surprise": surprise(numbers, state, beta),
        }
        for name, value in values.items():
            found[name].append(value)
    return found


def test_every_dear_measure_has_a_twin() -> None:
    played = play(KINDS["distance"], [torch.ones(2)], [[torch.ones(2)]], OPTIMIZERS["adam"])
    assert all(twins(played, [torch.ones(2)], [None], 0.9).values())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_measure_equals_its_twin(kind: type[Measure], optimizer: str, dtype: torch.dtype) -> None:
    weights = [torch.ones(shape, dtype=dtype) for shape in SHAPES]
    steps = [gradients(SHAPES, seed, dtype) for seed in range(3)]
    steps.append([0.5 * old + new for old, new in zip(steps[2], gradients(SHAPES, 3, dtype), strict=True)])
    steps[3][1] = None
    steps[2][3] = None  # no gradient at the step before
    played = play(kind, weights, steps, OPTIMIZERS[optimizer])
    beta = {"adam": 0.9}.get(optimizer, 0.999)
    wanted = np.array(twins(played, steps[3], steps[2], beta)[kind.name])
    assert played.parts.shape == (len(SHAPES), kind.parts)
    assert played.numbers.shape == wanted.shape
    assert np.isfinite(wanted).any() == kind.applies(OPTIMIZERS[optimizer]([torch.nn.Parameter(torch.ones(1))]))
    np.testing.assert_allclose(played.numbers, wanted, rtol=3e-6 if dtype == torch.float32 else 1e-9, atol=1e-12)


@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    seed=st.integers(0, 99),
    swapped=st.sampled_from([None, 1, 2]),
    piece=st.sampled_from([1, 2, 7, reduce.PIECE]),
)
@settings(max_examples=60, deadline=None)
def test_shapes_layouts_and_pieces_do_not_matter(shape: list[int], seed: int, swapped: int | None, piece: int) -> None:
    def laid_out(tensors: list[Tensor]) -> list[Tensor]:
        return [t.transpose(0, -1).contiguous().transpose(0, -1) if t.dim() > 1 else t for t in tensors]

    shapes = [tuple(shape)]
    steps = [gradients(shapes, seed + i, torch.float64) for i in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradtape.tracking.measures._reduce.PIECE", piece)
        patch.setattr("gradtape.tracking.measures._zeros.PIECE", piece)
        for name, kind in KINDS.items():
            given_steps = [laid_out(grads) if step == swapped else grads for step, grads in enumerate(steps)]
            played = play(kind, [torch.ones(shape, dtype=torch.float64)], given_steps, OPTIMIZERS["adam"])
            wanted = np.array(twins(played, steps[2], steps[1], 0.9)[name])
            np.testing.assert_allclose(played.numbers, wanted, rtol=1e-9, atol=1e-12, err_msg=name)


FIVE = {
    "none": None,
    "zero": torch.zeros(2, 3),
    "underflow": torch.full((2, 3), 1e-30),  # its square has no 32-bit number
    "frozen": torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]),  # one row gets nothing
    "nan": torch.tensor([[math.nan, 0.0, 1.0], [-math.inf, 2.0**-24, 0.0]]),
}
KNOWN: dict[str, dict[str, float]] = {
    "grad_max": {"zero": 0, "underflow": 1e-30, "frozen": 2, "nan": math.nan},
    "grad_mean": {"zero": 0, "underflow": 1e-30, "frozen": 1 / 3, "nan": math.nan},
    "zero_share": {"zero": 1, "underflow": 0, "frozen": 0.5, "nan": 1 / 3},
    "zero_units": {"zero": 1, "underflow": 0, "frozen": 0.5, "nan": 0},
    "previous_cosine": {"zero": math.nan, "underflow": 1, "frozen": 1, "nan": math.nan},
    "momentum_cosine": {"zero": math.nan, "underflow": 1, "frozen": 1, "nan": math.nan},
    "noise_scale": {"zero": math.nan, "underflow": 0, "frozen": 0, "nan": math.nan},
    "adam_surprise": {"zero": 0, "underflow": 1e-22, "frozen": math.sqrt(0.5), "nan": math.nan},
}


def five(kind: type[Measure]) -> dict[str, np.ndarray]:
    grads = list(FIVE.values())
    played = play(kind, [torch.zeros(2, 3)] * 5, [grads] * 3, OPTIMIZERS["adam"])
    return dict(zip(FIVE, played.numbers, strict=True))


@pytest.mark.parametrize("name", KNOWN)
def test_none_zero_underflow_frozen_and_nan_are_five_things(name: str) -> None:
    found = five(KINDS[name])
    assert found == {"none": pytest.approx(math.nan, nan_ok=True)} | {
        case: pytest.approx(value, rel=1e-5, nan_ok=True) for case, value in KNOWN[name].items()
    }


def test_the_bins_of_the_five() -> None:
    found = five(KINDS["grad_histogram"])
    fields = KINDS["grad_histogram"].fields
    assert np.isnan(found.pop("none")).all()
    filled = {case: {f: v for f, v in zip(fields, row, strict=True) if v} for case, row in found.items()}
    sixth = pytest.approx(1 / 6)
    assert filled == {
        "zero": {"zero": 1},
        "underflow": {"<-40": 1},
        "frozen": {"zero": 0.5, "0": pytest.approx(0.5)},  # 1, 1 and 2 are in [1, 4)
        "nan": {"zero": pytest.approx(1 / 3), "0": sixth, "-24": sixth, "nonfinite": pytest.approx(1 / 3)},
    }


def test_inf_is_the_largest_and_a_step_without_any_gradient_reads_nan() -> None:
    inf = play(KINDS["grad_max"], [torch.zeros(2)], [[torch.tensor([-math.inf, 1.0])]], OPTIMIZERS["sgd"])
    assert inf.numbers.tolist() == [math.inf]
    for kind in KINDS.values():
        played = play(kind, [torch.zeros(2), torch.zeros(())], [[None, None]] * 2, OPTIMIZERS["adam"])
        assert played.parts.shape == (2, kind.parts)
        if kind.name != "distance":
            assert np.isnan(played.numbers).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_edges_of_the_bins_are_powers_of_two(dtype: torch.dtype) -> None:
    kind = KINDS["grad_histogram"]
    info = torch.finfo(dtype)
    for low, field in zip(range(-40, 16, 2), kind.fields[2:-2], strict=True):
        least = torch.tensor([-(2.0**low)]).to(dtype)
        most = torch.nextafter(torch.tensor([2.0 ** (low + 2)], dtype=dtype), torch.zeros(1, dtype=dtype))
        if not least or not torch.isfinite(most):
            continue
        found = play(kind, [torch.zeros(2, dtype=dtype)], [[torch.cat([least, most])]], OPTIMIZERS["sgd"]).numbers[0]
        assert dict(zip(kind.fields, found, strict=True))[field] == 1, (dtype, low)
    smallest = info.smallest_normal * info.eps  # the smallest subnormal
    ends = torch.tensor([smallest, info.max, -0.0, math.nan], dtype=torch.float64).to(dtype)
    found = play(kind, [torch.zeros(4, dtype=dtype)], [[ends]], OPTIMIZERS["sgd"]).numbers[0]
    half = dtype == torch.float16
    filled = [field for field, value in zip(kind.fields, found, strict=True) if value == 0.25]
    assert filled == (["zero", "-24", "14", "nonfinite"] if half else ["zero", "<-40", ">=16", "nonfinite"])


def test_counting_on_an_accelerator_is_bincount() -> None:
    from gradtape.tracking.measures._histogram import spread_count

    values = torch.randint(0, 200, (5000,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert spread_count(values, 256).tolist() == torch.bincount(values, minlength=256).tolist()


def test_half_precision_sums_neither_overflow_nor_stop_growing() -> None:
    grads = [torch.full((70_000,), 60_000.0, dtype=torch.float16), torch.full((70_000,), 1.0, dtype=torch.bfloat16)]
    weights = [torch.zeros_like(grad) for grad in grads]
    assert play(KINDS["grad_mean"], weights, [grads], OPTIMIZERS["sgd"]).numbers.tolist() == [60_000, 1]
    cosines = play(KINDS["previous_cosine"], weights, [grads, grads], OPTIMIZERS["sgd"]).numbers
    assert cosines.tolist() == pytest.approx([1, 1], abs=1e-12)


def test_counts_above_two_to_the_24_are_exact() -> None:
    grad = torch.ones(2**24 + 4, dtype=torch.bfloat16)
    grad[:3] = 0
    parts = play(KINDS["zero_share"], [torch.zeros_like(grad)], [[grad]], OPTIMIZERS["sgd"]).parts
    assert parts.tolist() == [[3, 2**24 + 4]]


def test_a_complex_parameter_is_read_as_pairs_of_numbers() -> None:
    for name, kind in KINDS.items():
        steps = [[torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(seed))] for seed in range(3)]
        as_pairs = play(kind, [torch.zeros(4, 3, 2)], steps, OPTIMIZERS["adam"])
        paired = [[torch.view_as_complex(grad) for grad in grads] for grads in steps]
        as_complex = play(kind, [torch.zeros(4, 3, dtype=torch.complex64)], paired, OPTIMIZERS["adam"])
        np.testing.assert_allclose(as_complex.numbers, as_pairs.numbers, rtol=1e-6, err_msg=name)


def test_gradients_of_several_types_are_read_together() -> None:
    kinds = (torch.float64, torch.float16, torch.float32)
    grads = [grad.to(kind) for grad, kind in zip(gradients([(3, 4)] * 3), kinds, strict=True)]
    weights = [torch.zeros_like(grad) for grad in grads]
    for kind in KINDS.values():
        together = play(kind, weights, [grads] * 2, OPTIMIZERS["adam"]).numbers
        alone = [play(kind, [w], [[g]] * 2, OPTIMIZERS["adam"]).numbers for w, g in zip(weights, grads, strict=True)]
        np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_reading_never_waits_for_an_accelerator(kind: type[Measure], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("this waits")

    steps = [gradients(SHAPES, seed) for seed in range(3)]
    read: list[Callable] = [kind.begin, kind.prepare, kind.before_step, kind.after_step]

    def guarded(method: Callable) -> Callable:
        def run(*args: object) -> object:
            with pytest.MonkeyPatch.context() as patch:
                for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__int__", "nonzero"):
                    patch.setattr(Tensor, name, refused)
                return method(*args)

        return run

    for method in read:
        monkeypatch.setattr(kind, method.__name__, guarded(method))
    play(kind, [torch.ones(shape) for shape in SHAPES], steps, OPTIMIZERS["adam"])


def test_a_copy_of_another_step_is_not_taken_for_the_one_before() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = OPTIMIZERS["sgd"]([parameter])

    def reading(step: int, *grad: float) -> Reading:
        return Reading([parameter], [parameter.detach()], [torch.tensor(grad)], optimizer, optimizer.param_groups, step)

    measure = KINDS["previous_cosine"]()
    measure.prepare(reading(3, 1.0, 0.0))
    measure.prepare(reading(4, 0.0, 1.0))  # read at every step: the copy for the next comes before or after
    measure.before_step(reading(4, 0.0, 1.0))
    assert measure.finish(measure.after_step(reading(4, 0.0, 1.0)).numpy()).tolist() == [0]
    measure.before_step(reading(6, 0.0, 1.0))
    assert np.isnan(measure.finish(measure.after_step(reading(6, 0.0, 1.0)).numpy())).all()


def test_distance_is_from_where_tracking_began_over_pauses_and_nan_where_the_shape_is_another() -> None:
    played = play(KINDS["distance"], [torch.ones(2)], [[torch.tensor([3.0, 4.0])]] * 4, OPTIMIZERS["sgd"])
    assert played.numbers.tolist() == pytest.approx([0.1 * 4 * 5])  # four steps of 0.1 along (3, 4)
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
    optimizer = OPTIMIZERS["sgd"](parameters)
    groups = optimizer.param_groups * 2
    measure = KINDS["distance"]()

    def read(*weights: Tensor) -> list[float]:
        reading = Reading(parameters, list(weights), [None, None], optimizer, groups, 0)
        measure.before_step(reading)
        return measure.finish(measure.after_step(reading).numpy()).tolist()

    measure.begin(Reading(parameters, [torch.ones(2), torch.ones(3)], [None, None], optimizer, groups, 0))
    measure.close()
    assert read(torch.tensor([4.0, 5.0]), torch.ones(2)) == [5, pytest.approx(math.nan, nan_ok=True)]


def test_foreign_states_read_nan() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = OPTIMIZERS["adam"]([parameter])
    group = optimizer.param_groups
    for state in (
        {"exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(2), "step": 3},
        {"exp_avg": torch.ones(2, 2, dtype=torch.uint8), "exp_avg_sq": torch.ones(2, 2, dtype=torch.uint8), "step": 3},
        {"exp_avg": "none", "exp_avg_sq": None, "step": 3},
    ):
        optimizer.state[parameter] = state
        for name in ("momentum_cosine", "adam_surprise"):
            measure = KINDS[name]()
            reading = Reading([parameter], [parameter.detach()], [torch.ones(2, 2)], optimizer, group, 5)
            measure.before_step(reading)
            assert np.isnan(measure.finish(measure.after_step(reading).numpy())).all()
    optimizer.state[parameter] = {"exp_avg_sq": torch.full((2, 2), 0.25 * (1 - 0.9**3)), "step": 3}  # a plain number
    measure = KINDS["adam_surprise"]()
    measure.before_step(reading)
    assert measure.finish(measure.after_step(reading).numpy()).tolist() == pytest.approx([2.0])


@pytest.mark.parametrize(
    ("optimizer", "applies"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), []),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), ["momentum_cosine"]),
        (torch.optim.RMSprop, []),
        (torch.optim.Adamax, ["momentum_cosine"]),
        (torch.optim.Adafactor, []),
        (torch.optim.Adam, ["momentum_cosine", "adam_surprise"]),
        (torch.optim.NAdam, ["momentum_cosine", "adam_surprise"]),
    ],
)
def test_moments_are_read_where_there_are_some(optimizer: Callable, applies: list[str]) -> None:
    made = optimizer([torch.nn.Parameter(torch.ones(2))])
    assert [n for n in ("momentum_cosine", "adam_surprise") if KINDS[n].applies(made)] == applies
