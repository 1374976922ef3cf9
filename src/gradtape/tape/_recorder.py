"""Turning what runs into nodes: a torch function mode sees the operations, hooks tell the modules' names."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from gradtape.tape._node import Call, Node, Ref

_IN_PLACE_NAMES = {"setitem", "iadd", "isub", "imul", "itruediv", "ipow", "imatmul"}
_READ_ONLY_NAMES = {"grad", "requires_grad_", "retain_grad"}
_BUFFERED = {"batch_norm", "instance_norm"}  # they update running statistics, and their name does not say so
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
            if node.op == "overwritten" or (latest and self._versions[id(tensor)] != _version(tensor)):
                return node
        return None

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
            self._keep_values(tensors[:1])
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
                self.add_input(tensor)
        elif self._versions[id(tensor)] != _version(tensor):  # overwritten through a view or another name of it
            self._append(tensor, "overwritten", f"{node.name}:overwritten", None, (node,))

    def _append(self, value: Tensor, op: str, name: str, call: Call | None, parents: tuple[Node, ...]) -> Node:
        edge = get_gradient_edge(value) if value.requires_grad else None
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

    def copy(self, values: Mapping[int, Tensor]) -> Recorder:
        """Return a recorder of the same graph with other values at some positions."""
        twin = Recorder()
        for node, tensor in zip(self.nodes, self._tensors, strict=True):
            new = values.get(node.position)
            edge = node.edge if new is None else get_gradient_edge(new) if new.requires_grad else None
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
            memory = tensor.untyped_storage().data_ptr()
            for node in self.nodes:
                if node.value.untyped_storage().data_ptr() == memory:
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


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _user_line() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
