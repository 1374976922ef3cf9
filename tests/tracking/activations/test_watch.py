"""What the hooks see, when, and that they leave no trace."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradtape as gt
from gradtape.tracking.activations import ACTIVATIONS, ActivationMeasure, ActivationWatch


class Total(ActivationMeasure):
    """Sum of the elements of every module: what was read can be told from it."""

    name = "total"
    parts = 1

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        return output.double().sum()[None]


class Layout(Total):
    """Size of the last dimension."""

    name = "layout"

    def read(self, module: nn.Module, output: Tensor) -> Tensor:
        return torch.tensor([float(output.shape[-1])], dtype=torch.float64)


def all_of_them() -> list[ActivationMeasure]:
    return [kind() for kind in ACTIVATIONS]


def totals(model: nn.Module, call: Callable[[], Any]) -> dict[str, float]:
    watch = ActivationWatch(model, [Total()])
    watch.arm()
    call()
    found = dict(zip(watch.modules("total"), watch.collect()["total"][:, 0].tolist(), strict=True))
    watch.remove()
    return {path: value for path, value in found.items() if not math.isnan(value)}


class Times(nn.Module):
    """Multiply."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def test_modules_without_children_are_read_each_once_and_the_model_if_it_is_one() -> None:
    shared = Times(2)
    model = nn.Sequential(shared, nn.Sequential(Times(3), shared), Times(5))
    assert totals(model, lambda: model(torch.ones(1, 1))) == {"0": 2, "1.0": 6, "2": 60}  # the first call of 0
    assert totals(shared, lambda: shared(torch.ones(1, 2))) == {"(output)": 4}


def test_columns_and_parts_of_the_registry() -> None:
    model = net()
    watch = ActivationWatch(model, all_of_them())
    assert {kind.name: watch.modules(kind.name) for kind in ACTIVATIONS} == {
        "dead_units": ("1",),
        "saturation": ("4",),
        "kurtosis": ("0", "3", "5"),
        "rank": ("0", "3", "5"),
        "spread": ("(output)",),
    }
    watch.arm()
    model(torch.randn(4, 6))
    for kind in ACTIVATIONS:
        parts = watch.collect()[kind.name]  # the first empties it
        assert parts.shape == (len(watch.modules(kind.name)), kind.parts)
    assert all(parts.isnan().all() for parts in watch.collect().values())


def test_a_reused_relu_and_one_in_place_are_read_where_they_stand() -> None:
    linear = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(-torch.eye(3))
    relu = nn.ReLU(inplace=True)
    model = nn.Sequential(linear, relu, Times(-1), relu)
    found = totals(model, lambda: model(torch.ones(2, 3)))
    assert found == {"0": -6, "1": 0, "2": 0}  # the Linear before the ReLU wrote over it
    watch = ActivationWatch(model, [kind() for kind in ACTIVATIONS if kind.name == "dead_units"])
    watch.arm()
    model(torch.tensor([[1.0, -1.0, 1.0]]))
    assert watch.collect()["dead_units"].tolist() == [[2, 3]]


def test_only_the_first_pass_in_training_with_gradients_is_read() -> None:
    model = nn.Sequential(Times(1), nn.ReLU())
    watch = ActivationWatch(model, [Total()])

    def read() -> list[float]:
        return watch.collect()["total"][:, 0].nan_to_num(-1).tolist()

    model(torch.ones(1, 1))
    assert read() == [-1, -1]  # not armed
    watch.arm()
    model.eval()
    model(torch.full((1, 1), 2.0))
    model.train()
    with torch.no_grad():
        model(torch.full((1, 1), 3.0))
    with torch.inference_mode():
        model(torch.full((1, 1), 3.5))
    model(torch.full((1, 1), 4.0))
    model(torch.full((1, 1), 5.0))
    assert read() == [4, 4]
    model(torch.ones(1, 1))
    assert read() == [-1, -1]  # armed for one
    watch.arm()
    model[0](torch.full((1, 1), 7.0))  # a loop that calls the parts itself
    assert read() == [7, -1]


def test_a_pass_that_failed_is_forgotten() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() < 0:
                raise ValueError("negative")
            return x

    model = nn.Sequential(Times(1), Times(2), Fails())
    watch = ActivationWatch(model, [Total()])
    watch.arm()
    with pytest.raises(ValueError, match="negative"):
        model(-torch.ones(1, 1))
    model.eval()
    model(torch.full((1, 1), 9.0))
    model.train()
    model(torch.ones(1, 1))
    assert watch.collect()["total"][:, 0].tolist() == [1, 2, 2]


def test_layers_under_a_checkpoint_are_read_once() -> None:
    inner = nn.Sequential(Times(2), Times(3))

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.inner, self.reentrant = inner, reentrant

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=self.reentrant)

    for reentrant in (True, False):
        model = Checkpointed(reentrant)
        x = torch.ones(1, 1, requires_grad=True)
        assert totals(model, lambda model=model, x=x: model(x).sum().backward()) == {"inner.0": 2, "inner.1": 6}
        assert x.grad is not None
        assert x.grad.item() == 6


