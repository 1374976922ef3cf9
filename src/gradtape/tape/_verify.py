"""Verification: does the tape say of the run what the run did?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradtape.errors import TapeError
from gradtape.tape._backward import FREED
from gradtape.tape._node import Call, Node, Ref
from gradtape.tape._replay import argument_value, filled, rerun
from gradtape.tape._trees import dense, tensors_in

_UNDEFINED = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "new", "resize_", "resize_as_"}

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

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        what = f"{self.values} values and {self.gradients} gradients compared"
        return "\n- ".join([f"{what}, {len(self.problems)} differ:", *self.problems]) if self.problems else what


def verify(nodes: list[Node], outputs: Mapping[int, Tensor]) -> Verification:
    """Compute every node again from its recorded parents, and every gradient from its children's; see ``Tape.verify``.

    The gradient is that of the outputs' inner product with fixed random numbers. Autograd takes it in one pass through
    its own graph; here it goes from node to node along the tape, each operation differentiated on its own.
    """
    nested = next((node.name for node in nodes if -1 in node.shape), None)
    if nested is not None:
        raise TapeError(f"node {nested!r} is a nested tensor", remedy="verify a run on padded tensors")
    random = torch.Generator().manual_seed(0)
    seeds = {
        position: torch.randn(value.shape, generator=random).to(value)
        for position, value in sorted(outputs.items())
        if nodes[position].learns
    }
    expected = _by_autograd(nodes, seeds, outputs)
    own = _NodeByNode(nodes)
    for position, seed in seeds.items():
        own.add(_group(nodes[position]), seed)
    values = [problem for node in reversed(nodes) for problem in own.pass_back(node)]
    names = {_group(node): node.name for node in reversed(nodes)}
    rewritten = set(_rewritten(nodes))
    expected = {group: grad for group, grad in expected.items() if group not in rewritten}
    gradients = []
    for group, grad in expected.items():
        mine = own.collected.get(group)
        problem = "the tape has none" if mine is None else _differs(mine, grad, own.largest.get(group, 0.0))
        if problem and (mine is not None or bool(grad.any())):
            gradients.append(f"the gradient of {names.get(group, 'a parameter')}: {problem}")
    return Verification(own.compared, len(expected), (*reversed(values), *reversed(gradients)))


class _NodeByNode:
    """Gradients that go back along the tape, one operation at a time.

    Attributes:
        collected: The gradient of each group, complete when all that was computed from it has been passed.
        largest: The largest element of what was sent to each group's children, which is the scale of its rounding.
        compared: How many values were compared.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.collected: dict[Group, Tensor] = {}
        self.largest: dict[Group, float] = {}
        self.compared = 0
        self._nodes = nodes
        self._hooks = {_group(node): node.held._backward_hooks or {} for node in nodes if node.held is not None}
        self._made = filled(nodes, {read for node in nodes if node.call is not None for read in node.call.reads()})

    def add(self, group: Group, grad: Tensor, of: float = 0.0) -> None:
        self.collected[group] = self.collected[group] + grad if group in self.collected else grad
        self.largest[group] = max(self.largest.get(group, 0.0), of)

    def _leaving(self, group: Group) -> Tensor:
        """Return a group's gradient as the user's hooks on the tensor leave it."""
        grad = self.collected[group]
        for hook in self._hooks.get(group, {}).values():
            changed = hook(grad)
            grad = grad if changed is None else changed
        return grad

    def pass_back(self, node: Node) -> list[str]:
        """Send a node's gradient to its parents, and return what is wrong with its value."""
        if node.call is None:
            self._pass_unseen(node)
        elif node.position == node.call.results[-1]:
            return self._pass(node.call)
        return []

    def _pass(self, call: Call) -> list[str]:
        nodes = [self._nodes[position] for position in call.results]
        arguments = [self._fresh(argument) for argument in call.arguments]
        try:
            with torch.enable_grad():
                results = tensors_in(rerun(call, arguments))
            groups = {_group(node): made for node, made in zip(nodes, results, strict=True)}
            self._differentiate(call, arguments, groups)
        except (RuntimeError, ValueError) as error:
            return [f"{nodes[0].name} cannot be run again or differentiated: {error}"]
        problems = []
        for node, made in zip(nodes, results, strict=True):
            self.compared += node.kept
            problem = _differs(made, node.value) if node.kept and node.op not in _UNDEFINED else ""
            problems += [f"the value of {node.name}: {problem}"] if problem else []
        return problems

    def _fresh(self, argument: Any) -> Any:
        """Return the argument's value as a leaf of its own, where a gradient could go to it."""
        value = argument_value(argument, self._nodes, self._made)
        if not isinstance(value, Tensor):
            return value
        learns = self._nodes[argument.position].learns if isinstance(argument, Ref) else value.requires_grad
        return value.detach().requires_grad_() if learns else value.detach()

    def _differentiate(self, call: Call, arguments: list[Any], results: Mapping[Group, Tensor]) -> None:
        ends = [(made, self._leaving(group)) for group, made in results.items() if group in self.collected]
        ends = [(made, grad.to(made)) for made, grad in ends if made.requires_grad]
        starts = [
            (argument, _group(self._nodes[given.position]) if isinstance(given, Ref) else id(given))
            for argument, given in zip(arguments, call.arguments, strict=True)
            if isinstance(argument, Tensor) and argument.requires_grad
        ]
        starts = [(argument, group) for argument, group in starts if group not in results]  # it returned its argument
        if not ends or not starts:
            return
        if len({made.grad_fn for made in results.values()}) > 1:  # one result may be computed from another, as h from c
            for group, made in results.items():
                for other, grad in (each for each in ends if each[0] is not made and made.requires_grad):
                    inner = torch.autograd.grad(other, made, grad, retain_graph=True, allow_unused=True)[0]
                    if inner is not None:
                        self.add(group, inner)
        tensors, sent = zip(*ends, strict=True)
        grads = torch.autograd.grad(tensors, [argument for argument, _ in starts], sent, allow_unused=True)
        largest = max(_largest(grad) for grad in sent)
        for (_, group), grad in zip(starts, grads, strict=True):
            if grad is not None:
                self.add(group, grad, largest)

    def _pass_unseen(self, node: Node) -> None:
        """Send a gradient back through something that only autograd knows, to each parent by the direct way alone."""
        if _group(node) not in self.collected or node.edge is None:
            return
        grad = self._leaving(_group(node))
        parents = sorted(node.parents, key=lambda each: each.position, reverse=True)
        behind = [(_group(each), each.edge) for each in parents if each.edge is not None]
        behind += _leaves_behind(node.edge, {edge.node for _, edge in behind})
        sent: list[tuple[GradientEdge, Tensor]] = []
        for group, edge in behind:
            if group == _group(node):
                continue
            part = _between(node.edge, edge, grad)
            for later, of_later in sent:
                round_about = _between(later, edge, of_later)
                if part is not None and round_about is not None:
                    part = part - round_about
            if part is not None:
                sent.append((edge, part))
                self.add(group, part, _largest(grad))


