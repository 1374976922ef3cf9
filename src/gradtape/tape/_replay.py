"""Running recorded operations again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from gradtape.errors import TapeError
from gradtape.tape._node import Call, Node, Ref
from gradtape.tape._recorder import Recorder


def downstream(recorder: Recorder, positions: Iterable[int], until: int | None = None) -> list[Call]:
    """Return the calls that depend on the nodes at ``positions``, in order, up to the one that makes ``until``."""
    overwritten = recorder.overwritten()
    if overwritten is not None:
        name = overwritten.name.removesuffix(":overwritten")
        raise TapeError(
            f"node {name!r} was overwritten in place through a view or another name of its memory",
            remedy="write that line without the in-place operation to replay, steer or invert",
        )
    dirty = set(positions)
    calls: dict[int, Call] = {}
    for node in recorder.nodes[: None if until is None else until + 1]:
        call = node.call
        if node.position in dirty:
            continue
        if call is not None and any(read in dirty for read in call.reads()):
            calls[id(call)] = call
            dirty.update(call.results)
        elif call is None and any(parent.position in dirty for parent in node.parents):
            raise TapeError(
                f"node {node.name!r} was made by {node.op}, no function of torch's, and cannot be run again",
                remedy="replay, steer or invert behind it, or write it with torch's own functions",
            )
    return list(calls.values())


def run_again(nodes: Sequence[Node], calls: Iterable[Call], values: dict[int, Tensor]) -> None:
    """Run calls again, taking values from ``values`` first and adding results that are not in it."""
    for call in calls:
        output = rerun(call, [_argument(argument, nodes, values) for argument in call.arguments])
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        for position, result in zip(call.results, results, strict=True):
            values.setdefault(position, result)


def rerun(call: Call, arguments: list[Any]) -> Any:
    """Run one operation in the surroundings that it was recorded in."""
    if call.in_place:
        arguments = [_copied(argument) for argument in arguments]
    args, kwargs = call.rebuild(arguments)
    with ExitStack() as ambient:
        if not call.with_grad:
            ambient.enter_context(torch.no_grad())
        if call.autocast is not None:
            ambient.enter_context(torch.autocast(*call.autocast))
        if call.random_state is not None:
            ambient.enter_context(torch.random.fork_rng())
            torch.set_rng_state(call.random_state)
        return call.function(*args, **kwargs)


def _argument(argument: Any, nodes: Sequence[Node], values: Mapping[int, Tensor]) -> Any:
    if isinstance(argument, Ref):
        return values.get(argument.position, nodes[argument.position].value)
    return argument


def _copied(argument: Any) -> Any:
    return argument.clone() if isinstance(argument, Tensor) and not isinstance(argument, nn.Parameter) else argument
