"""Verification: does the tape say of the run what the run did?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.utils._pytree import tree_leaves

from gradtape.tape._node import Call, Node, Ref

_UNDEFINED = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}  # nobody knows what is in them

Group = tuple[int, int] | int
"""What has a gradient of its own: an output of a node of autograd's graph, or a leaf, by its id."""


class Verification(NamedTuple):
    """What ``Tape.verify`` found.

    Attributes:
        values: How many nodes were computed again and compared.
        gradients: How many gradients were compared, those of parameters included.
        problems: What differs, in words; empty when nothing does.
    """

    values: int
    gradients: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        what = f"{self.values} values and {self.gradients} gradients compared"
        return "\n- ".join([f"{what}, {len(self.problems)} differ:", *self.problems]) if self.problems else what


def verify(nodes: list[Node], outputs: set[int], rerun: Callable[[Call, list[Any]], Any]) -> Verification:
    """Compute every node again from its recorded parents, and every gradient from its children's.

    The gradient is that of the outputs' inner product with fixed random numbers. Autograd takes it in one pass through
    its own graph; here it goes from node to node along the tape, each operation differentiated on its own.
    """
    values: list[str] = []
    gradients: list[str] = []
    compared = 0
    seeds = _seeds(nodes, outputs)
    expected = _by_autograd(nodes, seeds)
    collected: dict[Group, Tensor] = {}
    for position, seed in seeds.items():
        _add(collected, _group(nodes[position]), seed)
    for node in reversed(nodes):
        if node.call is None:
            _send_back_unseen(node, collected)
        elif node.position == node.call.results[-1]:
            compared += _check(node.call, nodes, rerun, collected, values)
    names = {_group(node): node.name for node in reversed(nodes)}
    # after an overwrite, autograd counts what reads a view as reading its base; what lies before both is compared
    shared = {_group(node) for node in nodes if node.op == "overwritten" or _view_written(node)}
    expected = {group: grad for group, grad in expected.items() if group not in shared}
    for group, grad in expected.items():
        mine = collected.get(group)
        problem = "the tape has none" if mine is None else _differs(mine, grad)
        if problem and (mine is not None or bool(grad.any())):
            gradients.append(f"the gradient of {names.get(group, 'a parameter')}: {problem}")
    return Verification(compared, len(expected), (*reversed(values), *reversed(gradients)))


def _seeds(nodes: list[Node], outputs: set[int]) -> dict[int, Tensor]:
    """Return the gradient to begin with at each output."""
    random = torch.Generator().manual_seed(0)
    found = {}
    for position in sorted(outputs):
        value = nodes[position].value
        if nodes[position].edge is not None:
            found[position] = torch.randn(value.shape, generator=random).to(value)
    return found


def _by_autograd(nodes: list[Node], seeds: Mapping[int, Tensor]) -> dict[Group, Tensor]:
    """Return the gradients of all groups by one pass through autograd's own graph."""
    edges = {_group(node): node.edge for node in nodes if node.edge is not None}
    for node in nodes:
        for argument in node.call.arguments if node.call is not None else ():
            if isinstance(argument, Tensor) and argument.is_leaf and argument.requires_grad:
                edges.setdefault(id(argument), get_gradient_edge(argument))
    if not seeds:
        return {}
    starts = [edge for position in seeds if (edge := nodes[position].edge) is not None]
    grads = torch.autograd.grad(
        starts, list(edges.values()), grad_outputs=list(seeds.values()), retain_graph=True, allow_unused=True
    )
    return {group: grad for group, grad in zip(edges, grads, strict=True) if grad is not None}


def _fresh(argument: Any, nodes: list[Node]) -> Any:
    """Return the argument's value as a leaf of its own, where a gradient could go to it."""
    value = nodes[argument.position].value if isinstance(argument, Ref) else argument
    if not isinstance(value, Tensor):
        return value
    learns = nodes[argument.position].edge is not None if isinstance(argument, Ref) else value.requires_grad
    return value.detach().requires_grad_() if learns else value.detach()


