"""Measures against a brute-force twin that clones parameters and gradients around every step."""

import math
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.tracking import MEASURES, History
from gradtape.tracking.history import read_history

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
}


def history(tracker: gt.tracking.Tracker, player: str = "model") -> History:
    tracker._store.flush()
    return read_history(tracker._store, player)


def read(tracker: gt.tracking.Tracker, measure: str, parameter: str = "weight", player: str = "model") -> list[float]:
    found = history(tracker, player)
    return found.measures[measure][:, found.parameters.index(parameter)].tolist()


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))


def brute(before: list[Tensor], grads: list[Tensor], after: list[Tensor]) -> dict[str, list[float]]:
    """Every measure element by element, in 64-bit Python numbers."""

    def norm(values: Tensor) -> float:
        return math.sqrt(sum(float(value) ** 2 for value in values.flatten().double()))

    return {
        "grad_norm": [norm(g) for g in grads],
        "raw_grad_norm": [norm(g) for g in grads],
        "weight_norm": [norm(w) for w in before],
        "update_norm": [norm(a.double() - b.double()) for a, b in zip(after, before, strict=True)],
        "update_ratio": [norm(a.double() - b.double()) / norm(b) for a, b in zip(after, before, strict=True)],
        "nonfinite_count": [float(sum(not math.isfinite(value) for value in g.flatten().tolist())) for g in grads],
    }


def test_the_registry_holds_the_measures_of_the_twin() -> None:
    always = {measure.name for measure in MEASURES if not measure.dear}
    assert {*always, "update_ratio"} == set(brute([], [], []))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_measure_equals_the_twin(make: Callable[..., torch.optim.Optimizer], dtype: torch.dtype) -> None:
    model = net().to(dtype)
    optimizer = make(model.parameters())
    draws = torch.Generator().manual_seed(1)
    expected = []
    with gt.track(model, optimizer) as tracker:
        for _ in range(6):
            optimizer.zero_grad()
            x, y = torch.randn(4, 6, generator=draws).to(dtype), torch.randint(3, (4,), generator=draws)
            nn.functional.cross_entropy(model(x), y).backward()
            before = [p.detach().clone() for p in model.parameters()]
            grads = [p.grad.clone() for p in model.parameters()]
            optimizer.step()
            expected.append(brute(before, grads, [p.detach().clone() for p in model.parameters()]))
        found = history(tracker)
    assert found.parameters == tuple(name for name, _ in model.named_parameters())
    assert found.steps.tolist() == list(range(6))
    for name in expected[0]:
        values = found.measures[name]
        wanted = torch.tensor([row[name] for row in expected], dtype=torch.float64)
        assert torch.allclose(torch.from_numpy(values.copy()), wanted, rtol=2e-4, atol=1e-12), name


