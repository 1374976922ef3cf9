"""Several losses, one gradient: against autograd, against closed forms, against brute force."""

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torchjd.aggregation import UPGrad

from gradtape.errors import InputError
from gradtape.transforms._combine import AGGREGATORS, Combined, combine

Make = Callable[[], dict[str, Tensor]]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def grads(tensors: list[Tensor]) -> Tensor:
    return flat([torch.zeros_like(t) if t.grad is None else t.grad for t in tensors])


def rows(make: Make, tensors: list[Tensor]) -> Tensor:
    """The Jacobian, one backward pass on its own graph for each loss."""
    out = []
    for name in make():
        found = torch.autograd.grad(make()[name], tensors, allow_unused=True)
        out.append(flat([torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]))
    return torch.stack(out)


def linear(*gradients: list[float], parts: int = 1) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Losses that have these gradients, over one vector cut into as many tensors as asked for."""
    matrix = torch.tensor(gradients, dtype=torch.float64)
    tensors = [part.clone().requires_grad_() for part in torch.zeros(matrix.shape[1]).double().chunk(parts)]
    whole = torch.cat(tensors)
    return tensors, {f"loss{i}": row @ whole for i, row in enumerate(matrix)}


class Net(nn.Module):
    """A convolution, a scalar, a matrix, a layer only one loss reaches, one that none does, and two heads."""

    def __init__(self, width: int, channels: int, seed: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.ModuleDict(
            {
                "conv": nn.Conv1d(1, channels, 3, padding=1),
                "dense": nn.Linear(channels * 5, width),
                "only": nn.Linear(width, width, bias=False),
                "never": nn.Linear(2, 2),
            }
        )
        self.trunk.register_parameter("gain", nn.Parameter(torch.tensor(1.3)))
        self.head = nn.ModuleList([nn.Linear(width, 2), nn.Linear(width, 1)])
        self.to(dtype)
        self.x = torch.randn(7, 1, 5, dtype=dtype)

    def losses(self) -> dict[str, Tensor]:
        hidden = self.trunk["dense"](torch.tanh(self.trunk["conv"](self.x)).flatten(1)) * self.trunk.gain
        return {
            "task": (self.head[0](hidden).tanh() ** 2).mean(),
            "group": (self.head[1](self.trunk["only"](hidden)) - self.head[0](hidden)).sin().mean(),
            "third": hidden.cos().mean() * 3,
        }


nets = st.builds(Net, st.integers(1, 6), st.integers(1, 4), st.integers(0, 10_000))


@settings(max_examples=15, deadline=None)
@given(net=nets, how=st.sampled_from(["mean", "sum"]))
def test_mean_and_sum_are_autograds(net: Net, how: str) -> None:
    shared, heads = list(net.trunk.parameters()), list(net.head.parameters())
    combine(net.losses(), net.trunk, how)
    got, got_heads = grads(shared), [p.grad.clone() for p in heads]
    assert net.trunk["never"].weight.grad is None
    net.zero_grad()
    sum(net.losses().values()).backward()
    expected = grads(shared) / (3 if how == "mean" else 1)
    assert (got - expected).norm() <= 1e-12 * expected.norm()
    for one, p in zip(got_heads, heads, strict=True):
        assert torch.allclose(one, p.grad, rtol=1e-12, atol=1e-15)  # the sum's, whatever becomes of the shared ones


@settings(max_examples=25, deadline=None)
@given(net=nets, alpha=st.floats(-2, 2), kind=st.sampled_from([torch.float64, torch.float32]))
def test_adversarial_is_brute_force(net: Net, alpha: float, kind: torch.dtype) -> None:
    net.to(kind).x = net.x.to(kind)
    shared = list(net.trunk.parameters())

    def make() -> dict[str, Tensor]:
        losses = net.losses()
        return {name: losses[name] for name in ("task", "group")}

    g, a = rows(make, shared).double()
    projected = g - (g @ a) / (a @ a) * a
    losses = make()
    combine(losses, net.trunk, "adversarial", alpha=alpha)
    got = grads(shared).double()
    tolerance = 1e-6 if kind is torch.float32 else 1e-12
    assert (got - (projected - alpha * a)).norm() <= tolerance * (g.norm() + a.norm())
    # what is left of the task's gradient is at right angles to the adversary's, over the whole vector
    assert abs((got + alpha * a) @ a) <= 10 * tolerance * (g.norm() + abs(alpha) * a.norm()) * a.norm()


def test_adversarial_projects_over_the_whole_vector_and_not_per_tensor() -> None:
    tensors, losses = linear([1, 0, 2, 2], [1, 1, -1, 0], parts=2)
    combine(losses, tensors, "adversarial", alpha=0.5)
    # g·a = -1, a·a = 3: g + a/3 - a/2; tensor by tensor it would be g - (1/2)(1, 1) and g + 2 (-1, 0)
    assert torch.allclose(
        grads(tensors), torch.tensor([5 / 6, -1 / 6, 13 / 6, 2], dtype=torch.float64), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-200, 1e150])
def test_adversarial_at_any_size_of_the_adversary(size: float) -> None:
    tensors, losses = linear([1.0, 2.0], [size, 0.0])
    combine(losses, tensors, "adversarial", alpha=0.0)
    assert grads(tensors).tolist() == ([1.0, 2.0] if size == 0 else [0.0, 2.0])


def test_adversary_that_does_not_reach_the_shared_leaves_the_task_alone() -> None:
    shared, own = torch.ones(2, requires_grad=True), torch.ones((), requires_grad=True)
    report = combine({"task": (shared * torch.tensor([3.0, 4.0])).sum(), "adversary": own**2}, [shared], "adversarial")
    assert shared.grad.tolist() == [3.0, 4.0]
    assert own.grad == 2
    assert report.norms == {"task": 5.0, "adversary": 0.0}
    assert math.isnan(report.cosine["task", "adversary"])
    assert report.conflicts == []


def test_heads_get_their_own_losses_gradient_under_every_aggregator() -> None:
    for how in [*AGGREGATORS, "adversarial"]:
        encoder, task, adversary, both = (torch.tensor(v, requires_grad=True) for v in (2.0, 3.0, 5.0, 7.0))
        combine({"task": encoder * task * both, "adversary": encoder**2 * adversary * both}, [encoder], how)
        assert [task.grad.item(), adversary.grad.item()] == [14.0, 28.0]
        assert both.grad.item() == 6 + 20
        assert encoder.grad is not None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), size=st.floats(1e-6, 1e6))
def test_two_losses_against_closed_forms(seed: int, n: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    g, h = size * torch.randn(2, n, generator=generator, dtype=torch.float64)
    inner = g @ h
    off_g, off_h = g - min(inner, 0) / (h @ h) * h, h - min(inner, 0) / (g @ g) * g
    weight = min(max((h - g) @ h / ((g - h) @ (g - h)), 0), 1)  # the point of the segment nearest to zero
    known = {"pcgrad": off_g + off_h, "mgda": weight * g + (1 - weight) * h}
    if n > 1 and abs(inner) < 0.95 * g.norm() * h.norm():
        known["upgrad"] = (off_g + off_h) / 2  # for two, its cone's projection is the one step of pcgrad
    for how, expected in known.items():
        tensors, losses = linear(g.tolist(), h.tolist())
        combine(losses, tensors, how)
        slack = 2e-3 if how == "upgrad" else 1e-9  # TorchJD adds 1e-4 to the diagonal of a Gramian of trace one
        assert (grads(tensors) - expected).norm() <= slack * (g.norm() + h.norm()), how


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e8])
@pytest.mark.parametrize("ratio", [1e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_upgrad_and_dualproj_never_conflict_whatever_the_sizes(m: int, ratio: float, size: float) -> None:
    plain, torchjds = [], []
    for seed in range(8):
        jacobian = size * torch.randn(m, 8, generator=torch.Generator().manual_seed(seed)).double()
        jacobian[1] = ratio * (jacobian[1] - jacobian[0])
        lengths = jacobian.norm(dim=1)
        for how in ("upgrad", "dualproj"):
            tensors, losses = linear(*jacobian.tolist())
            combine(losses, tensors, how)
            got = grads(tensors)
            assert (jacobian @ got / lengths / got.norm()).min() >= -2e-3, how
        for least, vector in ((plain, jacobian.mean(0)), (torchjds, UPGrad()(jacobian))):
            least.append((jacobian @ vector / lengths / vector.norm()).min())
    if ratio < 1:
        assert min(plain) < -0.3  # the mean does
    if ratio == 1e-4 or (ratio == 1e-2 and size == 1e-12):
        assert min(torchjds) < -0.3  # and so does TorchJD's own: no longer true, and the balancing may go


def test_names_see_small_gradients_and_an_instance_sees_what_it_is_given() -> None:
    small = [[2e-3, 0.0], [-1e-3, 1e-3]]
    for how, expected in (("upgrad", [0.5e-3, 1e-3]), (UPGrad(), [0.5e-3, 0.5e-3])):  # the latter: the mean
        tensors, losses = linear(*small)
        combine(losses, tensors, how)
        assert torch.allclose(grads(tensors), torch.tensor(expected).double(), rtol=1e-3)
    seen = []
    tensors, losses = linear(*small)
    combine(losses, tensors, lambda jacobian: seen.append(jacobian.clone()) or jacobian[1])
    assert seen[0].tolist() == small
    assert grads(tensors).tolist() == small[1]


def test_every_name_is_homogeneous() -> None:
    """What lets the names be scaled: k times the losses give k times the result."""
    for how in [*AGGREGATORS, "adversarial"]:
        got = []
        for k in (1.0, 3e-7, 4e9):
            torch.manual_seed(3)
            tensors, losses = linear([1 * k, 2 * k, -3 * k], [-2 * k, 1 * k, 1 * k])
            combine(losses, tensors, how)
            got.append(grads(tensors) / k)
        assert torch.allclose(got[1], got[0], rtol=1e-9), how
        assert torch.allclose(got[2], got[0], rtol=1e-9), how


def test_calls_accumulate_in_place_and_the_graph_is_freed() -> None:
    net = Net(3, 2, 0)
    losses = net.losses()
    combine(losses, net.trunk, "upgrad")
    held = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    once = {name: grad.clone() for name, grad in held.items()}
    combine(net.losses(), net.trunk, "upgrad")
    for name, p in net.named_parameters():
        assert (p.grad is None) == ("never" in name)
        if p.grad is not None:
            assert p.grad is held[name]
            assert torch.allclose(p.grad, 2 * once[name], rtol=1e-12)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        combine(losses, net.trunk, "upgrad")


def test_a_loss_on_a_graph_of_its_own_is_freed_at_once() -> None:
    net = Net(3, 2, 0)
    losses = {"one": net.losses()["task"], "two": net.losses()["task"]}
    combine(losses, net.trunk, "sum")
    for loss in losses.values():
        with pytest.raises(RuntimeError, match="a second time"):
            loss.backward()


@settings(max_examples=10, deadline=None)
@given(net=nets)
def test_report_is_brute_force(net: Net) -> None:
    shared = list(net.trunk.parameters())
    jacobian = rows(net.losses, shared)
    report = combine(net.losses(), net.trunk, "mean")
    as_list = combine(net.losses(), net.trunk.parameters(), "mean")
    names = ("task", "group", "third")
    assert report.losses == names
    assert set(report.layers) == {"", "conv", "dense", "only", "never"}
    pieces = {"": [net.trunk.gain]} | {name: list(net.trunk[name].parameters()) for name in net.trunk}
    for i, j in combinations(range(3), 2):
        pair = names[i], names[j]
        assert report.norms[names[i]] == pytest.approx(jacobian[i].norm().item(), rel=1e-9)
        whole = cosine_similarity(jacobian[i], jacobian[j], dim=0).item()
        assert report.cosine[pair] == pytest.approx(whole, abs=1e-9)
        for layer, tensors in [*pieces.items(), *((str(at), [p]) for at, p in enumerate(shared))]:
            part = rows(net.losses, tensors)
            got = (report if layer in pieces else as_list).layers[layer][pair]
            if part[i].norm() == 0 or part[j].norm() == 0:
                assert math.isnan(got)
            else:
                assert got == pytest.approx(cosine_similarity(part[i], part[j], dim=0, eps=0).item(), abs=1e-9)


def test_report_ranks_conflicts_and_prints() -> None:
    tensors, losses = linear([1, 0, 0, 1], [-1, 0, 0, -1], [-1, 0, 2, 0], parts=2)
    report = combine(losses, tensors, "sum")
    assert report.conflicts == [("loss0", "loss1"), ("loss0", "loss2")]
    assert report.cosine["loss0", "loss2"] == pytest.approx(-1 / math.sqrt(10))
    assert str(report).splitlines() == [
        "losses          cosine  worst layer",
        "loss0 / loss1   -1.000  0 (-1.000)",
        "loss0 / loss2   -0.316  0 (-1.000)",
        "loss1 / loss2    0.316  1 (0.000)",
    ]
    assert "nan  none has both" in str(Combined(("a", "b"), {}, {("a", "b"): math.nan}, {"": {("a", "b"): math.nan}}))


def test_figures_hold_at_the_ends_of_float32() -> None:
    for size in (1e-30, 1e30):
        weight = torch.zeros(2, requires_grad=True)
        losses = {"a": (weight * torch.tensor([3 * size, 4 * size])).sum(), "b": weight[0] * -size}
        report = combine(losses, [weight], "pcgrad")
        assert report.norms == {"a": pytest.approx(5 * size, rel=1e-6), "b": pytest.approx(size, rel=1e-6)}
        assert report.cosine["a", "b"] == pytest.approx(-0.6, rel=1e-6)
        assert torch.allclose(weight.grad, torch.tensor([-0.64 * size, 4 * size + 0.48 * size]), rtol=1e-5)


def test_mixed_dtypes_tied_and_frozen_parameters() -> None:
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    single = torch.tensor([3.0], requires_grad=True)
    frozen = torch.ones(1)
    seen = []
    losses = {"a": half.float().sum() * 2 + single.sum(), "b": -half.float().sum() - single.sum() * frozen.sum()}
    combine(losses, [half, half, frozen, single], lambda jacobian: seen.append(jacobian) or jacobian.sum(0))
    assert seen[0].dtype == torch.float32
    assert seen[0].tolist() == [[2, 2, 1], [-1, -1, -1]]  # the repeated one once, the frozen one not
    assert (half.grad.dtype, half.grad.tolist()) == (torch.bfloat16, [1.0, 1.0])
    assert single.grad.tolist() == [0.0]
    assert frozen.grad is None
    combine({"a": half.sum()}, [half], lambda jacobian: seen.append(jacobian) or jacobian[0])
    assert seen[1].dtype == torch.float32
    late = torch.ones(1, requires_grad=True)
    losses = {"a": (single * late).sum()}
    late.requires_grad_(False)  # after the loss was computed: backward passes it by, and so must this
    combine(losses, [single], "sum")
    assert (single.grad.tolist(), late.grad) == ([1.0], None)
    tied = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    tied[1].weight = tied[0].weight
    report = combine({"a": tied(torch.ones(1, 2)).sum()}, tied, "sum")
    got = tied[0].weight.grad.clone()
    tied.zero_grad()
    tied(torch.ones(1, 2)).sum().backward()
    assert torch.allclose(got, tied[0].weight.grad)
    assert list(report.layers) == ["0"]
    assert str(report) == "losses   cosine  worst layer"


def test_the_gradient_has_the_strides_of_its_parameter_and_shares_no_memory() -> None:
    conv = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
    combine({"a": conv(torch.randn(1, 2, 4, 4)).sum()}, conv, "sum")
    assert conv.weight.grad.stride() == conv.weight.stride()
    assert conv.weight.grad.untyped_storage().nbytes() == conv.weight.numel() * 4


def test_the_seed_governs_what_draws() -> None:
    gradients = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).tolist()
    for how, draws in {"pcgrad": True, "graddrop": True, "random": True, "upgrad": False, "adversarial": False}.items():
        got = []
        for seed in (0, 0, *range(1, 6)):
            torch.manual_seed(seed)
            tensors, losses = linear(*gradients[: 2 if how == "adversarial" else 4])
            combine(losses, tensors, how)
            got.append(grads(tensors))
        assert torch.equal(got[0], got[1])
        assert draws == any(not torch.equal(got[0], other) for other in got[2:])


def test_every_refusal_names_what_is_wrong_and_changes_nothing() -> None:
    tensors, losses = linear([1.0, 2.0], [-1.0, 0.5])
    (weight,) = tensors
    a, b = losses.values()
    head = torch.ones((), dtype=torch.float64, requires_grad=True)
    table = nn.Embedding(3, 2, sparse=True)
    complex_one = torch.ones(1, dtype=torch.complex64, requires_grad=True)
    refused: list[tuple[str, tuple[object, ...], dict[str, float]]] = [
        ("losses is empty", ({}, tensors), {}),
        ("losses is list, not a mapping", ([a, b], tensors), {}),
        (r"loss 'b' has shape \(2,\), not a scalar tensor: take its mean", ({"a": a, "b": weight * 1}, tensors), {}),
        ("loss 'b' is float, not a scalar tensor", ({"a": a, "b": 1.0}, tensors), {}),
        ("loss 'b' has no gradient", ({"a": a, "b": b.detach()}, tensors), {}),
        ("got 1 losses: a", ({"a": a}, tensors, "adversarial"), {}),
        ("got 3 losses: a, b, c: give two", ({"a": a, "b": b, "c": a}, tensors, "adversarial"), {}),
        ("how is 'upgrade': use one of upgrad, pcgrad, mgda, .*sum, adversarial", (losses, tensors, "upgrade"), {}),
        ("how is 'cagrad'.*or an instance", (losses, tensors, "cagrad"), {}),
        ("how is <class .*UPGrad'>.*or an instance", (losses, tensors, UPGrad), {}),
        ("how is None", (losses, tensors, None), {}),
        ("alpha is nan: give a finite", (losses, tensors, "adversarial"), {"alpha": math.nan}),
        ("alpha is inf", (losses, tensors, "mean"), {"alpha": math.inf}),
        ("none of the 0 shared parameters", (losses, []), {}),
        ("none of the 1 shared parameters requires grad", (losses, [torch.ones(2)]), {}),
        ("none of the 0 shared parameters", (losses, nn.Tanh()), {}),
        (r"shared\[1\] of shape \(2,\) is computed .*give the parameters", (losses, [weight, weight * 2]), {}),
        (r"shared\[0\] is tuple, not a tensor", (losses, nn.Linear(1, 1).named_parameters()), {}),
        (r"shared\[0\] is torch.complex64", (losses, [complex_one]), {}),
        (r"no loss \(loss0, loss1\) reaches any shared", (losses, nn.Linear(1, 1)), {}),
        ("sparse gradient .*sparse=False", ({"a": table(torch.tensor([0])).sum()}, table), {}),
        (r"returned \(3,\): return a tensor of 2 numbers", (losses, tensors, lambda jacobian: torch.ones(3)), {}),
        ("returned float", (losses, tensors, lambda jacobian: 1.0), {}),
    ]
    for message, arguments, options in refused:
        losses.update({"loss0": weight.sum() * head, "loss1": -weight[0] * head})
        with pytest.raises(InputError, match=message):
            combine(*arguments, **options)
        assert weight.grad is None
        assert head.grad is None


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("how", ["upgrad", "adversarial", "mean"])
def test_a_gradient_that_is_not_finite_is_refused_by_the_losses_name(bad: float, how: str) -> None:
    tensors, _ = linear([1.0, 2.0], [-1.0, 0.5])
    losses = {"fine": tensors[0].sum(), "broken": tensors[0] @ torch.tensor([1.0, bad]).double()}
    with pytest.raises(InputError, match="gradient of loss 'broken' over the shared parameters is not finite"):
        combine(losses, tensors, how)
    assert tensors[0].grad is None


@pytest.mark.parametrize(("missing", "named"), [("torchjd.aggregation", "torchjd"), ("quadprog", "quadprog")])
def test_a_missing_package_is_named_with_its_remedy(missing: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    tensors, losses = linear([1.0, 2.0], [-1.0, 0.5])
    with pytest.raises(InputError, match=rf"needs TorchJD, .*{named}.*pip install \"torchjd\[quadprog-projector\]\""):
        combine(losses, tensors, "upgrad")
    combine(losses, tensors, "adversarial")  # ours needs none of it


def test_torchjd_is_not_imported_with_the_room() -> None:
    program = "import gradtape.transforms._combine, sys; print('torchjd' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