def _check(
    call: Call,
    nodes: list[Node],
    rerun: Callable[[Call, list[Any]], Any],
    collected: dict[Group, Tensor],
    problems: list[str],
) -> int:
    """Run one operation again, compare what it returns, and send gradients back; return how many values there were."""
    arguments = [_fresh(argument, nodes) for argument in call.arguments]
    with torch.enable_grad():
        results = [leaf for leaf in tree_leaves(rerun(call, arguments)) if isinstance(leaf, Tensor)]
    for position, result in zip(call.results, results, strict=True):
        node = nodes[position]
        problem = "" if node.op in _UNDEFINED else _differs(result, node.value)
        if problem:
            problems.append(f"the value of {node.name}: {problem}")
    _send_back(call, nodes, arguments, results, collected)
    return len(results)


def _send_back_unseen(node: Node, collected: dict[Group, Tensor]) -> None:
    """Send a gradient back through something that only autograd knows, to each parent by the direct way alone."""
    grad = collected.get(_group(node))
    if grad is None or node.edge is None:
        return
    sent: list[tuple[Node, Tensor]] = []
    for parent in sorted(node.parents, key=lambda each: each.position, reverse=True):
        if parent.edge is None or _group(parent) == _group(node):
            continue
        (direct,) = torch.autograd.grad([node.edge], [parent.edge], [grad], retain_graph=True, allow_unused=True)
        for later, part in sent:
            if direct is None or later.edge is None:
                continue
            (round_about,) = torch.autograd.grad(
                [later.edge], [parent.edge], [part], retain_graph=True, allow_unused=True
            )
            direct = direct if round_about is None else direct - round_about
        if direct is not None:
            sent.append((parent, direct))
    for parent, part in sent:
        _add(collected, _group(parent), part)


def _send_back(
    call: Call, nodes: list[Node], arguments: list[Any], results: list[Tensor], collected: dict[Group, Tensor]
) -> None:
    """Differentiate one operation and add what comes back to each of its arguments."""
    groups = [_group(nodes[position]) for position in call.results]
    ends = {
        group: (result, collected[group])
        for group, result in zip(groups, results, strict=True)
        if group in collected and result.requires_grad
    }
    starts = [
        (argument, _group(nodes[given.position]) if isinstance(given, Ref) else id(given))
        for argument, given in zip(arguments, call.arguments, strict=True)
        if isinstance(argument, Tensor) and argument.requires_grad
    ]
    starts = [(argument, group) for argument, group in starts if group not in groups]  # it returned what it was given
    if not ends or not starts:
        return
    grads = torch.autograd.grad(
        [result for result, _ in ends.values()],
        [argument for argument, _ in starts],
        grad_outputs=[grad.to(result) for result, grad in ends.values()],
        allow_unused=True,
    )
    for (_, group), grad in zip(starts, grads, strict=True):
        if grad is not None:
            _add(collected, group, grad)


def _view_written(node: Node) -> bool:
    return node.call is not None and node.call.in_place and node.value._is_view()


def _group(node: Node) -> Group:
    return -1 - node.position if node.edge is None else (id(node.edge.node), node.edge.output_nr)


def _add(collected: dict[Group, Tensor], group: Group, grad: Tensor) -> None:
    collected[group] = collected[group] + grad if group in collected else grad


def _differs(mine: Tensor, theirs: Tensor) -> str:
    """Return in words how two tensors differ beyond rounding, or nothing."""
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return f"{tuple(mine.shape)} {mine.dtype} against {tuple(theirs.shape)} {theirs.dtype}"
    if torch.equal(mine, theirs):
        return ""
    if not (theirs.is_floating_point() or theirs.is_complex()):
        return "other numbers"
    rounding = 2e-5 if torch.finfo(theirs.dtype).eps < 1e-5 else 2e-2
    largest = torch.nan_to_num(theirs.detach().abs(), posinf=0.0).max()
    if torch.allclose(mine, theirs, rtol=100 * rounding, atol=float(rounding * largest), equal_nan=True):
        return ""
    return f"off by {float((mine - theirs).detach().abs().max()):.2g}, where the largest is {float(largest):.2g}"