def test_the_first_floating_tensor_of_an_output_is_read() -> None:
    class Gives(nn.Module):
        def __init__(self, output: Any) -> None:
            super().__init__()
            self.output = output

        def forward(self) -> Any:
            return self.output

    two = torch.full((1, 1), 2.0)
    later = (torch.ones(3, 3).long(), two, 3 * two)
    for output in (two, later, {"loss": torch.tensor(9.0), "logits": two}, [None, [two]]):
        module = Gives(output)
        assert totals(module, module) == {"(output)": 2}
    for output in (None, "text", two.long(), two.to(torch.complex64), two.to_sparse(), two[0], two[:0], two.to("meta")):
        module = Gives(output)
        assert totals(module, module) == {}
    lstm = nn.LSTM(3, 4)
    assert list(totals(lstm, lambda: lstm(torch.ones(2, 1, 3)))) == ["(output)"]


@pytest.mark.parametrize(
    ("layers", "shape", "units"),
    [
        ([nn.Conv2d(3, 7, 1), nn.ReLU()], (2, 3, 5, 5), 7),
        ([nn.Conv1d(3, 7, 1), nn.BatchNorm1d(7), nn.ReLU()], (2, 3, 5), 7),  # positions would be 5
        ([nn.Linear(3, 7), nn.ReLU()], (2, 5, 3), 7),
        ([nn.Linear(3, 7), nn.ReLU()], (2, 4, 5, 3), 7),  # channels last by hand
        ([nn.ReLU()], (2, 7, 5, 5), 7),
        ([nn.ReLU()], (2, 5, 7), 7),
        ([nn.Conv2d(3, 7, 1), nn.Flatten(), nn.Linear(7 * 25, 6), nn.ReLU()], (2, 3, 5, 5), 6),
        ([nn.Embedding(9, 7), nn.ReLU()], None, 7),
    ],
)
def test_units_are_channels_or_features(layers: list[nn.Module], shape: tuple[int, ...] | None, units: int) -> None:
    model = nn.Sequential(*layers)
    watch = ActivationWatch(model, [Layout()])
    watch.arm()
    model(torch.ones(2, 5).long() if shape is None else torch.randn(shape))
    assert watch.collect()["layout"][-1].tolist() == [units]


def test_a_parametrized_layer_is_one_module() -> None:
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), nn.ReLU())
    watch = ActivationWatch(model, all_of_them())
    assert watch.modules("rank") == watch.modules("kurtosis") == ("0",)


def test_nothing_changes_and_no_graph_is_kept() -> None:
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))

    def run(watched: bool) -> list[Tensor]:
        model = net()
        watch = ActivationWatch(model, all_of_them()) if watched else None
        if watch is not None:
            watch.arm()
        torch.manual_seed(1)
        output = model(x)
        if watch is not None:
            assert not any(parts.requires_grad for parts in watch.collect().values())
        output.square().sum().backward()
        return [output.detach(), torch.rand(3), *(p.grad for p in model.parameters() if p.grad is not None)]

    assert all(torch.equal(a, b) for a, b in zip(run(True), run(False), strict=True))


def test_removed_hooks_leave_no_trace() -> None:
    model = net()
    before = {path: {k: repr(v) for k, v in vars(m).items() if "hook" in k} for path, m in model.named_modules()}
    watch = ActivationWatch(model, all_of_them())
    watch.arm()
    watch.remove()
    after = {path: {k: repr(v) for k, v in vars(m).items() if "hook" in k} for path, m in model.named_modules()}
    assert after == before
    model(torch.randn(2, 6))
    assert all(parts.isnan().all() for parts in watch.collect().values())


def test_copies_and_stored_models_are_not_watched() -> None:
    model = net()
    watch = ActivationWatch(model, [Total()])
    watch.arm()
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    for other in (copy.deepcopy(model), torch.load(stored, weights_only=False)):
        other(torch.randn(2, 6))
        assert watch.armed
    copy.copy(model[0])(torch.randn(2, 6))  # shares the hooks, as replicas on several devices do
    assert watch.collect()["total"].isnan().all()


def test_compiled_code_is_not_looked_into_nor_compiled_again() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    watch = ActivationWatch(model, all_of_them())
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _example: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = torch.randn(4, 6)
    outputs = [compiled(x)]
    watch.arm()
    outputs.append(compiled(x))
    assert all(parts.isnan().all() for parts in watch.collect().values())
    outputs.append(compiled(x))
    assert len(graphs) == 1
    watch.remove()
    assert all(torch.equal(output, model(x)) for output in outputs)
    torch._dynamo.reset()


def test_neither_functorch_nor_modes_are_looked_into() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.Tanh())
    watch = ActivationWatch(model, all_of_them())
    parameters = dict(model.named_parameters())

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, values, (x[None],)).sum()

    watch.arm()
    torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, torch.randn(4, 6))
    assert all(parts.isnan().all() for parts in watch.collect().values())
    watch.arm()
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as flops:
        model(torch.randn(4, 6))
    assert flops.get_total_flops() == 2 * 4 * 6 * 3
    assert all(parts.isnan().all() for parts in watch.collect().values())


def test_a_tape_does_not_record_what_is_read() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU())
    x = torch.randn(4, 6)
    plain = [node.op for node in gt.record(model, x).nodes]
    watch = ActivationWatch(model, all_of_them())
    watch.arm()
    assert [node.op for node in gt.record(model, x).nodes] == plain
    assert not watch.collect()["rank"].isnan().any()
