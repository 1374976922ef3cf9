"""The tape: a recorded graph of intermediate results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from gradtape import seeding
from gradtape.errors import InputError, TapeError
from gradtape.tape import _compare, _invert, _steer
from gradtape.tape._backward import send_back
from gradtape.tape._graph import Graph, Key, between
from gradtape.tape._naming import Models
from gradtape.tape._node import Node
from gradtape.tape._recorder import Halted, Recorder
from gradtape.tape._replay import downstream, filled, making, run_again, warn_of_escapes
from gradtape.tape._surroundings import eager, warn
from gradtape.tape._trees import tensors_in, with_tensors
from gradtape.tape._verify import Verification, verify
from gradtape.tape.select import Selector, everything, nothing
from gradtape.transforms import Transform

Edit = Tensor | Callable[[Tensor], Tensor]


class Tape(Graph):
    """A recorded graph of intermediate results, in the order in which they were computed.

    Use it as a context that records whatever runs inside, in this thread; or let ``record`` make one for a model. A
    tape inside another one records for both.

    Args:
        model: A module, whose submodules' paths name the nodes, or several by name: ``{"generator": g, "critic": c}``.
        keep: Which nodes' values and gradients to keep, beside those of inputs. Of the others the tape knows shape,
            type and edges, and computes a value again where a replay needs it.
        persistent: Keep autograd's graph after ``backward``, for any number of passes.
        halt: Name or position of the node at which to stop the computation; its value is the output.

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

    def __init__(
        self,
        model: Models | None = None,
        *,
        keep: Selector = everything,
        persistent: bool = False,
        halt: str | int | None = None,
    ) -> None:
        if not isinstance(keep, Selector):
            raise InputError(f"keep is {keep!r}", remedy="give a selector, such as gt.select.op('relu')")
        self._recorder = Recorder(keep, halt)
        self._model = model
        self._title = type(model).__name__ if isinstance(model, nn.Module) else "tape"
        self._keep = keep
        self._persistent = persistent
        self._halt = halt
        self._output: Any = None
        self._has_output = False
        self._context: ExitStack | None = None

    def __enter__(self) -> Self:
        if self._context is not None:
            raise TapeError("the tape is recording already", remedy="make another one: gt.Tape()")
        with ExitStack() as context:
            context.enter_context(eager)
            if self._model is not None:
                context.enter_context(self._recorder.naming(self._model))
            context.enter_context(self._recorder)
            self._context = context.pop_all()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if self._context is not None:
            self._context.close()
            self._context = None
        self._recorder.settle(self._output)
        if isinstance(error, Halted) and self._recorder.halted is not None:
            self._set_output(self._recorder.halted)
            return True
        if error is None and self._halt is not None:
            error = (
                self._no_node(self._halt)
                if isinstance(self._halt, str)
                else TapeError(
                    f"the computation has {len(self)} nodes and halt is {self._halt}", remedy="use a position inside it"
                )
            )
            error.tape = self  # type: ignore[attr-defined]
            raise error
        if error is not None and not hasattr(error, "tape"):
            error.tape = self  # type: ignore[attr-defined]  # the part that ran is what the user needs to see
        made = [node for node in self.nodes if node.op != "input"]
        if error is None and made and self._keep is not nothing and not any(node.kept for node in made):
            warn(f"keep={self._keep} selects none of {len(made)} nodes")
        return False

    def stop_recording(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is recorded, for what is no part of the computation.

        Autograd goes on: a value made inside and used after it becomes a node of unknown making.
        """
        return self._recorder.pausing()

    def watch(self, tensor: Tensor, name: str = "input") -> Node:
        """Take a gradient for a tensor that asks for none, as ``tf.GradientTape.watch`` does, until recording ends.

        Args:
            tensor: A tensor of floating-point or complex numbers, before it is used.
            name: Name for its node.

        Returns:
            Its node, whose ``grad`` the next ``backward`` fills.

        Raises:
            TapeError: The tape is not recording.
            InputError: A tensor of whole numbers or booleans has no gradient.

        Examples:
            >>> x = torch.tensor(3.0)
            >>> with Tape() as tape:
            ...     node = tape.watch(x)
            ...     y = x * x
            >>> tape.backward(y)
            >>> node.grad, x.requires_grad
            (tensor(6.), False)
        """
        if self._context is None:
            raise TapeError("watch is called on a tape that is not recording", remedy="call it inside `with tape:`")
        with self._recorder.pausing():
            if not (tensor.is_floating_point() or tensor.is_complex()):
                raise InputError(f"a tensor of type {tensor.dtype} has no gradient", remedy="watch floating-point ones")
            if not tensor.requires_grad:
                tensor.requires_grad_()
                self._context.callback(_unwatch, tensor)
            return self._recorder.add_input(tensor, name)

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

    def choose(self, among: Selector = everything, *, seed: int = 0) -> Node:
        """Return a random node to steer: one with a gradient, on a way from an input to the output, itself excluded.

        Raises:
            TapeError: There is none.

        Examples:
            >>> import gradtape as gt
            >>> with gt.Tape() as tape:
            ...     y = torch.ones(2, requires_grad=True).exp().relu().sum()
            >>> tape.choose(gt.select.op("relu", "exp"), seed=1)
            Node('exp_1', op='exp', shape=(2,))
        """
        ends = self._outputs()
        starts = [node for node in self.nodes if node.op == "input"] or [
            node for node in self.nodes if not node.parents
        ]
        ways = between(starts, [self.nodes[end] for end in ends])
        able = [node for node in ways if node.edge is not None and node.position not in ends and among(node)]
        order: list[int] = torch.randperm(len(able), generator=seeding.generator(seed, "node")).tolist()
        for node in (able[index] for index in order):
            try:
                making(self.nodes, downstream(self._recorder, {node.position}, ends))
            except TapeError:
                continue
            return node
        raise TapeError(f"none of {len(self)} nodes can be steered", remedy="select more, or record with gradients on")

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
        return verify(self.nodes, self._outputs())

    def backward(self, loss: Tensor, *, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Send the gradient of ``loss`` back: into every kept node's ``grad`` and every parameter's ``grad``, added up.

        To the parameters it is ``loss.backward()``, their hooks included.

        Args:
            loss: A scalar computed from the tape's values, inside the tape or after it.
            retain_graph: Keep autograd's graph for another pass; a persistent tape always does.
            create_graph: Make the gradients themselves differentiable.

        Raises:
            TapeError: The loss is no scalar or has no gradient, or the graph was freed by an earlier pass.
        """
        with self._recorder.pausing():
            send_back(self.nodes, loss, retain_graph or self._persistent, create_graph)

    def replay(self, edits: Mapping[Key, Edit]) -> Tape:
        """Run again what depends on the edited nodes, and nothing else but what it needs and the tape did not keep.

        Operations run in the surroundings they were recorded in: random draws repeat, no-grad and autocast regions
        stay so, batch norm starts from the statistics of the recorded run, and the model's buffers are left alone. The
        model's parameters are read as they are now. Python that read elements of a value, as an ``if`` does, is not
        run again: a warning says so where it would have read others.

        Args:
            edits: Node -> new value, of the node's shape, or a function of the old value.

        Returns:
            A new tape of the same nodes; this one is unchanged.

        Raises:
            TapeError: No such node, a value of another shape, or a recorded overwrite through a view.
        """
        start = {self[key].position: self._edited(self[key], edit) for key, edit in edits.items()}
        self._outputs()
        values = self._runner(start, downstream(self._recorder, start))(start)
        warn_of_escapes(self._recorder.escapes, self.nodes, values)
        tape = Tape(persistent=self._persistent)
        tape._recorder = self._recorder.copy(values)
        tape._set_output(with_tensors(lambda leaf: self._swapped(leaf, values), self.output))
        return tape

    def compare(self, other: Tape) -> _compare.Comparison:
        """Compare the values of two tapes, node by node of the same name: a fork with its origin, two runs of a model.

        Examples:
            >>> with Tape() as tape:
            ...     y = (torch.ones(2) * 2).exp().sum()
            >>> print(tape.compare(tape.replay({"mul_1": torch.zeros(2)})))
            3 nodes differ, 1 are the same, 0 have no match
            mul_1: off by 1 of its size
            exp_1: off by 0.86 of its size
            sum_1: off by 0.86 of its size
        """
        return _compare.compare(self.nodes, other.nodes)

    def steer(
        self,
        node: Key,
        objective: Callable[[Any], Tensor],
        *,
        steps: int = 30,
        lr: float = 0.1,
        through: Transform | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        at: Key | None = None,
    ) -> _steer.Steered:
        """Move a node's value by gradients of an objective of the output, or of the value at another node.

        At each step the part of the graph below the node runs again from the moved value, and the optimizer takes
        the gradient of ``objective(output)`` with respect to that value. It descends; through ``gt.Reverse`` it climbs.

        Args:
            node: The node to move.
            objective: ``objective(output) -> scalar``, or one number for each of the node's n samples, shape (n,): then
                their sum descends, and each sample moves on its own.
            steps: Number of updates, at least 1.
            lr: Step size as a share of the value's root mean square.
            through: A transformation of the gradient, or a chain of them. A schedule moves with each update; what
                you gave is left as it is. Adam divides by the gradient's own size, so one that changes only the length,
                such as ``Clip``, shows with ``optimizer=torch.optim.SGD``.
            optimizer: A torch optimizer class, called as ``optimizer([value], lr=...)`` and stepped with a closure.
            at: A node whose value the objective is given in place of the output.

        Returns:
            The moved value, the path it took, the objective along it, and what the objective was given at its end.

        Raises:
            TapeError: No such node, the output does not depend on it, or no gradient comes back to it.
            InputError: A setting out of range, or an objective of another shape or not finite; it names the step.
        """
        start, end = self._with_value(node), None if at is None else self[at]
        run = self._from(start, end)

        def given(value: Tensor) -> Any:
            values = run(value)
            if end is not None:
                return values[end.position]
            return with_tensors(lambda leaf: self._swapped(leaf, values), self.output)

        return _steer.steer(start, given, objective, steps, lr, through, optimizer)

    def invert(
        self,
        node: Key,
        wanted: Tensor | Callable[[Tensor], Tensor],
        *,
        source: Key = "input",
        steps: int = 60,
        lr: float = 0.05,
        parameterisation: Literal["pixels", "fourier"] = "pixels",
        jitter: int = 0,
        smoothness: float = 0.0,
        statistics: float = 0.0,
        bounds: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> _invert.Inverted:
        """Find an input that yields what is wanted at a node, starting from the recorded input x₀.

        ``minimise over x: D(node(x)) + smoothness · TV(x) + statistics · S(x)``, where D is ``wanted`` itself, or the
        distance ``‖node(x) - wanted‖² / ‖node(x₀) - wanted‖²``, TV the mean absolute difference of neighbouring pixels,
        down plus across, and S how strange the batch is to the batch norms on the way:
        ``S = mean over layers and channels of (μ - m)² / (v + ε) + ((σ² - v) / (v + ε))²``,
        with the mean μ and variance σ² of what comes in, over batch and space, and the running m and v.

        Args:
            node: The node at which something is wanted.
            wanted: A value of the node's shape; or an objective of the node's value, which returns a scalar or one
                number per sample: ``lambda value: -value[:, 3].mean((1, 2))`` looks for what channel 3 responds to.
            source: The node to find a value of: an input, or any other before ``node``, such as embeddings.
            steps: Number of Adam updates, at least 1.
            lr: Step size in units of the input.
            parameterisation: What the updates move: the ``pixels``, or the ``fourier`` coefficients of images
                (n, c, h, w), weighted by 1 / frequency, which gives smoother images.
            jitter: Each gradient is taken with the images shifted, around the edges, by a random number of pixels from
                -jitter to jitter, down and across.
            smoothness: Weight of TV, for images (n, c, h, w).
            statistics: Weight of S.
            bounds: Lowest and highest value that the input may take; it is brought back into them after each update.
            seed: Of the shifts.

        Returns:
            The best input, not the last, and what it leaves missing. Each sample has its own best, unless samples
            depend on one another: by a scalar objective, ``statistics`` or batch norm in training mode.

        Raises:
            TapeError: No such node, it does not depend on the source, or no gradient comes back.
            InputError: A value or an objective of another shape, a setting out of range, no finite start.

        Sources: Mahendran and Vedaldi, Understanding Deep Image Representations by Inverting Them, CVPR 2015; Olah,
        Mordvintsev and Schubert, Feature Visualization, Distill 2017 (fourier, jitter); Yin et al., Dreaming to Distill
        via DeepInversion, CVPR 2020 (statistics).
        """
        how = _invert.Inversion(steps, lr, parameterisation, jitter, smoothness, statistics, bounds, seed)
        start, end = self._with_value(source), self._with_value(node)
        run = self._from(start, end)
        way = [{start.position: start, end.position: end}.get(node.position, node) for node in self.between(start, end)]
        return how.find(way, run, wanted)

    def _from(self, start: Node, end: Node | None) -> Callable[[Tensor], dict[int, Tensor]]:
        """Return the function from a node's value to the values by position, run again up to ``end`` or the output."""
        ends = set(self._outputs()) if end is None else {end.position}
        moved = downstream(self._recorder, {start.position}, ends)
        if not ends & {start.position, *moved}:
            what = "the output" if end is None else f"node {end.name!r}"
            raise TapeError(f"{what} does not depend on node {start.name!r}", remedy="use a node on the way to it")
        onward = self._runner({start.position}, moved)
        kept = {node.position: node.held for node in self.nodes if node.held is not None}
        return lambda value: kept | onward({start.position: value})

    def _runner(self, start: Collection[int], moved: set[int]) -> Callable[[Mapping[int, Tensor]], dict[int, Tensor]]:
        """Return the function from values at ``start`` to these and those at ``moved``, which depend on them."""
        calls = making(self.nodes, moved)
        given = filled(self.nodes, {read for call in calls for read in call.reads()} - moved - set(start))

        def run(values: Mapping[int, Tensor]) -> dict[int, Tensor]:
            values = {**given, **values}
            run_again(self.nodes, calls, values)
            return {position: value for position, value in values.items() if position not in given}

        return run

    def _with_value(self, key: Key) -> Node:
        """Return a node with its value, computed again where it was not kept."""
        node = self[key]
        return node if node.kept else replace(node, held=filled(self.nodes, {node.position})[node.position], later=[])

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

    def _swapped(self, leaf: Tensor, values: Mapping[int, Tensor]) -> Tensor:
        node = self._recorder.node_of(leaf)
        return leaf if node is None else values.get(node.position, leaf)

    def _edited(self, node: Node, edit: Edit) -> Tensor:
        value = edit if isinstance(edit, Tensor) else edit(self._with_value(node).value)
        if value.shape != node.shape:
            raise TapeError(
                f"the new value of node {node.name!r} has shape {tuple(value.shape)}, the node {node.shape}",
                remedy="give a value of the node's shape",
            )
        if torch.is_grad_enabled() and node.edge is not None and not value.requires_grad:
            value = value.detach().requires_grad_()
        return value


def _unwatch(tensor: Tensor) -> None:
    if tensor.is_leaf:
        tensor.requires_grad_(False)
