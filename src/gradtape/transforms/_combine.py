"""Several losses over shared parameters: one gradient from many, and where they disagree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.transforms._conflict import Combined, compare
from gradtape.transforms._setting import checked_number

if TYPE_CHECKING:
    from torch.autograd.graph import Node

    Pairs = dict[tuple[str, str], float]

# what users type -> the class of TorchJD; only those that need no argument and keep no state between steps
AGGREGATORS = {
    "upgrad": "UPGrad",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "dualproj": "DualProj",
    "imtlg": "IMTLG",
    "aligned_mtl": "AlignedMTL",
    "config": "ConFIG",
    "graddrop": "GradDrop",
    "random": "Random",
    "mean": "Mean",
    "sum": "Sum",
}


def _layers(shared: nn.Module | Iterable[Tensor]) -> dict[Tensor, str]:
    """Return the layer of each shared parameter that requires grad, each parameter once."""
    named: list[tuple[str, object]]
    if isinstance(shared, nn.Module):
        named = [(name.rpartition(".")[0], parameter) for name, parameter in shared.named_parameters()]
    elif not isinstance(shared, Iterable):
        raise InputError(f"shared is a {type(shared).__name__}", remedy="give a module or its parameters()")
    else:
        named = [
            (str(at), parameter) for at, parameter in enumerate([shared] if isinstance(shared, Tensor) else shared)
        ]
    layers: dict[Tensor, str] = {}
    give = "give a module or its parameters(), at least one of which requires grad"
    for layer, parameter in named:
        if not isinstance(parameter, Tensor):
            raise InputError(f"shared[{layer}] is {type(parameter).__name__}, not a tensor", remedy=give)
        if not parameter.is_leaf:
            raise InputError(
                f"shared[{layer}] of shape {tuple(parameter.shape)} is computed from other tensors and keeps no .grad",
                remedy="give the parameters that it is computed from, not the features",
            )
        if parameter.is_complex():
            raise InputError(f"shared[{layer}] is {parameter.dtype}", remedy="give parameters of a real dtype")
        if parameter.requires_grad and parameter.numel():
            layers.setdefault(parameter, layer)
    if not layers:
        raise InputError(f"none of the {len(named)} shared parameters requires grad", remedy=give)
    return layers


def _check(losses: Mapping[str, Tensor]) -> None:
    if not isinstance(losses, Mapping) or not losses:
        what = "empty" if isinstance(losses, Mapping) else f"{type(losses).__name__}, not a mapping"
        raise InputError(f"losses is {what}", remedy='give the losses by name, such as {"task": loss}')
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = f"has shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"is {type(loss).__name__}"
            raise InputError(f"loss {name!r} {shape}, not a scalar tensor", remedy="take its mean or its sum")
        if not loss.requires_grad:
            raise InputError(
                f"loss {name!r} has no gradient", remedy="compute it from parameters, outside no_grad and undetached"
            )


def _graph(loss: Tensor) -> tuple[set[Node], list[Tensor]]:
    """Return the nodes between a loss and its leaves, and the leaves that require grad."""
    if loss.grad_fn is None:
        return set(), [loss]
    nodes: set[Node] = set()
    leaves: dict[Tensor, None] = {}
    pending: list[Node | None] = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in nodes:
            continue
        if type(node).__name__ == "AccumulateGrad":
            leaves[node.variable] = None  # type: ignore[attr-defined]
        else:
            nodes.add(node)
            pending.extend(following for following, _ in node.next_functions)
    return nodes, [leaf for leaf in leaves if leaf.requires_grad]


def _against(jacobian: Tensor, alpha: float) -> Tensor:
    """Return ``g - proj_a(g) - alpha * a`` for the rows ``g`` and ``a``."""
    task, adversary = jacobian.unbind()
    largest = adversary.abs().amax()
    axis = adversary / torch.where(largest > 0, largest, 1)  # of a size whose square neither overflows nor vanishes
    length = (axis * axis).sum()
    return task - (task * axis).sum() / torch.where(length > 0, length, 1) * axis - alpha * adversary


def _aggregator(how: str | Callable[[Tensor], Tensor], alpha: float) -> Callable[[Tensor], Tensor]:
    alpha = checked_number("alpha", alpha)
    if callable(how) and not isinstance(how, type):
        return how
    if how == "adversarial":
        return partial(_against, alpha=alpha)
    if not isinstance(how, str) or how not in AGGREGATORS:
        known = ", ".join([*AGGREGATORS, "adversarial"])
        raise InputError(
            f"how is {how!r}", remedy=f"use one of {known}, or an instance of one of torchjd.aggregation's aggregators"
        )
    try:
        kind = getattr(import_module("torchjd.aggregation"), AGGREGATORS[how])
        made: Callable[[Tensor], Tensor] = kind()
    except ImportError as error:
        raise InputError(
            f"how={how!r} needs TorchJD, and {error}", remedy='run pip install "torchjd[quadprog-projector]"'
        ) from error
    return partial(_balanced, kind=kind) if how in ("upgrad", "dualproj") else made


def _balanced(jacobian: Tensor, kind: Callable[..., Callable[[Tensor], Tensor]]) -> Tensor:
    """Project in terms of rows of length one, each preferred by its length: the same vector, without the bias.

    TorchJD adds 1e-4 to the diagonal of a Gramian of trace one. A row a hundred times shorter than the longest
    drowns in that and is no longer protected; of rows of length one, each is.
    """
    lengths = torch.linalg.vector_norm(jacobian, dim=1)
    units = jacobian.div_(torch.where(lengths > 0, lengths, 1)[:, None])
    return kind(pref_vector=lengths / len(lengths))(units)


class _Rows(NamedTuple):
    jacobian: Tensor  # (losses, elements of the shared parameters)
    spans: dict[str, tuple[int, int]]  # where each layer's columns begin and end
    reached: set[Tensor]  # the shared parameters that a loss depends on
    others: dict[Tensor, Tensor]  # gradient of the sum of the losses for every other leaf


def _rows(losses: Mapping[str, Tensor], layers: Mapping[Tensor, str]) -> _Rows:
    """Take each loss's gradient, one backward pass each."""
    spans: dict[str, tuple[int, int]] = {}
    n = 0
    for parameter, layer in layers.items():
        spans[layer] = (spans.get(layer, (n, n))[0], n + parameter.numel())
        n += parameter.numel()
    first = next(iter(layers))
    dtype = reduce(torch.promote_types, (parameter.dtype for parameter in layers), torch.float32)
    jacobian = torch.zeros(len(losses), n, dtype=dtype, device=first.device)
    reached: set[Tensor] = set()
    others: dict[Tensor, Tensor] = {}
    graphs = [_graph(loss) for loss in losses.values()]
    for row, (name, loss) in enumerate(losses.items()):
        nodes, leaves = graphs[row]
        inputs = [*layers, *(leaf for leaf in leaves if leaf not in layers)]
        retain = any(not nodes.isdisjoint(later) for later, _ in graphs[row + 1 :])
        gradients = torch.autograd.grad(loss, inputs, retain_graph=retain, allow_unused=True)
        start = 0
        for leaf, gradient in zip(inputs, cast("tuple[Tensor | None, ...]", gradients), strict=True):
            stop = start + leaf.numel()
            if gradient is not None and gradient.layout != torch.strided:
                raise InputError(
                    f"loss {name!r} has a sparse gradient for a parameter of shape {tuple(leaf.shape)}",
                    remedy="make the embedding with sparse=False",
                )
            if gradient is not None and leaf in layers:
                jacobian[row, start:stop] = gradient.flatten()
                reached.add(leaf)
            elif gradient is not None:
                others[leaf] = others[leaf] + gradient if leaf in others else gradient
            start = stop
    if not reached:
        raise InputError(
            f"no loss ({', '.join(map(str, losses))}) reaches any shared parameter",
            remedy="compute the losses from the module that is shared, without detach in between",
        )
    return _Rows(jacobian, spans, reached, others)


