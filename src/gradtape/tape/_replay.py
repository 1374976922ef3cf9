"""Running recorded operations again."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from gradtape.errors import TapeError
from gradtape.tape._node import Call, Node, Ref
from gradtape.tape._recorder import Recorder
from gradtape.tape._surroundings import autocast_region, set_states, warn
from gradtape.tape._trees import tensors_in


def downstream(recorder: Recorder, start: Container[int], ends: Container[int] | None = None) -> set[int]:
    """Return the positions of the nodes that depend on those at ``start`` and, where given, lead to ``ends``."""
    overwritten = recorder.overwritten()
    if overwritten is not None:
        name = overwritten.name.removesuffix(":overwritten")
        raise TapeError(
            f"node {name!r} was overwritten in place through a view or another name of its memory",
            remedy="write that line without the in-place operation to replay, steer or invert",
        )
    moved: set[int] = set()
    for node in recorder.nodes:
        fed = any(parent.position in start or parent.position in moved for parent in node.parents)
        if fed and node.position not in start and node.op != "edit":
            moved.add(node.position)
    if ends is None:
        return moved
    leading: set[int] = set()
    for node in reversed(recorder.nodes):
        if node.position in ends or node.position in leading:
            leading.update((node.position, *(parent.position for parent in node.parents)))
    return moved & leading


def making(nodes: list[Node], wanted: Iterable[int]) -> list[Call]:
    """Return the calls, in order, that make the nodes at positions ``wanted``."""
    calls: dict[int, Call] = {}
    for node in (nodes[position] for position in sorted(wanted)):
        if node.call is None:
            by = "while recording was stopped" if node.op == "unrecorded" else f"by {node.op}, no function of torch's"
            raise TapeError(
                f"node {node.name!r} was made {by}, and cannot be run again",
                remedy="replay, steer or invert behind it, or record it as torch's own functions",
            )
        calls[id(node.call)] = node.call
    return list(calls.values())


def filled(nodes: list[Node], wanted: Iterable[int]) -> dict[int, Tensor]:
    """Compute again those of the nodes at positions ``wanted`` whose values were not kept, and what they need."""
    lost: set[int] = set()
    pending = set(wanted)
    while pending:
        node = nodes[pending.pop()]
        if not node.kept and node.position not in lost:
            lost.add(node.position)
            pending.update(parent.position for parent in node.parents)
    made: dict[int, Tensor] = {}
    run_again(nodes, making(nodes, lost), made)
    return made


def run_again(nodes: list[Node], calls: Iterable[Call], values: dict[int, Tensor]) -> None:
    """Run calls again, taking values from ``values`` first and adding results that are not in it."""
    for call in calls:
        output = rerun(call, [argument_value(argument, nodes, values) for argument in call.arguments])
        for position, result in zip(call.results, tensors_in(output), strict=True):
            held = nodes[position].held
            if held is not None and result.requires_grad:
                for hook in (held._backward_hooks or {}).values():  # the user's, on the tensor
                    result.register_hook(hook)
            values.setdefault(position, result)


def rerun(call: Call, arguments: list[Any]) -> Any:
    """Run one operation in the surroundings that it was recorded in."""
    if call.in_place:
        arguments = [_copied(argument) for argument in arguments]
    args, kwargs = call.given(arguments)
    with ExitStack() as ambient:
        if not call.with_grad:
            ambient.enter_context(torch.no_grad())
        around = autocast_region()
        if around is not None and around != call.autocast:
            ambient.enter_context(torch.autocast(around[0], enabled=False))
        if call.autocast is not None:
            ambient.enter_context(torch.autocast(*call.autocast))
        ambient.callback(set_states, set_states(call.draws))
        return call.function(*args, **kwargs)


def warn_of_escapes(escapes: Iterable[Call], nodes: list[Node], values: Mapping[int, Tensor]) -> None:
    """Warn where Python read elements or sizes which are others now: a branch may have been taken because of them."""
    as_recorded = "what followed from them, such as a branch, is as recorded"
    for call in escapes:
        changed = [position for position in call.reads() if position in values]
        if not changed:
            continue
        known = {**filled(nodes, set(call.reads()) - values.keys()), **values}
        now = rerun(call, [argument_value(argument, nodes, known) for argument in call.arguments])
        if not torch.equal(torch.as_tensor(now), torch.as_tensor(call.read)):
            told = f"{call.read} before, {now} now" if isinstance(now, int | float) else "others now"
            warn(
                f"Python read the elements of node {nodes[changed[0]].name!r} ({call.function.__name__}), which differ "
                f"in the replay ({told}): {as_recorded}"
            )
    for node in (nodes[position] for position in sorted(values)):
        shape = tuple(values[node.position].shape) if -1 not in node.shape else node.shape
        if shape != node.shape:
            warn(f"node {node.name!r} has shape {shape} in the replay and had {node.shape}: {as_recorded}")
            return


def argument_value(argument: Any, nodes: list[Node], values: Mapping[int, Tensor]) -> Any:
    """Return the value that stands in a call's arguments."""
    if not isinstance(argument, Ref):
        return argument
    return values[argument.position] if argument.position in values else nodes[argument.position].value


def _copied(argument: Any) -> Any:
    return argument.clone() if isinstance(argument, Tensor) else argument
