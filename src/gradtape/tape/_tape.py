"""The tape: a recorded graph of intermediate results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from gradtape.errors import InputError, TapeError
from gradtape.tape import _invert, _json, _steer, _walk
from gradtape.tape._backward import send_back
from gradtape.tape._node import Node
from gradtape.tape._recorder import Recorder
from gradtape.tape._replay import downstream, rerun, run_again
from gradtape.tape._verify import Verification, verify
from gradtape.transforms import Transform

Edit = Tensor | Callable[[Tensor], Tensor]


class Tape:
    """A recorded graph of intermediate results, in the order in which they were computed.

    Use it as a context that records whatever runs inside, or let ``record`` make one for a model.

    Attributes:
        nodes: All nodes, in the order of computation.
        output: What the recorded computation returned; with the context form, the last node's value.

    Examples:
        >>> x = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> with Tape() as tape:
        ...     y = (x * 3).relu().sum()
        >>> [node.name for node in tape.walk("forward")]
        ['input', 'mul_1', 'relu_1', 'sum_1']
        >>> tape.backward(y)
        >>> tape["mul_1"].grad
        tensor([1., 0.])
        >>> tape.replay({"mul_1": torch.tensor([5.0, 6.0])}).output
        tensor(11., grad_fn=<SumBackward0>)
    """

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._output: Any = None
        self._has_output = False
        self._context = ExitStack()

    def __enter__(self) -> Self:
        self._context.enter_context(self._recorder)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._context.close()
        self._recorder.settle()
        if error is not None and not hasattr(error, "tape"):
            error.tape = self  # type: ignore[attr-defined]  # the part that ran is what the user needs to see

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
        return self.nodes[-1].value

    def __repr__(self) -> str:
        names = [node.name for node in self.nodes[:6]] + ["..."] * (len(self) > 6)
        return f"Tape({len(self)} nodes: {', '.join(names)})"

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._recorder.names

    def __getitem__(self, key: str | int) -> Node:
        """Return a node by module path, by operation and ordinal, or by position.

        Raises:
            TapeError: There is no such node; the message names the closest.
        """
        if isinstance(key, int):
            if not -len(self.nodes) <= key < len(self.nodes):
                raise TapeError(f"no node {key} on a tape of {len(self.nodes)}", remedy="use a position inside it")
            return self.nodes[key]
        try:
            return self._recorder.names[key]
        except KeyError:
            close = get_close_matches(key, self._recorder.names, n=3) or list(self._recorder.names)[:10]
            raise TapeError(f"no node {key!r} on this tape", remedy=f"use one of {', '.join(close)}, ...") from None

    def walk(self, direction: Literal["forward", "backward"] = "forward") -> Iterator[Node]:
        """Yield every node in topological order: ``forward`` parents first, ``backward`` children first."""
        if direction not in ("forward", "backward"):
            raise InputError(f"direction is {direction!r}", remedy="walk 'forward' or 'backward'")
        return iter(self.nodes) if direction == "forward" else reversed(self.nodes)

    def ancestors(self, node: str | int) -> list[Node]:
        """Return what a node was computed from, however far back, in the order of computation."""
        return _walk.ancestors(self[node])

    def descendants(self, node: str | int) -> list[Node]:
        """Return what was computed from a node, however far on, in the order of computation."""
        return _walk.descendants(self[node])

    def between(self, start: str | int, end: str | int) -> list[Node]:
        """Return the nodes on the ways from ``start`` to ``end``, both included; none where no way leads there."""
        return _walk.between(self[start], self[end])

    def to_json(self) -> str:
        """Return the graph as JSON: ``{"nodes": [...]}`` in the order of computation, without the values.

        Each node has its ``position``, ``name``, ``op``, ``module``, ``shape``, ``dtype``, size in ``bytes``, line of
        ``source``, the positions of its ``parents``, whether it is an ``output``, and the 2-norms ``value_norm`` and
        ``grad_norm`` (null where there is none; "inf" or "nan" in words).

        Examples:
            >>> import json
            >>> with Tape() as tape:
            ...     y = torch.tensor([3.0, 4.0], requires_grad=True) * 2
            >>> [(node["name"], node["parents"], node["value_norm"]) for node in json.loads(tape.to_json())["nodes"]]
            [('tensor_1', [], 5.0), ('mul_1', [0], 10.0)]
        """
        outputs = {self._position(leaf) for leaf in tree_flatten(self.output)[0]} if self.nodes else set()
        return _json.to_json(self.nodes, {position for position in outputs if position is not None})

    def verify(self) -> Verification:
        """Compute every node again from its recorded parents, and every gradient along the tape, and compare.

        Gradients are those of the output's inner product with fixed random numbers: once by autograd through its own
        graph, once from node to node along the tape. Where they differ, the tape misses a dependency, or holds a value
        that was changed behind its back. Nothing is changed, and no ``grad`` is touched.

        Returns:
            How much was compared, and what differs.

        Raises:
            TapeError: The tape is empty, its graph was freed by ``backward``, or no recorded value is in its output.

        Examples:
            >>> with Tape() as tape:
            ...     y = (torch.ones(3, requires_grad=True) * 2).exp().sum()
            >>> print(tape.verify())
            4 values and 4 gradients compared
        """
        try:
            return verify(self.nodes, self._output_positions(), rerun)
        except RuntimeError as error:
            if "second time" not in str(error):
                raise
            raise TapeError(
                "autograd's graph of this tape was freed",
                remedy="call backward with retain_graph=True, or verify first",
            ) from None

    def backward(self, loss: Tensor, *, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Send the gradient of ``loss`` back: into every node's ``grad`` and every parameter's ``grad``, added up.

        Args:
            loss: A scalar computed from the tape's values, inside the tape or after it.
            retain_graph: Keep autograd's graph for another pass.
            create_graph: Make the gradients themselves differentiable.

        Raises:
            TapeError: The loss is no scalar, or depends on nothing that was recorded.
        """
        send_back(self.nodes, list(self._recorder.leaves.values()), loss, retain_graph, create_graph)

    def replay(self, edits: Mapping[str | int, Edit]) -> Tape:
        """Run again what depends on the edited nodes, and nothing else.

        Operations run in the surroundings they were recorded in: random draws repeat (on the CPU), no-grad and autocast
        regions stay so, batch norm starts from the statistics of the recorded run, and the model's buffers are left
        alone. The model's parameters are read as they are now.

        Args:
            edits: Node -> new value, of the node's shape, or a function of the old value.

        Returns:
            A new tape of the same nodes; this one is unchanged.

        Raises:
            TapeError: No such node, a value of another shape, or a recorded overwrite through a view.
        """
        values = {self[key].position: self._edited(self[key], edit) for key, edit in edits.items()}
        run_again(self.nodes, downstream(self._recorder, values), values)
        self._output_positions()
        tape = Tape()
        tape._recorder = self._recorder.copy(values)
        tape._output = tree_map(lambda leaf: self._swapped(leaf, values), self.output)
        tape._has_output = True
        return tape

    def steer(
        self,
        node: str | int,
        objective: Callable[[Any], Tensor],
        *,
        steps: int = 30,
        lr: float = 0.1,
        through: Transform | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    ) -> _steer.Steered:
        """Move a node's value by gradients of an objective of the output.

        At each step the part of the graph below the node runs again from the moved value, and the optimizer takes
        the gradient of ``objective(output)`` with respect to that value. It descends; through ``gt.Reverse`` it climbs.

        Args:
            node: The node to move.
            objective: ``objective(output) -> scalar``; sum it over samples, and each sample moves on its own.
            steps: Number of updates, at least 1.
            lr: Step size as a share of the value's root mean square.
            through: A transformation of the gradient, or a chain of them. A schedule moves with each update; what
                you gave is left as it is. Adam divides by the gradient's own size, so one that changes only the length,
                such as ``Clip``, shows with ``optimizer=torch.optim.SGD``.
            optimizer: A torch optimizer class, called as ``optimizer([value], lr=...)``.

        Returns:
            The moved value, the path it took, the objective along it, and the output at its end.

        Raises:
            TapeError: No such node, or the output does not depend on it.
            InputError: A setting out of range, or an objective that is no scalar.
        """
        return _steer.steer(self[node].value, self._from(node), objective, steps, lr, through, optimizer)

    def invert(
        self,
        node: str | int,
        value: Tensor,
        *,
        steps: int = 60,
        lr: float = 0.05,
        smoothness: float = 0.0,
        bounds: tuple[float, float] | None = None,
        source: str | int = "input",
    ) -> _invert.Inverted:
        """Find an input that yields ``value`` at a node, starting from the recorded input.

        ``minimise over x: ‖node(x) - value‖² / ‖value - node(x₀)‖² + smoothness · TV(x)``

        Args:
            node: The node whose value is wanted; the first dimension counts samples, each inverted on its own.
            value: The wanted value, of the node's shape.
            steps: Number of Adam updates, at least 1.
            lr: Step size in units of the input.
            smoothness: Weight of the total variation of an input of shape (n, c, h, w), at least 0.
            bounds: Lowest and highest value that the input may take.
            source: The input node to find.

        Returns:
            The best input found for each sample, not the last, and what share of the way to ``value`` is missing.

        Raises:
            TapeError: No such node, or it does not depend on the input.
            InputError: A value of another shape, or a setting out of range.

        Source: Mahendran and Vedaldi, Understanding Deep Image Representations by Inverting Them, CVPR 2015.
        """
        target = self[node]
        if value.shape != target.value.shape:
            raise InputError(
                f"value has shape {tuple(value.shape)}, node {target.name!r} {target.shape}",
                remedy="give the same shape",
            )
        run = self._from(source, until=target.position)
        return _invert.invert(self[source].value, run, target.value, value, steps, lr, smoothness, bounds)

    def _from(self, key: str | int, until: int | None = None) -> Callable[[Tensor], Any]:
        """Return the function from a node's value to the output, or to the value of node ``until``."""
        start = self[key].position
        calls = downstream(self._recorder, {start}, until)
        reached = {position for call in calls for position in call.results}
        positions = self._output_positions() if until is None else {until}
        if start not in positions and not positions & reached:
            what = "the output" if until is None else f"node {self[until].name!r}"
            raise TapeError(f"{what} does not depend on node {self[key].name!r}", remedy="use a node on the way to it")

        def run(value: Tensor) -> Any:
            values = {start: value}
            run_again(self.nodes, calls, values)
            if until is not None:
                return values[until]
            return tree_map(lambda leaf: self._swapped(leaf, values), self.output)

        return run

    def _output_positions(self) -> set[int]:
        """Return the positions of the nodes that the output consists of."""
        positions = {self._position(leaf) for leaf in tree_flatten(self.output)[0]} - {None}
        if not positions:
            raise TapeError(
                f"no recorded value is found in the output, of type {type(self.output).__name__}",
                remedy="return tensors, or lists, tuples and dicts of them",
            )
        return {position for position in positions if position is not None}

    def _position(self, leaf: Any) -> int | None:
        node = self._recorder.node_of(leaf) if isinstance(leaf, Tensor) else None
        return None if node is None else node.position

    def _swapped(self, leaf: Any, values: Mapping[int, Tensor]) -> Any:
        position = self._position(leaf)
        return leaf if position is None else values.get(position, leaf)

    def _edited(self, node: Node, edit: Edit) -> Tensor:
        value = edit if isinstance(edit, Tensor) else edit(node.value)
        if value.shape != node.value.shape:
            raise TapeError(
                f"the new value of node {node.name!r} has shape {tuple(value.shape)}, the node {node.shape}",
                remedy="give a value of the node's shape",
            )
        if torch.is_grad_enabled() and node.value.requires_grad and not value.requires_grad:
            value = value.detach().requires_grad_()
        return value