def _by_autograd(nodes: list[Node], seeds: Mapping[int, Tensor], outputs: Mapping[int, Tensor]) -> dict[Group, Tensor]:
    """Return the gradients of all groups by one pass through autograd's own graph."""
    starts = [nodes[position].edge or get_gradient_edge(outputs[position]) for position in seeds]
    if not starts:
        return {}
    edges = {_group(node): node.edge for node in nodes if node.edge is not None}
    for node in nodes:
        for argument in node.call.arguments if node.call is not None else ():
            if isinstance(argument, Tensor) and argument.is_leaf and argument.requires_grad:
                edges.setdefault(id(argument), get_gradient_edge(argument))
    try:
        grads = torch.autograd.grad(
            starts, list(edges.values()), list(seeds.values()), retain_graph=True, allow_unused=True
        )
    except RuntimeError as error:
        if "second time" in str(error):
            raise TapeError("autograd's graph of this tape was freed", remedy=f"{FREED}, or verify first") from None
        if "modified by an inplace operation" in str(error):
            raise TapeError(
                "a value or a parameter was changed since it was recorded", remedy="verify before the optimizer's step"
            ) from None
        if "use_reentrant" in str(error):
            raise TapeError(
                "checkpoint with use_reentrant=True hides its gradients", remedy="use use_reentrant=False to verify"
            ) from None
        raise
    return {group: grad for group, grad in zip(edges, grads, strict=True) if grad is not None}


def _between(later: GradientEdge, earlier: GradientEdge, grad: Tensor) -> Tensor | None:
    """Return what of a gradient at one place of autograd's graph arrives at another."""
    return torch.autograd.grad([later], [earlier], [grad], retain_graph=True, allow_unused=True)[0]


def _leaves_behind(edge: GradientEdge, known: set[Any]) -> list[tuple[Group, GradientEdge]]:
    """Return the leaves that autograd reaches from a place without coming by ``known``."""
    pending, seen = [edge.node], {edge.node, *known}
    found: list[tuple[Group, GradientEdge]] = []
    while pending:
        following = pending.pop()
        if hasattr(following, "variable"):
            found.append((id(following.variable), GradientEdge(following, 0)))
        fresh = {each for each, _ in following.next_functions if each is not None} - seen
        seen |= fresh
        pending += fresh
    return found


def _rewritten(nodes: list[Node]) -> Iterator[Group]:
    """Yield what autograd, after an overwrite, no longer sees as the tape does; what lies before it is compared.

    It counts what reads an overwritten view as reading the base, and leads round the view that the write came through.
    """
    for node in nodes:
        if node.op == "overwritten":
            yield _group(node)
        if node.call is not None and node.call.in_place and node.is_view:
            yield _group(node)
            read = node.call.reads()
            while read and nodes[read[0]].is_view:
                yield _group(nodes[read[0]])
                maker = nodes[read[0]].call
                read = [] if maker is None else maker.reads()


def _group(node: Node) -> Group:
    return -1 - node.position if node.edge is None else (id(node.edge.node), node.edge.output_nr)


def _largest(tensor: Tensor) -> float:
    finite = torch.nan_to_num(dense(tensor.detach()).abs(), nan=0.0, posinf=0.0)
    return float(finite.max()) if finite.numel() else 0.0


def _differs(mine: Tensor, theirs: Tensor, of: float = 0.0) -> str:
    """Return in words how two tensors differ beyond rounding of numbers of their size, or ``of`` that; or nothing."""
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return f"{tuple(mine.shape)} {mine.dtype} against {tuple(theirs.shape)} {theirs.dtype}"
    mine, theirs = dense(mine), dense(theirs)
    if torch.equal(mine, theirs):
        return ""
    if not (theirs.is_floating_point() or theirs.is_complex()):
        return "other numbers"
    rounding = 2e-5 if torch.finfo(theirs.dtype).eps < 1e-5 else 2e-2
    largest = _largest(theirs)
    if torch.allclose(mine, theirs, rtol=100 * rounding, atol=rounding * max(largest, of), equal_nan=True):
        return ""
    return f"off by {float((mine - theirs).detach().abs().max()):.2g}, where the largest is {largest:.2g}"