def combine(
    losses: Mapping[str, Tensor],
    shared: nn.Module | Iterable[Tensor],
    how: str | Callable[[Tensor], Tensor] = "upgrad",
    *,
    alpha: float = 1.0,
) -> Combined:
    """Add to ``.grad`` what several losses agree on, in place of ``sum(losses.values()).backward()``.

    The shared parameters get one vector made from the gradients of all losses; every other leaf (the heads) gets the
    gradient of the sum, as from ``backward``. With ``g`` the gradient of the first loss and ``a`` that of the second
    over all shared parameters, and no projection where ``a`` is zero, ``how="adversarial"`` is

    ``g̃ = g - (g·a / a·a) a - α a``

    It takes as many backward passes as there are losses, and memory for one gradient per loss. Hooks on tensors run
    once per loss; ``retain_grad``, hooks after accumulation and DistributedDataParallel, which needs them, see nothing.

    Args:
        losses: Scalar tensors by name. For ``"adversarial"`` two: the task's, then the adversary's.
        shared: The module or the parameters whose gradients are combined. With ``"adversarial"``, all that lies before
            the adversary: the task's head too, where the adversary reads its output.
        how: ``"adversarial"``, a name in ``AGGREGATORS``, or an instance of one of TorchJD's aggregators, needed where
            it has settings or a state. ``sum``, ``pcgrad``, ``graddrop`` and ``config`` have the size of a sum of
            gradients, the rest that of a mean. ``pcgrad``, ``graddrop`` and ``random`` draw from torch's global
            generator (``torch.manual_seed``). ``upgrad`` and ``dualproj`` protect every loss whatever the sizes, where
            TorchJD's own are the plain mean below a norm of 0.01 and let go of a loss whose gradient is a hundred times
            shorter than another's. In float32 ``imtlg`` and ``aligned_mtl`` let go of one some 1500 times shorter. An
            instance gets the Jacobian as it is.
        alpha: How hard ``"adversarial"`` pushes against the adversary; the others ignore it. Any finite number.

    Returns:
        Norms and cosines of the losses' gradients; a layer is the module that holds a parameter, or its position where
        ``shared`` is not a module.

    Raises:
        InputError: A loss is no scalar or has no gradient or none that is finite, ``shared`` holds none that requires
            grad or none that a loss reaches, a gradient is sparse, ``how`` is unknown or not installed, ``alpha`` is
            not finite. No ``.grad`` has changed then.

    Examples:
        >>> weight = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> losses = {"task": 2 * weight[0], "group": weight[1] - weight[0]}  # gradients [2, 0] and [-1, 1]
        >>> report = combine(losses, [weight], "adversarial", alpha=0.5)
        >>> weight.grad  # [2, 0] - [1, -1] - 0.5 * [-1, 1]
        tensor([1.5000, 0.5000])
        >>> report.conflicts, round(report.cosine["task", "group"], 4)
        ([('task', 'group')], -0.7071)

    Source: Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, arXiv 2406.16232, 2024 (upgrad); Yu et
    al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020 (pcgrad); Désidéri, Multiple-Gradient Descent Algorithm,
    2012 (mgda); Zhang, Lemoine and Mitchell, Mitigating Unwanted Biases with Adversarial Learning, 2018 (adversarial).
    """
    _check(losses)
    names = tuple(losses)
    aggregator = _aggregator(how, alpha)
    if how == "adversarial" and len(losses) != 2:
        raise InputError(
            f"how='adversarial' got {len(losses)} losses: {', '.join(map(str, names))}",
            remedy="give two, the task's and then the adversary's",
        )
    layers = _layers(shared)
    rows = _rows(losses, layers)
    with torch.no_grad():
        report = compare(names, rows.jacobian, rows.spans)
        size = max(-100, min(100, math.frexp(max(report.norms.values()))[1])) if isinstance(how, str) else 0
        vector = aggregator(rows.jacobian.mul_(2.0**-size))  # a power of two changes no digit
        n = rows.jacobian.shape[1]
        if not isinstance(vector, Tensor) or vector.shape != (n,):
            raise InputError(
                f"{how!r} returned {tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__}",
                remedy=f"return a tensor of {n} numbers, one for each shared parameter's element",
            )
        if not bool(torch.isfinite(vector).all()):
            raise InputError(
                f"{how!r} made a vector that is not finite of finite gradients",
                remedy="bring the losses to a similar size: their gradients differ by too many orders",
            )
        pieces = (vector * 2.0**size).split([parameter.numel() for parameter in layers])
        given = {
            leaf: piece.view(leaf.shape) for leaf, piece in zip(layers, pieces, strict=True) if leaf in rows.reached
        }
        for leaf, gradient in [*given.items(), *rows.others.items()]:
            if leaf.grad is None:
                leaf.grad = torch.empty_like(leaf).copy_(gradient)
            else:
                leaf.grad.add_(gradient.to(leaf.grad.device))
    return report
