"""What a gradient reversal must pass: every cell compares a gradient with one that was worked out by hand.

A cell is a function of a way to make a reversal and of a strength. It raises `Wrong` where a value or a gradient is not
the formula's, `Recompiled` where all of them are right and the code was compiled more than once, and otherwise whatever
the reversal or torch raises. `test_reversal_matrix.py` runs the cells on gradtape, and `benchmarks/reversal_matrix.py`
on other layers too.

The formulas: with y = R(x), R passes x on and multiplies what comes back by -s. So sum(w * y**3) has the gradient
-s * 3 * x**2 * w, and its derivative, which meets the reversal once more, is s**2 * 6 * x * w.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.transforms.reversal_layers import (
    SEVERAL,
    STRENGTHS,
    Net,
    Recompiled,
    Reversal,
    Strength,
    cubic,
    data,
    hold,
    leaf,
    same,
    same_in_net,
    slope,
    unchanged,
    weights,
    without_torchs_own_warnings,
)


class Cell(NamedTuple):
    """One thing to pass: what tables call it, the function, and whether it takes well under a second."""

    label: str
    check: Callable[[Reversal, Strength], None]
    cheap: bool


CELLS: dict[str, Cell] = {}


def cell(label: str, cheap: bool = True) -> Callable[[Callable[[Reversal, Strength], None]], Callable[..., None]]:
    """Register a cell under the name of its function."""

    def register(check: Callable[[Reversal, Strength], None]) -> Callable[[Reversal, Strength], None]:
        CELLS[check.__name__] = Cell(label, check, cheap)
        return check

    return register


@cell("backward")
def backward(make: Reversal, strength: Strength) -> None:
    x = leaf(5)
    layer = make(strength)
    unchanged(layer(x), x)
    cubic(layer, x).sum().backward()
    same(x.grad, slope(strength.value, x))


@cell("second derivative")
def second_derivative(make: Reversal, strength: Strength) -> None:
    x = leaf(5)
    (first,) = torch.autograd.grad(cubic(make(strength), x).sum(), x, create_graph=True)
    same(first, slope(strength.value, x))
    direction = weights(x).flip(0)
    (second,) = torch.autograd.grad((direction * first).sum(), x)
    same(second, strength.value**2 * 6 * x * weights(x) * direction)


@cell("gradient penalty")
def gradient_penalty(make: Reversal, strength: Strength) -> None:
    layer, s = make(strength), strength.value
    x, net = leaf(3), Net(layer)
    encoder, critic = net.encoder, net.critic
    # (|g| - 1)**2 with a linear critic: g = -s Eᵀc, so the penalty is (|s| |Eᵀc| - 1)**2
    (g,) = torch.autograd.grad(critic @ layer(encoder @ x), x, create_graph=True)
    ((torch.linalg.vector_norm(g) - 1) ** 2).backward()
    e, c = encoder.detach(), critic.detach()
    h = e.T @ c
    outer = 2 * (abs(s) * h.norm() - 1) * abs(s) / h.norm()
    same(critic.grad, outer * (e @ h))
    same(encoder.grad, outer * torch.outer(c, h))
    # |g|**2 with a quadratic critic sum(c y**2): g = -s Eᵀ(2 c y), and y leads back through the reversal once more
    critic.grad = encoder.grad = None
    (g,) = torch.autograd.grad((critic * layer(encoder @ x) ** 2).sum(), x, create_graph=True)
    (g**2).sum().backward()
    z = e @ x.detach()
    h = e.T @ (2 * c * z)
    same(critic.grad, s**2 * 4 * z * (e @ h))
    by_y = s**2 * 4 * c * (e @ h)
    same(encoder.grad, s**2 * 2 * torch.outer(2 * c * z, h) - s * torch.outer(by_y, x.detach()))


@cell("strength changed between forward and backward")
def changed_before_backward(make: Reversal, strength: Strength) -> None:
    x, layer = leaf(5), make(strength)
    total = cubic(layer, x).sum()
    later = strength.change(layer, 9)
    total.backward()
    same(x.grad, slope(strength.value, x))
    x.grad = None
    cubic(layer, x).sum().backward()
    same(x.grad, slope(later, x))


def _in_dtype(make: Reversal, strength: Strength, dtype: torch.dtype) -> None:
    x = data(5).to(dtype).requires_grad_()
    y = make(strength)(x)
    unchanged(y, x)
    (y * weights(x)).sum().backward()
    same(x.grad, (-strength.value * weights(x).double()).to(dtype), rtol=torch.finfo(dtype).eps, atol=0)


@cell("float16")
def float16(make: Reversal, strength: Strength) -> None:
    _in_dtype(make, strength, torch.float16)


@cell("bfloat16")
def bfloat16(make: Reversal, strength: Strength) -> None:
    _in_dtype(make, strength, torch.bfloat16)


@cell("autocast to bfloat16")
def autocast(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), data(2, 3)
    encoder, head = nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(data(4, 3))
        head.weight.copy_(data(2, 4).abs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, plain = head(layer(encoder(x))), head(encoder(x))
    unchanged(out, plain)
    out.sum().backward()
    same(
        encoder.weight.grad, -strength.value * torch.outer(head.weight.detach().sum(0), x.sum(0)), rtol=0.02, atol=1e-6
    )


@cell("an operation in place right after it")
def in_place_after(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), leaf(5)
    for before in (lambda v: v, lambda v: v * 2):  # the leaf itself, and something computed from it
        x.grad, factor = None, before(1)
        h = before(x)
        y = layer(h).mul_(3).relu_()
        (y * weights(x)).sum().backward()
        unchanged(x, data(5))
        unchanged(h, data(5) * factor)
        same(x.grad, -strength.value * 3 * factor * (data(5) > 0) * weights(x))


@cell("infinities and NaN")
def not_finite(make: Reversal, strength: Strength) -> None:
    x = torch.tensor([math.inf, -math.inf, math.nan, 1.0], requires_grad=True)
    y = make(strength)(x)
    unchanged(y.detach().view(torch.int32), x.detach().view(torch.int32))
    (y * weights(x)).sum().backward()
    same(x.grad, -strength.value * weights(x))


@cell("negative zero")
def negative_zero(make: Reversal, strength: Strength) -> None:
    y = make(strength)(torch.tensor([-0.0, 0.0], requires_grad=True))
    hold(y.signbit().tolist() == [True, False], f"[-0.0, 0.0] became {y.tolist()}")


@cell("input without a gradient")
def no_gradient(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), data(5)
    for y in (layer(x), torch.no_grad()(lambda: layer(leaf(5) * 1))(), torch.inference_mode()(layer)(x)):
        unchanged(y, x)
        hold(not y.requires_grad, "the result needs a gradient")


@cell("empty batch")
def empty_batch(make: Reversal, strength: Strength) -> None:
    net, x = Net(make(strength)), torch.empty(0, 3, requires_grad=True)
    unchanged(net.reversal(x), x)
    net(x).backward()
    same(x.grad, torch.empty(0, 3))
    same(net.encoder.grad, torch.zeros(2, 3))


@cell("integers")
def integers(make: Reversal, strength: Strength) -> None:
    x = torch.tensor([1, -2])
    unchanged(make(strength)(x), x)


@cell("deepcopy and pickle")
def copies(make: Reversal, strength: Strength) -> None:
    model = nn.Sequential(nn.Linear(3, 2), make(strength), nn.Linear(2, 1))
    for made in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        made(data(4, 3)).sum().backward()
        same(made[0].weight.grad, -strength.value * torch.outer(made[2].weight[0], data(4, 3).sum(0)))


@cell("torch.func.grad")
def func_grad(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), data(5)
    same(torch.func.grad(lambda v: cubic(layer, v).sum())(x), slope(strength.value, x))


def _per_sample(make: Reversal, strength: Strength, compiled: bool) -> None:
    layer, x = make(strength), data(4, 3)
    gradient = torch.func.vmap(torch.func.grad(lambda v: cubic(layer, v).sum()))
    same((_compiled(gradient) if compiled else gradient)(x), torch.stack([slope(strength.value, row) for row in x]))


@cell("torch.func.vmap of grad")
def vmap_of_grad(make: Reversal, strength: Strength) -> None:
    _per_sample(make, strength, compiled=False)


@cell("torch.func.jvp")
def jvp(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), data(5)
    with without_torchs_own_warnings():
        value, tangent = torch.func.jvp(lambda v: cubic(layer, v), (x,), (x.flip(0),))
    same(value, weights(x) * x**3)
    same(tangent, slope(strength.value, x) * x.flip(0))


@cell("torch.func.jacrev")
def jacrev(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), data(5)
    same(torch.func.jacrev(lambda v: cubic(layer, v))(x), torch.diag(slope(strength.value, x)))


def _checkpointed(make: Reversal, strength: Strength, reentrant: bool) -> None:
    net, x = Net(make(strength)), leaf(4, 3)
    checkpoint(net, x, use_reentrant=reentrant).backward()
    z = data(4, 3) @ net.encoder.detach().T
    back = -strength.value * 3 * z**2 * net.critic.detach()
    same(net.encoder.grad, back.T @ data(4, 3))
    same(net.critic.grad, (z**3).sum(0))
    same(x.grad, back @ net.encoder.detach())


@cell("checkpoint, reentrant")
def checkpoint_reentrant(make: Reversal, strength: Strength) -> None:
    _checkpointed(make, strength, reentrant=True)


@cell("checkpoint, not reentrant")
def checkpoint_not_reentrant(make: Reversal, strength: Strength) -> None:
    _checkpointed(make, strength, reentrant=False)


def _compiled(
    function: Callable[..., Tensor], backend: str | Callable[..., object] = "aot_eager"
) -> Callable[..., Tensor]:
    torch.compiler.reset()  # every layer is compiled by itself; the limit on recompilation is for one of them
    return torch.compile(function, backend=backend, fullgraph=True)


@cell("torch.compile, aot_eager", cheap=False)
def compile_aot_eager(make: Reversal, strength: Strength) -> None:
    same_in_net(_compiled(Net(make(strength))), strength.value, data(4, 3))


@cell("torch.compile, inductor", cheap=False)
def compile_inductor(make: Reversal, strength: Strength) -> None:
    with without_torchs_own_warnings():
        same_in_net(_compiled(Net(make(strength)), "inductor"), strength.value, data(4, 3))


@cell("one graph for 12 strengths", cheap=False)
def one_graph(make: Reversal, strength: Strength) -> None:
    graphs = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    net = Net(make(strength))
    run = _compiled(net, counting)
    with torch._dynamo.config.patch(recompile_limit=100):
        for index in range(len(SEVERAL)):
            same_in_net(run, strength.change(net.reversal, index), data(4, 3))
    if len(graphs) != 1:
        raise Recompiled(f"{len(graphs)} graphs for {len(SEVERAL)} strengths")


@cell("torch.compile of func.grad", cheap=False)
def compile_func_grad(make: Reversal, strength: Strength) -> None:
    layer, x = make(strength), data(5)
    same(_compiled(torch.func.grad(lambda v: cubic(layer, v).sum()))(x), slope(strength.value, x))


@cell("torch.compile of vmap of grad", cheap=False)
def compile_vmap_of_grad(make: Reversal, strength: Strength) -> None:
    _per_sample(make, strength, compiled=True)


def _exported(make: Reversal, strength: Strength, strict: bool) -> torch.export.ExportedProgram:
    torch.compiler.reset()
    return torch.export.export(Net(make(strength)), (data(4, 3),), strict=strict)


@cell("torch.export", cheap=False)
def export(make: Reversal, strength: Strength) -> None:
    same_in_net(_exported(make, strength, strict=False).module(), strength.value, data(4, 3).flip(0))


@cell("torch.export, strict", cheap=False)
def export_strict(make: Reversal, strength: Strength) -> None:
    same_in_net(_exported(make, strength, strict=True).module(), strength.value, data(4, 3).flip(0))


@cell("torch.export, decomposed", cheap=False)
def export_decomposed(make: Reversal, strength: Strength) -> None:
    program = _exported(make, strength, strict=False)
    with without_torchs_own_warnings():
        program = program.run_decompositions()
    same_in_net(program.module(), strength.value, data(4, 3).flip(0))


@cell("torch.jit.trace", cheap=False)
def jit_trace(make: Reversal, strength: Strength) -> None:
    with without_torchs_own_warnings():
        traced = torch.jit.trace(Net(make(strength)), (data(4, 3),))
        for turn in range(4):  # TorchScript optimises after it has seen two
            same_in_net(traced, strength.value, data(4, 3) + turn)


@cell("DistributedDataParallel, 2 processes", cheap=False)
def distributed(make: Reversal, strength: Strength) -> None:
    name = next(name for name, listed in STRENGTHS.items() if listed == strength)
    got = _two_processes(make)[name]
    if isinstance(got, str):
        raise RuntimeError(got)
    net = Net(nn.Identity())
    e, c = net.encoder.detach(), net.critic.detach()
    shares = [(x @ e.T, x) for x in (_share(0), _share(1))]
    same(got["encoder"], sum((-strength.value * 3 * z**2 * c).T @ x for z, x in shares) / 2)
    same(got["critic"], sum((z**3).sum(0) for z, _ in shares) / 2)


def _share(rank: int) -> Tensor:
    return data(4, 3) + rank


@cache
def _two_processes(make: Reversal) -> dict[str, dict[str, Tensor] | str]:
    """Return the gradients after a backward pass in two processes by strength; a text where it raised."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_one_process, (make, folder), nprocs=2)  # both end within their time limit
        return torch.load(Path(folder) / "gradients")


def _one_process(rank: int, make: Reversal, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = (Path(folder) / "meeting").as_uri()
    torch.distributed.init_process_group("gloo", meeting, timedelta(seconds=60), rank=rank, world_size=2)
    found: dict[str, dict[str, Tensor] | str] = {}
    for name, strength in STRENGTHS.items():
        try:
            net = Net(make(strength))
            shared = nn.parallel.DistributedDataParallel(net)
            shared(_share(rank)).backward()
            found[name] = {name: parameter.grad for name, parameter in net.named_parameters()}
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    if rank == 0:
        torch.save(found, Path(folder) / "gradients")
    torch.distributed.barrier()
    os._exit(0)  # taking gloo down in order hangs now and then, when one process is faster than the other
