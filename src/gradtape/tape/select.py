"""Which nodes' values a tape keeps: selectors, joined by ``&``, ``|`` and ``~``."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from gradtape.errors import InputError
from gradtape.tape._node import Node

__all__ = ["Selector", "everything", "module", "name", "nothing", "op", "where"]


class Selector:
    """A question to a node: is it meant? Ask by calling it; join with ``&``, ``|`` and ``~``.

    Examples:
        >>> module("features.*") & ~op("relu")
        module('features.*') & ~op('relu')
    """

    def __init__(self, test: Callable[[Node], bool], text: str) -> None:
        self._test = test
        self._text = text

    def __call__(self, node: Node) -> bool:
        """Return whether the node is meant."""
        return self._test(node)

    def __and__(self, other: Selector) -> Selector:
        return Selector(lambda node: self(node) and other(node), f"{self._inside()} & {other._inside()}")

    def __or__(self, other: Selector) -> Selector:
        return Selector(lambda node: self(node) or other(node), f"{self} | {other}")

    def __invert__(self) -> Selector:
        return Selector(lambda node: not self(node), f"~{self._inside()}")

    def __repr__(self) -> str:
        return self._text

    def _inside(self) -> str:
        return f"({self})" if " " in self._text else self._text


def module(*paths: str) -> Selector:
    """Select what ran inside modules of these paths, in whatever depth; ``*`` and ``?`` as in file names."""
    return _any("module", paths, lambda node, path: any(fnmatchcase(outer, path) for outer in outward(node.module)))


def op(*operations: str) -> Selector:
    """Select the results of operations, as ``node.op`` names them: ``relu``, ``conv*``."""
    return _any("op", operations, lambda node, operation: fnmatchcase(node.op, operation))


def name(*names: str) -> Selector:
    """Select nodes by name: ``features.3``, ``relu_*``."""
    return _any("name", names, lambda node, wanted: node.name == wanted or fnmatchcase(node.name, wanted))


def where(test: Callable[[Node], bool]) -> Selector:
    """Select by a function of the node, which knows its shape, dtype, memory and parents, and not yet its value."""
    return Selector(test, f"where({getattr(test, '__name__', test)})")


everything = Selector(lambda _: True, "everything")
nothing = Selector(lambda _: False, "nothing")


def _any(kind: str, patterns: tuple[str, ...], fits: Callable[[Node, str], bool]) -> Selector:
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise InputError(f"select.{kind} is given {patterns!r}", remedy="give at least one name or pattern")
    text = f"{kind}({', '.join(map(repr, patterns))})"
    return Selector(lambda node: any(fits(node, pattern) for pattern in patterns), text)


def outward(path: str) -> list[str]:
    """Return a module's path and those of the modules around it."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
