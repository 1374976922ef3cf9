"""Turning what runs into nodes: a torch function mode that sees every operation."""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from gradtape.tape._autograd import Origins, edge_of, grad_fn_of, version_of
from gradtape.tape._memory import Memory, layout_of, memory_of, overlaid
from gradtape.tape._naming import Models, Naming
from gradtape.tape._node import Call, Node, Ref
from gradtape.tape._operations import BUFFERED, READS, SILENT, operation, overwrites, set_item
from gradtape.tape._surroundings import States, autocast_region, drawn, random_states, user_line
from gradtape.tape._trees import tensors_in
from gradtape.tape.select import Selector, everything


class Halted(BaseException):  # no error, and nothing that a model may catch
    """Ends a computation at the node where the tape is to halt."""


class _Known(weakref.ref[Tensor]):  # an id alone may be given again
    __slots__ = ("position", "version")
    position: int
    version: int


class Recorder(TorchFunctionMode):
    """Appends a node for every tensor that an operation returns while the mode is on.

    Attributes:
        nodes: The nodes in the order of computation.
        names: The nodes by all their names.
        escapes: Calls that told Python of a tensor's elements.
        keep: Which nodes hold their values.
        halt: Name or position of the node at which the computation is to halt.
        halted: The value of the node at which the computation is to halt, once it is there.
    """

    def __init__(self, keep: Selector = everything, halt: str | int | None = None) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.names: dict[str, Node] = {}
        self.escapes: list[Call] = []
        self.halted: Tensor | None = None
        self.keep = keep
        self.halt = halt
        self._paused = self._stopped = False
        self._naming: Naming | None = None
        self._buffers: dict[int, Tensor] = {}  # what the model remembers is no node, unless it takes up recorded values
        self._buffers_at: defaultdict[int, list[tuple[str, Tensor]]] = defaultdict(list)
        self._known: dict[int, _Known] = {}
        self._counts: Counter[str] = Counter()
        self._paths: set[str] = set()
        self._memory = Memory(self.nodes)
        self._origins = Origins()
        self._unrecorded: dict[int, tuple[weakref.ref[Tensor], list[Node]]] = {}
        self._lost: Node | None = None

    def add_input(self, tensor: Tensor, name: str = "input") -> Node:
        """Append a node for a tensor that came from outside."""
        self._counts[name] += 1
        count = self._counts[name]
        return self._append(tensor, "input", name if count == 1 else f"{name}_{count}", None, ())

    def _ordinal(self, op: str) -> str:
        """Return a name by operation and count that is no module's path."""
        self._counts[op] += 1
        while f"{op}_{self._counts[op]}" in self._paths:
            self._counts[op] += 1
        return f"{op}_{self._counts[op]}"

    def watch(self, tensor: Tensor, name: str) -> Node:
        """Return the node of a tensor that takes a gradient from now on, a new one of this name if it has none."""
        node = self.node_of(tensor)
        if node is None:
            return self.add_input(tensor, name)
        node.edge, node.learns = edge_of(tensor), True
        self.names.setdefault(name, node)
        return node

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return the node whose value is this very tensor, if there is one."""
        known = self._known.get(id(tensor))
        return self.nodes[known.position] if known is not None and known() is tensor else None

    def overwritten(self) -> Node | None:
        """Return a node whose value was changed other than by an operation on it, as through a view of its memory."""
        if self._lost is not None:
            return self._lost
        latest = {known.position: known for known in self._known.values()}
        for node in self.nodes:
            known = latest.get(node.position)
            tensor = None if known is None else known()
            changed = tensor is not None and known is not None and known.version != version_of(tensor)
            if changed or (node.op == "overwritten" and node.call is None):
                return node
        return None

    def settle(self, output: Any) -> None:
        """Take note of what was overwritten through a view and not read since, and of what nobody saw being made."""
        for tensor in tensors_in(output):
            self._meet(tensor)
        for known in list(self._known.values()):
            alive = known()
            if alive is not None:
                self._meet(alive)
        for node in self.nodes:
            if not node.kept:
                node.edge = None  # nothing of autograd's graph either
        self._origins = Origins()

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Record nothing while the context lasts."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Record nothing while the context lasts, and remember what came of what."""
        before, self._stopped = self._stopped, True
        try:
            with self.pausing():
                yield
        finally:
            self._stopped = before

    def _remember(self, arguments: list[Any], output: Any) -> None:
        """Remember from which nodes a value was computed that is no node."""
        origins: list[Node] = []
        for tensor in (each for each in arguments if isinstance(each, Tensor)):
            node, known = self.node_of(tensor), self._unrecorded.get(id(tensor))
            origins += [node] if node is not None else known[1] if known is not None and known[0]() is tensor else []
        for tensor in tensors_in(output):
            self._unrecorded[id(tensor)] = weakref.ref(tensor), list(dict.fromkeys(origins))

    @contextmanager
    def naming(self, models: Models) -> Iterator[None]:
        """Name nodes by the paths of modules while the context lasts."""
        self._naming = Naming(models, self._listening, self._name)
        self._paths = set(self._naming.paths())
        for name, buffer in self._naming.buffers():
            self._buffers[id(buffer)] = buffer
            if not is_lazy(buffer):
                self._buffers_at[memory_of(buffer)].append((name, buffer))
        try:
            with self._naming.following():
                yield
        finally:
            self._naming = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        op = operation(func)
        if op.startswith("requires_grad") and args[1:] and args[0].requires_grad and not args[0].is_leaf:
            return args[0]  # of an input that was given without gradient, and is recorded with one
        if op in SILENT or (op == "add_" and len(args) == 2 and self._counts_batches(*args)):
            return func(*args, **kwargs)
        if not self._listening():
            output = func(*args, **kwargs)
            if self._stopped:
                with torch._C.DisableTorchFunction():
                    self._remember(Call.flattened(args, kwargs)[0], output)
            return output
        with torch._C.DisableTorchFunction():  # a tape around this one need not see how this one is written
            call, read, states = self._begin(func, op, args, kwargs)
        output = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            self._end(call, op, read, args[0] if op == "setitem" else output, states)
        self._end_if_halted()
        return output

    def _counts_batches(self, tensor: Tensor, number: Any) -> bool:
        """Return whether a batch norm counts a batch, which is nobody's business."""
        return id(tensor) in self._buffers and type(number) is int and not self._memory.is_given(tensor)

    def is_on(self) -> bool:
        """Return whether it sees the operations of this thread."""
        return self in _get_current_function_mode_stack()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Stop seeing operations, also where modes that were entered later are still on."""
        above = []
        while (mode := _pop_mode()) is not self:
            above.append(mode)
        for mode in reversed(above):
            _push_mode(mode)

    def _end_if_halted(self) -> None:
        if self.halted is not None:
            self._paused = True  # what the model does on its way out is not recorded
            raise Halted

    def _listening(self) -> bool:
        """Return whether what runs is the user's computation, and not the tape's, a backward pass or traced."""
        traced = torch._C._functorch.peek_interpreter_stack() is not None
        return not (self._paused or traced or torch._C._current_graph_task_id() != -1)

    def _begin(
        self, func: Callable[..., Any], op: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Call, list[Tensor], States]:
        flat, form = Call.flattened(args, kwargs)
        in_place = overwrites(op, kwargs)
        overwritten = tensors_in(kwargs.get("out", args[:1])) if in_place else []
        for tensor in overwritten:
            self._take_over(tensor, flat)
            if tensor.layout == torch.strided and layout_of(tensor).folded:
                self._lost = self.node_of(tensor)  # one element of it is several
        arguments = []
        for leaf in flat:
            node = self._meet(leaf) if isinstance(leaf, Tensor) else None
            arguments.append(leaf if node is None else Ref(node.position))
            if type(leaf) is slice:
                self._read_bounds(leaf)
        if op in BUFFERED:  # a replay starts from the statistics of this run and leaves the model's alone
            arguments = [a.clone() if isinstance(a, Tensor) and not a.requires_grad else a for a in arguments]
        if overwritten and any(isinstance(a, Ref) for a in arguments):  # of a parameter, what it is before
            written = {id(tensor) for tensor in overwritten}
            arguments = [a.detach().clone() if isinstance(a, Tensor) and id(a) in written else a for a in arguments]
        self._memory.save(overwritten)
        call = Call(
            set_item if op == "setitem" else func,
            arguments,
            form,
            in_place=in_place or op in BUFFERED,
            with_grad=torch.is_grad_enabled(),
            autocast=autocast_region(),
        )
        read = [leaf for leaf, given in zip(flat, arguments, strict=True) if isinstance(given, Ref)]
        return call, read, random_states(op, flat)

    def _read_bounds(self, index: slice) -> None:
        """Take note of elements that are read as the bounds of a slice."""
        for bound in (index.start, index.stop, index.step):
            node = self._meet(bound) if isinstance(bound, Tensor) else None
            if node is not None:
                self.escapes.append(Call(Tensor.item, [Ref(node.position)], (1, ()), read=bound.item()))

    def _end(self, call: Call, op: str, read: list[Tensor], output: Any, states: States) -> None:
        call.draws = drawn(states)
        for tensor in read[:1] if op.endswith("=") else () if call.in_place else read:
            if op.endswith("=") or self._known[id(tensor)].version != version_of(tensor):
                self._lost = self.node_of(tensor)  # it was changed, and its name did not say so
        self._memory.give(call)
        parents = tuple(dict.fromkeys(self.nodes[position] for position in call.reads()))
        for result in tensors_in(output):
            if id(result) not in self._buffers and not is_lazy(result):
                node = self._append(result, op, self._ordinal(op), call, parents)
                call.results += (node.position,)
                if call.in_place and op not in BUFFERED:
                    self._memory.write(node, result)
        if op in READS and not isinstance(output, Tensor):
            call.read = output.copy() if hasattr(output, "copy") else output
            self.escapes.append(call)

    def _name(self, name: str, tensor: Tensor) -> None:
        node = self.node_of(tensor)
        if node is None or (name in self.names and self.names[name].op == "input"):  # an input keeps its name
            return
        self.names[name] = node
        if node.name.startswith(f"{node.op}_"):  # the innermost module's name is the node's
            node.name = name
            if not self.keep(node):
                node.held = None
        if not node.kept and self.keep(replace(node, name=name)):
            self._memory.hold(node, tensor)
        self._halt_at(node, name, tensor)
        self._end_if_halted()

    def _meet(self, tensor: Tensor) -> Node | None:
        """Return the node of a tensor that is about to be read, a new one if it is new or was changed unseen."""
        node = self.node_of(tensor)
        if node is None:
            if isinstance(tensor, nn.Parameter) or id(tensor) in self._buffers or is_lazy(tensor):
                return None
            unrecorded = self._unrecorded.get(id(tensor))
            if unrecorded is not None and unrecorded[0]() is tensor:
                return self._append(tensor, "unrecorded", self._ordinal("unrecorded"), None, tuple(unrecorded[1]))
            origins = self._origins.of(tensor)
            return self._add_unseen(tensor, origins) if origins else self.add_input(tensor)
        if self._known[id(tensor)].version != version_of(tensor) or self._memory.written_since(node, tensor):
            return self._add_overwritten(tensor, node)
        if node.edge is None and not node.learns and grad_fn_of(tensor) is not None:  # it came out of a Function
            return self._add_unseen(tensor, self._origins.of(tensor) or [node])
        return node

    def _take_over(self, tensor: Tensor, arguments: list[Any]) -> None:
        """Make nodes of the buffers in a tensor's memory, which is about to be overwritten with recorded values."""
        memory = memory_of(tensor)
        if memory in self._buffers_at and any(isinstance(each, Tensor) and self.node_of(each) for each in arguments):
            for name, buffer in self._buffers_at.pop(memory):
                del self._buffers[id(buffer)]
                self.add_input(buffer, name)

    def _add_overwritten(self, tensor: Tensor, node: Node) -> Node:
        """Append what a tensor has become by operations in place on its views, or on what it is a view of."""
        written = self._memory.written_since(node, tensor)
        layouts = [layout_of(tensor), *(layout for _, layout in written)]
        call = None
        if written and not any(layout.folded or layout.dtype != tensor.dtype for layout in layouts):
            seen = [self.nodes[position].learns for position, _ in written]
            call = Call(
                partial(overlaid, layouts, seen),
                [Ref(node.position), *(Ref(position) for position, _ in written)],
                (1 + len(written), ()),
                with_grad=tensor.requires_grad,
            )
        parents = (node, *(self.nodes[position] for position, _ in written))
        name = node.name.removesuffix(":overwritten") + ":overwritten"
        appended = self._append(tensor, "overwritten", name, call, parents)
        if call is not None:
            call.results = (appended.position,)
        return appended

    def _add_unseen(self, tensor: Tensor, origins: list[Node]) -> Node:
        """Append the result of something that no torch function came by, such as a custom autograd Function."""
        op = type(tensor.grad_fn).__name__.removesuffix("Backward")
        return self._append(tensor, op, self._ordinal(op), None, tuple(origins))

    def _append(self, value: Tensor, op: str, name: str, call: Call | None, parents: tuple[Node, ...]) -> Node:
        module = "" if self._naming is None else self._naming.path
        kind = (_shape(value), value.dtype)
        node = Node(name, len(self.nodes), op, module, *kind, user_line(), parents, None, call, edge_of(value))
        node.is_view, node.learns = value._is_view(), node.edge is not None
        if op == "input" or self.keep(node):  # what came from outside nobody could compute again
            self._memory.hold(node, value)
        self._enter(node, value)
        self.names[name] = node
        self._halt_at(node, name, value)
        return node

    def _halt_at(self, node: Node, name: str, value: Tensor) -> None:
        if self.halt is not None and self.halt in (name, node.position):
            self.halted = value

    def _enter(self, node: Node, tensor: Tensor | None) -> None:
        for parent in node.parents:
            parent.later.append(weakref.ref(node))
        self.nodes.append(node)
        if tensor is not None:
            known = self._known[id(tensor)] = _Known(tensor)
            known.position, known.version = node.position, version_of(tensor)
        self._origins.add(node)

    def copy(self, values: Mapping[int, Tensor], edited: Container[int]) -> Recorder:
        """Return a recorder of the same graph with other values at some positions; those of ``edited`` nodes stay."""
        twin = Recorder(self.keep)
        known = {each.position: each() for each in self._known.values()}
        for node in self.nodes:
            new = values.get(node.position)
            parents = tuple(twin.nodes[parent.position] for parent in node.parents)
            fresh = replace(node, parents=parents, later=[], grad=None)
            if new is not None:
                fresh.held, fresh.edge, fresh.shape = (new if node.kept else None), edge_of(new), _shape(new)
                fresh.learns = fresh.edge is not None
            if node.position in edited:
                fresh.held, fresh.op, fresh.call = new, "edit", None
            twin._enter(fresh, known.get(node.position) if new is None else new)
        twin.names = {name: twin.nodes[node.position] for name, node in self.names.items()}
        twin.escapes = self.escapes
        return twin


def _shape(value: Tensor) -> tuple[int, ...]:
    return (value.size(0), -1) if value.is_nested else tuple(value.shape)
