"""A graph of recorded nodes: finding one, walking between them, writing it down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gradtape.atomic import write_atomically
from gradtape.errors import InputError, TapeError
from gradtape.tape import _draw, _json
from gradtape.tape._node import Node
from gradtape.tape._recorder import Recorder
from gradtape.tape._replay import filled
from gradtape.tape._trees import norm_of, tensors_in
from gradtape.tape.select import Selector, outward

Key = str | int | Node
"""A node by name, by position, or itself (from this tape or one that was replayed from it)."""


class Graph:
    """The nodes of a tape and the ways between them."""

    _recorder: Recorder
    _title = "tape"
    _output: Any = None
    _has_output = False

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in the order of computation."""
        return self._recorder.nodes

    @property
    def output(self) -> Any:
        """What the recorded computation returned, in its own structure."""
        if self._has_output:
            return self._output
        if not self.nodes:
            raise TapeError("the tape is empty", remedy="run something that computes with tensors inside it")
        return self._with_value(-1).value

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a node of this name, or this node is one."""
        return any(key is node for node in self.nodes) if isinstance(key, Node) else key in self._recorder.names

    def find(self, selector: Selector) -> list[Node]:
        """Return the nodes that a selector means, by any of their names, in the order of computation."""
        named = [replace(node, name=name, later=[]) for name, node in self._recorder.names.items()]
        meant = {each.position for each in (*named, *self.nodes) if selector(each)}
        return [self.nodes[position] for position in sorted(meant)]

    def __str__(self) -> str:
        """Return a table of the nodes: name, operation, shape and norm of the gradient."""
        rows = [("node", "op", "shape", "gradient norm")]
        for node in self.nodes:
            norm = norm_of(node.grad)
            shape = "×".join(map(str, node.shape)) or "scalar"
            rows.append((node.name, node.op, shape, "" if norm is None else f"{norm:.3g}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def __getitem__(self, key: Key) -> Node:
        """Return a node by module path, by operation and ordinal, or by position.

        Raises:
            TapeError: There is no such node; the message names the closest.
        """
        if isinstance(key, str):
            try:
                return self._recorder.names[key]
            except KeyError:
                raise self._no_node(key) from None
        position = key.position if isinstance(key, Node) else key
        if not isinstance(position, int):
            raise TapeError(f"no node {key!r} on this tape", remedy="give a name, a position or a node")
        if not -len(self.nodes) <= position < len(self.nodes):
            raise TapeError(f"no node {position} on a tape of {len(self.nodes)}", remedy="use a position inside it")
        if isinstance(key, Node) and self.nodes[position].name != key.name:
            raise TapeError(f"{key} is a node of another tape", remedy="give its name")
        return self.nodes[position]

    def _no_node(self, name: str) -> TapeError:
        names = self._recorder.names
        close = get_close_matches(name, names, n=3) or list(names)[:10]
        return TapeError(f"no node {name!r} on this tape", remedy=f"use one of {', '.join(close)}, ...")

    def walk(self, direction: Literal["forward", "backward"] = "forward") -> Iterator[Node]:
        """Yield every node in topological order: ``forward`` parents first, ``backward`` children first."""
        if direction not in ("forward", "backward"):
            raise InputError(f"direction is {direction!r}", remedy="walk 'forward' or 'backward'")
        return iter(self.nodes) if direction == "forward" else reversed(self.nodes)

    def ancestors(self, node: Key) -> list[Node]:
        """Return what a node was computed from, however far back, in the order of computation."""
        return _reached([self[node]], lambda each: each.parents)

    def descendants(self, node: Key) -> list[Node]:
        """Return what was computed from a node, however far on, in the order of computation."""
        return _reached([self[node]], lambda each: each.children)

    def between(self, start: Key, end: Key) -> list[Node]:
        """Return the nodes on the ways from ``start`` to ``end``, both included; none where no way leads there."""
        return between([self[start]], [self[end]])

    def to_json(self) -> str:
        """Return the graph as JSON: ``{"nodes": [...]}`` in the order of computation, without the values.

        Each node has its ``position``, ``name``, ``op``, ``module``, ``shape``, ``dtype``, size in ``bytes``, line of
        ``source``, the positions of its ``parents``, whether it is an ``output``, and the 2-norms ``value_norm`` and
        ``grad_norm`` (null where there is none; "inf" or "nan" in words).

        Examples:
            >>> import json, torch, gradtape as gt
            >>> with gt.Tape() as tape:
            ...     y = torch.tensor([3.0, 4.0], requires_grad=True) * 2
            >>> [(node["name"], node["parents"], node["value_norm"]) for node in json.loads(tape.to_json())["nodes"]]
            [('tensor_1', [], 5.0), ('mul_1', [0], 10.0)]
        """
        return _json.to_json(self.nodes, self._ends())

    def draw(self, path: str | Path, *, unfold: str | Sequence[str] = ()) -> None:
        """Draw the graph into an SVG file, from the inputs at the top to the outputs at the bottom.

        A module is one box; in a browser a click on it shows what is inside, and the trail above leads back. Boxes are
        coloured by the 2-norm of the gradient of what they return, on a scale of logarithms; a pointer held over one
        tells operation, shape, type and line of source.

        Args:
            path: The file to write, ``*.svg``.
            unfold: Paths of modules to draw open, with ``*`` and ``?`` as in file names; ``"*"`` opens all.

        Raises:
            InputError: The file is no SVG or has no folder, or nothing fits a path in ``unfold``.
            TapeError: The tape is empty.

        Examples:
            >>> import torch, gradtape as gt
            >>> tape = gt.record(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()), torch.ones(4, 2))
            >>> tape.draw("graph.svg")  # doctest: +SKIP
        """
        path, unfold = Path(path), [unfold] if isinstance(unfold, str) else list(unfold)
        if path.suffix != ".svg":
            raise InputError(f"cannot draw into {str(path)!r}", remedy="name an .svg file")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {str(path.parent)!r} to draw into", remedy="make it first")
        if not self.nodes:
            raise TapeError("the tape is empty", remedy="run something that computes with tensors inside it")
        modules = {outer for node in self.nodes for outer in outward(node.module)}
        for pattern in unfold:
            if not any(fnmatchcase(module, pattern) for module in modules):
                close = get_close_matches(pattern, modules, n=3) or sorted(modules - {""})[:5]
                raise InputError(f"no module fits unfold={pattern!r}", remedy=f"use one of {', '.join(close)}, ...")
        svg = _draw.draw(self.nodes, self._ends(), unfold, self._title, ran=self._recorder.names)
        write_atomically(path, svg, then="draw again")

    def _ends(self) -> set[int]:
        """Return the positions of the nodes that the output consists of, as far as they can be told."""
        try:
            return set(self._outputs())
        except TapeError:
            return set()

    def _set_output(self, output: Any) -> None:
        self._output, self._has_output = output, True

    def _outputs(self) -> dict[int, Tensor]:
        """Return the output's tensors that are nodes, by position.

        Raises:
            TapeError: There are none.
        """
        if not self._has_output and self.nodes:
            return {len(self) - 1: self._with_value(-1).value}
        leaves = tensors_in(self.output)
        found = {node.position: leaf for leaf in leaves if (node := self._recorder.node_of(leaf)) is not None}
        if not found:
            raise TapeError(
                f"no recorded value is found in the output, of type {type(self.output).__name__}",
                remedy="return tensors, or lists, tuples and dicts of them",
            )
        return found

    def _with_value(self, key: Key) -> Node:
        """Return a node with its value, computed again where it was not kept."""
        node = self[key]
        return node if node.kept else replace(node, held=filled(self.nodes, {node.position})[node.position], later=[])


def between(starts: list[Node], ends: list[Node]) -> list[Node]:
    """Return the nodes on the ways from any of ``starts`` to any of ``ends``, they included."""
    ahead = {id(node) for node in [*starts, *_reached(starts, lambda each: each.children)]}
    before = {node.position: node for node in [*_reached(ends, lambda each: each.parents), *ends]}
    return [before[position] for position in sorted(before) if id(before[position]) in ahead]


def _reached(starts: Iterable[Node], neighbours: Callable[[Node], Iterable[Node]]) -> list[Node]:
    found: dict[int, Node] = {}
    pending = [each for start in starts for each in neighbours(start)]
    while pending:
        each = pending.pop()
        if each.position not in found:
            found[each.position] = each
            pending.extend(neighbours(each))
    return [found[position] for position in sorted(found)]
