"""Walking a recorded graph: what lies before a node, after it, and between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gradtape.tape._node import Node


def ancestors(node: Node) -> list[Node]:
    """Return what the node was computed from, however far back, in the order of computation."""
    return _reached(node, lambda each: each.parents)


def descendants(node: Node) -> list[Node]:
    """Return what was computed from the node, however far on, in the order of computation."""
    return _reached(node, lambda each: each.children)


def between(start: Node, end: Node) -> list[Node]:
    """Return the nodes on the ways from one node to another, both included; none where no way leads there."""
    ahead = {start.position, *(node.position for node in descendants(start))}
    return [node for node in [*ancestors(end), end] if node.position in ahead] if end.position in ahead else []


def _reached(node: Node, neighbours: Callable[[Node], Iterable[Node]]) -> list[Node]:
    found: dict[int, Node] = {}
    pending = list(neighbours(node))
    while pending:
        each = pending.pop()
        if each.position not in found:
            found[each.position] = each
            pending.extend(neighbours(each))
    return [found[position] for position in sorted(found)]
