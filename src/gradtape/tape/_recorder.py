"""Turning what runs into nodes: a torch function mode sees the operations, hooks tell the modules' names."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from gradtape.tape._memory import Layout, layout_of, memory_of, overlaid, overlaid_unseen
from gradtape.tape._node import Call, Node, Ref

_IN_PLACE_NAMES = {"setitem", "iadd", "isub", "imul", "itruediv", "ipow", "imatmul"}
_READ_ONLY_NAMES = {"grad", "requires_grad_", "retain_grad"}
_BUFFERED = {"batch_norm", "instance_norm"}  # they update running statistics, and their name does not say so
_FAR = 1000  # steps back along autograd's graph, in search of a node
_NOT_THE_USERS = (os.path.dirname(torch.__file__), os.path.dirname(__file__))


class Recorder(TorchFunctionMode):
    """Appends a node for every tensor that an operation returns while the mode is on."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.names: dict[str, Node] = {}
        self.leaves: dict[int, Tensor] = {}
        self._positions: dict[int, int] = {}
        self._tensors: list[Tensor] = []  # the tensor of each node, kept alive so that no id is given twice
        self._versions: dict[int, int] = {}
        self._ignored: set[int] = set()
        self._counts: Counter[str] = Counter()
        self._modules = [""]
        self._writes: dict[int, list[tuple[int, Layout]]] = {}  # memory -> results of operations in place, in order
        self._by_edge: dict[tuple[int, int], Node] = {}

    def add_input(self, tensor: Tensor, name: str = "input") -> Node:
        """Append a node for a tensor that came from outside."""
        self._counts[name] += 1
        count = self._counts[name]
        return self._append(tensor, "input", name if count == 1 else f"{name}_{count}", None, ())

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return the node whose value is this very tensor, if there is one."""
        position = self._positions.get(id(tensor))
        return None if position is None else self.nodes[position]

    def overwritten(self) -> Node | None:
        """Return a node whose value was changed other than by an operation on it, as through a view of its memory."""
        for node, tensor in zip(self.nodes, self._tensors, strict=True):
            latest = self._positions[id(tensor)] == node.position
            lost = node.op == "overwritten" and node.call is None
            if lost or (latest and self._versions[id(tensor)] != _version(tensor)):
                return node
        return None

    def settle(self) -> None:
        """Take note of what was overwritten through a view and not read since."""
        for tensor in list(self._tensors):
            self._meet(tensor)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        op = _operation(func)
        flat, spec = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
        for tensor in tensors:
            self._meet(tensor)
        positions = [self._positions.get(id(leaf)) if isinstance(leaf, Tensor) else None for leaf in flat]
        arguments = [
            leaf if position is None else Ref(position) for leaf, position in zip(flat, positions, strict=True)
        ]
        if op in _BUFFERED:  # a replay starts from the statistics of this run and leaves the model's alone
            arguments = [a.clone() if isinstance(a, Tensor) and not a.requires_grad else a for a in arguments]
        in_place = op.endswith("_") or op in _IN_PLACE_NAMES or bool(kwargs.get("inplace")) or "out" in kwargs
        if in_place and op not in _READ_ONLY_NAMES:
            given = [leaf for leaf in tree_leaves(kwargs.get("out")) if isinstance(leaf, Tensor)]
            self._keep_values(given or tensors[:1])
        if op == "setitem":
            func = _set_item
        call = Call(
            func,
            arguments,
            lambda leaves: tree_unflatten(leaves, spec),
            in_place=in_place or op in _BUFFERED,
            with_grad=torch.is_grad_enabled(),
            autocast=_autocast(),
        )
        before = torch.get_rng_state()

        output = func(*args, **kwargs)

        if not torch.equal(before, torch.get_rng_state()):
            call.random_state = before
        if op not in _READ_ONLY_NAMES:
            parents = tuple(dict.fromkeys(self.nodes[position] for position in call.reads()))
            for result in tree_leaves(output):
                if isinstance(result, Tensor) and id(result) not in self._ignored:
                    self._counts[op] += 1
                    node = self._append(result, op, f"{op}_{self._counts[op]}", call, parents)
                    call.results.append(node.position)
                    if in_place and memory_of(result):
                        self._writes.setdefault(memory_of(result), []).append((node.position, layout_of(result)))
        return None if op == "setitem" else output

    @contextmanager
    def naming(self, model: nn.Module) -> Iterator[None]:
        """Name nodes by the paths of ``model``'s modules while the context lasts."""
        uses: Counter[str] = Counter()

        def enter(path: str) -> Callable[..., None]:
            return lambda _module, _args: self._modules.append(path)

        def leave(path: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                self._modules.pop()
                uses[path] += 1
                if path:
                    self._name_output(path if uses[path] == 1 else f"{path}:{uses[path]}", output)

            return hook

        self._ignored.update(id(buffer) for buffer in model.buffers())
        handles = [
            handle
            for path, module in model.named_modules()
            for handle in (
                module.register_forward_pre_hook(enter(path), prepend=True),
                module.register_forward_hook(leave(path)),
            )
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._modules = [""]

    def _name_output(self, name: str, output: Any) -> None:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        for index, tensor in enumerate(tensors):
            node = self.node_of(tensor)
            if node is not None:
                own = name if len(tensors) == 1 else f"{name}[{index}]"
                self.names[own] = node
                if node.name.startswith(f"{node.op}_"):  # the innermost module's name is the node's
                    node.name = own

    def _meet(self, tensor: Tensor) -> None:
        node = self.node_of(tensor)
        if node is None:
            if tensor.is_leaf and tensor.requires_grad:
                self.leaves[id(tensor)] = tensor
            if not isinstance(tensor, nn.Parameter) and id(tensor) not in self._ignored:
                origins = self._origins(tensor)
                if origins:
                    self._add_unseen(tensor, origins)
                else:
                    self.add_input(tensor)
        elif node.edge is None and tensor.grad_fn is not None and not node.value.is_leaf:  # it came out of a Function
            self._add_unseen(tensor, self._origins(tensor) or [node])
        elif self._versions[id(tensor)] != _version(tensor) or self._written_since(node, tensor):
            self._add_overwritten(tensor, node)

    def _written_since(self, node: Node, tensor: Tensor) -> list[tuple[int, Layout]]:
        """Return what was written into a tensor's memory under another name since its node."""
        return [
            (position, layout)
            for position, layout in self._writes.get(memory_of(tensor), ())
            if position > node.position and self._tensors[position] is not tensor
        ]

    def _add_overwritten(self, tensor: Tensor, node: Node) -> None:
        """Append what a tensor has become by operations in place on its views, or on what it is a view of."""
        written = self._written_since(node, tensor)
        layouts = [layout_of(tensor), *(layout for _, layout in written)]
        call = None
        if written and not any(layout.folded or layout.dtype != tensor.dtype for layout in layouts):
            now = _edge(tensor)
            unseen = (now and now.node) is (node.edge and node.edge.node)
            call = Call(
                partial(overlaid_unseen if unseen else overlaid, layouts),
                [Ref(node.position), *(Ref(position) for position, _ in written)],
                lambda leaves: (tuple(leaves), {}),
                in_place=False,
                with_grad=tensor.requires_grad,
                autocast=None,
            )
        parents = (node, *(self.nodes[position] for position, _ in written))
        name = node.name.removesuffix(":overwritten") + ":overwritten"
        appended = self._append(tensor, "overwritten", name, call, parents)
        if call is not None:
            call.results.append(appended.position)

    def _add_unseen(self, tensor: Tensor, origins: list[Node]) -> None:
        """Append the result of something that no torch function came by, such as a custom autograd Function."""
        op = type(tensor.grad_fn).__name__.removesuffix("Backward")
        self._counts[op] += 1
        self._append(tensor, op, f"{op}_{self._counts[op]}", None, tuple(origins))

    def _origins(self, tensor: Tensor) -> list[Node]:
        """Return the nodes that autograd says an unknown tensor was computed from."""
        pending = [] if tensor.grad_fn is None else [tensor.grad_fn]
        seen, found = set(pending), {}
        while pending and len(seen) < _FAR:
            for following, number in pending.pop().next_functions:
                known = self._by_edge.get((id(following), number))
                if known is not None:
                    found[known.position] = known
                elif following is not None and following not in seen:
                    seen.add(following)
                    pending.append(following)
        return [found[position] for position in sorted(found)]

    def _append(self, value: Tensor, op: str, name: str, call: Call | None, parents: tuple[Node, ...]) -> Node:
        edge = _edge(value)
        position = len(self.nodes)
        node = Node(name, position, op, self._modules[-1], value, _user_line(), parents, call=call, edge=edge)
        self._enter(node, value)
        self.names[name] = node
        return node

    def _enter(self, node: Node, tensor: Tensor) -> None:
        for parent in node.parents:
            parent.children.append(node)
        self.nodes.append(node)
        self._tensors.append(tensor)
        self._positions[id(tensor)] = node.position
        self._versions[id(tensor)] = _version(tensor)
        if node.edge is not None:
            self._by_edge[id(node.edge.node), node.edge.output_nr] = node

    def copy(self, values: Mapping[int, Tensor]) -> Recorder:
        """Return a recorder of the same graph with other values at some positions."""
        twin = Recorder()
        for node, tensor in zip(self.nodes, self._tensors, strict=True):
            new = values.get(node.position)
            edge = node.edge if new is None else _edge(new)
            parents = tuple(twin.nodes[parent.position] for parent in node.parents)
            value = node.value if new is None else new
            fresh = replace(node, value=value, edge=edge, parents=parents, children=[], grad=None)
            twin._enter(fresh, tensor if new is None else new)
        twin.names = {name: twin.nodes[node.position] for name, node in self.names.items()}
        twin.leaves = dict(self.leaves)
        return twin

    def _keep_values(self, tensors: list[Tensor]) -> None:
        """Copy the values that an operation is about to overwrite, where a node or an earlier call holds them."""
        for tensor in tensors:
            memory = memory_of(tensor)
            for node in self.nodes:
                if memory and memory_of(node.value) == memory:
                    node.value = node.value.detach().clone()
            for call in {id(node.call): node.call for node in self.nodes if node.call is not None}.values():
                held = [argument is tensor for argument in call.arguments]
                if any(held):
                    kept = tensor.detach().clone()
                    call.arguments = [kept if hit else a for hit, a in zip(held, call.arguments, strict=True)]


def _set_item(tensor: Tensor, index: Any, value: Any) -> Tensor:
    tensor[index] = value
    return tensor


def _autocast() -> tuple[str, torch.dtype] | None:
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            return device, torch.get_autocast_dtype(device)
    return None


def _operation(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name.strip("_") if name.startswith("__") else name


def _edge(value: Tensor) -> GradientEdge | None:
    """Return where a gradient of the value arrives, if one can."""
    if not value.requires_grad:
        return None
    try:
        return get_gradient_edge(value)
    except AssertionError:  # a view of a parameter made without gradients claims to require one
        return None


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _user_line() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