def test_no_gradient_zero_gradient_and_nan_gradient_are_three_things() -> None:
    model = nn.ParameterDict(
        {name: nn.Parameter(torch.ones(2, 3)) for name in ("absent", "zero", "nan", "inf", "both", "huge")}
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    model["zero"].grad = torch.zeros(2, 3)
    for name, values in {
        "nan": [math.nan, 0, 0, 1, 1, 1],
        "inf": [math.inf, math.inf, 1, 1, 1, 0],
        "both": [math.inf, -math.inf, math.nan, 1, 1, 1],
        "huge": [3e38, 3e38, 0, 0, 0, 0],  # finite, and their sum is not
    }.items():
        model[name].grad = torch.tensor(values).view(2, 3)
    with gt.track(model, optimizer) as tracker:
        optimizer.step()
        found = history(tracker)
    row = {name: {m: float(v[0, i]) for m, v in found.measures.items()} for i, name in enumerate(found.parameters)}
    assert math.isnan(row["absent"]["grad_norm"])
    assert row["absent"]["nonfinite_count"] == 0
    assert (row["zero"]["grad_norm"], row["zero"]["nonfinite_count"]) == (0, 0)
    assert math.isnan(row["nan"]["grad_norm"])
    assert row["nan"]["nonfinite_count"] == 1
    assert (row["inf"]["grad_norm"], row["inf"]["nonfinite_count"]) == (math.inf, 2)
    assert row["both"]["nonfinite_count"] == 3
    assert row["huge"]["nonfinite_count"] == 0
    assert row["huge"]["grad_norm"] == pytest.approx(3e38 * 2**0.5) or row["huge"]["grad_norm"] == math.inf


def test_zero_weights_that_do_not_move_have_ratio_zero_and_those_that_do_infinity() -> None:
    model = nn.ParameterDict({name: nn.Parameter(torch.zeros(2)) for name in ("still", "moved")})
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model["moved"].grad = torch.ones(2)
    with gt.track(model, optimizer) as tracker:
        optimizer.step()
        assert read(tracker, "update_ratio", "still") == [0.0]
        assert read(tracker, "update_ratio", "moved") == [math.inf]


def scalar(value: float = 10.0) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def test_accumulated_gradients_are_read_at_the_step_and_not_per_backward() -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with gt.track(model, optimizer) as tracker:
        for part in (1.0, 2.0, 3.0):
            model(torch.tensor([[part]])).sum().backward()
        optimizer.step()
        assert read(tracker, "grad_norm") == [6.0]
        assert read(tracker, "weight_norm") == [10.0]  # before the step
        assert read(tracker, "update_ratio") == [pytest.approx(0.3)]


def test_a_clipped_gradient_reads_both_values() -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with gt.track(model, optimizer) as tracker:
        for x, limit in ((9.0, 1.0), (8.0, 2.0), (0.5, 2.0), (0.5, None), (0.5, None), (8.0, 2.0), (9.0, 1.0)):
            optimizer.zero_grad()
            model(torch.tensor([[x]])).sum().backward()
            if limit is not None:
                nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
        assert read(tracker, "grad_norm") == pytest.approx([1.0, 2.0, 0.5, 0.5, 0.5, 2.0, 1.0], rel=1e-5)
        raw = read(tracker, "raw_grad_norm")
        assert raw == pytest.approx([9.0, 8.0, 0.5, 0.5, 0.5, 8.0, 9.0], rel=1e-5)


def test_clipping_that_begins_late_is_seen_from_its_second_step() -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gt.track(model, optimizer, budget=None) as tracker:
        for step in range(64):
            optimizer.zero_grad()
            model(torch.tensor([[9.0]])).sum().backward()
            if step >= 60 and step % 2 == 0:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        assert read(tracker, "grad_norm")[59:] == pytest.approx([9, 1, 9, 1, 9], rel=1e-5)
        raw = read(tracker, "raw_grad_norm")
        assert math.isnan(raw[60])
        assert raw[:60] + raw[61:] == pytest.approx([9.0] * 63)


def test_the_loss_is_the_one_backward_was_called_on() -> None:
    model = scalar(2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gt.track(model, optimizer, budget=None) as tracker:

        def step(act: Callable[[], object]) -> None:
            optimizer.zero_grad()
            act()
            optimizer.step()

        def once(x: float = 1.0) -> Tensor:
            loss = model(torch.tensor([[x]])).sum()
            loss.backward()
            return loss

        def beside() -> None:
            once(3.0)
            torch.autograd.grad(model(torch.tensor([[5.0]])).sum(), model.weight)  # a penalty, a probe

        def checkpointed() -> None:
            x = torch.ones(1, 1, requires_grad=True)
            torch.utils.checkpoint.checkpoint(model, x, use_reentrant=True).sum().backward()

        step(once)
        step(lambda: once().detach().mul_(100))  # divided or summed up for a log
        step(lambda: (once(), once(4.0)))  # accumulated
        step(beside)
        step(checkpointed)
        thread = threading.Thread(target=step, args=(once,))
        thread.start()
        thread.join()
        step(lambda: setattr(model.weight, "grad", torch.ones(1, 1)))  # by hand
        losses = history(tracker).loss.tolist()
        raw = read(tracker, "raw_grad_norm")
    assert losses[:6] == [2.0, 2.0, 10.0, 6.0, 2.0, 2.0]
    assert math.isnan(losses[6])
    assert raw[:6] == [1.0, 1.0, 5.0, 3.0, 1.0, 1.0]


def test_parameters_that_begin_to_learn_later_are_listened_to() -> None:
    model = scalar(2.0)
    model.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gt.track(model, optimizer, budget=None) as tracker:
        optimizer.step()
        model.weight.requires_grad_(True)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 1)).sum().backward()
            optimizer.step()
        assert history(tracker).loss[2] == 2.0
        assert read(tracker, "raw_grad_norm")[2] == 1.0


def test_large_gradients_that_do_not_lie_in_a_row_are_summed_as_well() -> None:
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(3000, 3000))})
    model["w"].grad = torch.randn(3000, 3000, generator=torch.Generator().manual_seed(0)).t()
    wanted = float(model["w"].grad.double().norm())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gt.track(model, optimizer) as tracker:
        optimizer.step()
        assert read(tracker, "grad_norm", "w")[0] == pytest.approx(wanted, rel=1e-6)


def test_a_gradient_transformed_on_the_optimizer_reads_the_transformed_value() -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    gt.Scale(0.25).on(optimizer)
    with gt.track(model, optimizer) as tracker:
        model(torch.tensor([[8.0]])).sum().backward()
        optimizer.step()
        assert read(tracker, "grad_norm") == [2.0]


def test_a_scaled_loss_reads_the_unscaled_gradient() -> None:
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with gt.track(model, optimizer) as tracker:
        scaler.scale(model(torch.tensor([[3.0]])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert read(tracker, "grad_norm") == [3.0]
        assert read(tracker, "raw_grad_norm") == [3.0]  # and not 3072
        assert history(tracker).loss.tolist() == [30.0]


def test_bfloat16_norms_are_not_rounded_to_bfloat16() -> None:
    model = nn.ParameterDict({"weight": nn.Parameter(torch.full((9000,), 1.0, dtype=torch.bfloat16))})
    model["weight"].grad = torch.full((9000,), 32.0, dtype=torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gt.track(model, optimizer) as tracker:
        optimizer.step()
        norm = read(tracker, "grad_norm")[0]
    assert norm == pytest.approx(32 * math.sqrt(9000), rel=1e-6)  # 3035.8: bfloat16 would say 3040
    model["weight"].grad = torch.full((9000,), 1.0, dtype=torch.bfloat16)
    model["weight"].grad[0] = 2998.5  # rounded to bfloat16: 2992
    with gt.track(model, optimizer) as tracker:
        optimizer.step()
        assert read(tracker, "grad_norm")[0] == pytest.approx(math.sqrt(2992**2 + 8999), rel=1e-6)


def test_a_bfloat16_update_is_measured_between_the_stored_weights() -> None:
    model = nn.ParameterDict({"weight": nn.Parameter(torch.ones(4, dtype=torch.bfloat16))})
    model["weight"].grad = torch.ones(4, dtype=torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)  # far below the spacing of bfloat16 at 1
    with gt.track(model, optimizer) as tracker:
        optimizer.step()
        assert read(tracker, "update_ratio") == [0.0]


def test_a_sparse_gradient_is_measured_like_its_dense_twin() -> None:
    rows = {}
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Embedding(7, 3, sparse=sparse)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gt.track(model, optimizer) as tracker:
            model(torch.tensor([1, 1, 4])).square().sum().backward()
            optimizer.step()
            found = history(tracker).measures
            rows[sparse] = {name: float(found[name][0, 0]) for name in ("grad_norm", "weight_norm", "update_norm")}
    assert rows[True] == pytest.approx(rows[False], rel=1e-6)


def test_the_channel_has_one_column_per_parameter_and_measure() -> None:
    model = net()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)  # an optimizer of a part: only its parameters
    with gt.track(model, optimizer) as tracker:
        model(torch.ones(2, 6)).sum().backward()
        optimizer.step()
        assert history(tracker).parameters == ("2.weight", "2.bias")
