"""Running a tape again: with edits, towards an objective, back to an input."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from copy import copy
from typing import Any, Literal, Self

import torch
from torch import Tensor

from gradtape import seeding
from gradtape.errors import InputError, TapeError
from gradtape.tape import _compare, _invert, _steer
from gradtape.tape._graph import Graph, Key, between
from gradtape.tape._memory import laid_out, layout_of
from gradtape.tape._node import Node
from gradtape.tape._replay import downstream, filled, making, run_again, warn_of_escapes
from gradtape.tape._trees import with_tensors
from gradtape.tape.select import Selector, everything
from gradtape.transforms import Transform

Edit = Tensor | Callable[[Tensor], Tensor]


class Rerun(Graph):
    """What a tape does by running parts of its graph again."""

    _context: ExitStack | None = None  # while it records

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
        if not isinstance(among, Selector):
            raise InputError(f"among is {among!r}", remedy="give a selector, such as gt.select.op('relu')")
        ends = self._outputs()
        starts = [node for node in self.nodes if node.op == "input"] or [
            node for node in self.nodes if not node.parents
        ]
        ways = between(starts, [self.nodes[end] for end in ends])
        live = {end for end in ends if self.nodes[end].learns}  # from where gradients come
        for node in reversed(self.nodes):
            if node.position in live:
                live.update(parent.position for parent in node.parents if parent.learns)
        able = [node for node in ways if node.position in live and node.position not in ends and among(node)]
        order: list[int] = torch.randperm(len(able), generator=seeding.generator(seed, "node")).tolist()
        for node in (able[index] for index in order):
            try:
                making(self.nodes, downstream(self._recorder, {node.position}, ends))
            except TapeError:
                continue
            return node
        raise TapeError(f"none of {len(self)} nodes can be steered", remedy="select more, or record with gradients on")

    def replay(self, edits: Mapping[Key, Edit]) -> Self:
        """Run again what depends on the edited nodes, and nothing else but what it needs and the tape did not keep.

        Operations run in the surroundings they were recorded in: random draws repeat, no-grad and autocast regions
        stay so, batch norm starts from the statistics of the recorded run, and the model's buffers are left alone. The
        model's parameters are read as they are now. Python that read elements of a value, as an ``if`` does, is not
        run again: a warning says so where it would have read others.

        Args:
            edits: Node -> new value, of the node's shape, or a function of the old value.

        Returns:
            A new tape of the same nodes; this one is unchanged. On the new one, an edited node comes from outside: what
            is replayed there leaves it as it is.

        Raises:
            TapeError: No such node, a value of another shape, or a recorded overwrite through a view.
        """
        start = {self[key].position: self._edited(self[key], edit) for key, edit in edits.items()}
        self._outputs()
        values = self._runner(start, downstream(self._recorder, start))(start)
        warn_of_escapes(self._recorder.escapes, self.nodes, values)
        fork = copy(self)
        fork._recorder, fork._context = self._recorder.copy(values, start), None
        fork._set_output(self._output_with(values))
        return fork

    def compare(self, other: Graph) -> _compare.Comparison:
        """Compare the values of two tapes, node by node of the same name: a fork with its origin, two runs of a model.

        Examples:
            >>> import gradtape as gt
            >>> with gt.Tape() as tape:
            ...     y = (torch.ones(2) * 2).exp().sum()
            >>> print(tape.compare(tape.replay({"mul_1": torch.zeros(2)})))
            3 nodes differ, 1 are the same, 0 have no match
            mul_1: off by 1 of its size
            exp_1: off by 0.86 of its size
            sum_1: off by 0.86 of its size
        """
        if not isinstance(other, Graph):
            raise InputError(f"cannot compare with a {type(other).__name__}", remedy="give another tape")
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
            return self._output_with(values)

        steered = _steer.steer(start, given, objective, steps, lr, through, optimizer)
        self._warn(start, end, steered.value)
        return steered

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
        found = how.find(way, run, wanted)
        self._warn(start, end, found.input)
        return found

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

    def _warn(self, start: Node, end: Node | None, value: Tensor) -> None:
        """Warn where Python would have read other elements on the way from a new value."""
        if not self._recorder.escapes:
            return
        moved = downstream(self._recorder, {start.position})
        seen = {at for at in moved if end is None or at <= end.position}
        with torch.no_grad(), suppress(TapeError):  # of what lies aside and cannot be run again nothing is known
            values = self._runner({start.position}, seen)({start.position: value})
            warn_of_escapes(self._recorder.escapes, self.nodes, values)

    def _runner(self, start: Collection[int], moved: set[int]) -> Callable[[Mapping[int, Tensor]], dict[int, Tensor]]:
        """Return the function from values at ``start`` to these and those at ``moved``, which depend on them."""
        calls = making(self.nodes, moved)
        given = filled(self.nodes, {read for call in calls for read in call.reads()} - moved - set(start))

        def run(values: Mapping[int, Tensor]) -> dict[int, Tensor]:
            values = {**given, **values}
            run_again(self.nodes, calls, values)
            return {position: value for position, value in values.items() if position not in given}

        return run

    def _output_with(self, values: Mapping[int, Tensor]) -> Any:
        """Return the output with other values at some positions."""

        def swapped(leaf: Tensor) -> Tensor:
            node = self._recorder.node_of(leaf)
            return leaf if node is None else values.get(node.position, leaf)

        return with_tensors(swapped, self.output)

    def _edited(self, node: Node, edit: Edit) -> Tensor:
        value = edit(self._with_value(node).value.clone()) if callable(edit) else edit
        if not isinstance(value, Tensor):
            raise TapeError(f"the new value of node {node.name!r} is a {type(value).__name__}", remedy="give a tensor")
        if value.shape != self[node].shape or value.dtype != node.dtype:
            raise TapeError(
                f"the new value of node {node.name!r} has shape {tuple(value.shape)} and type {value.dtype}, "
                f"the node {node.shape} and {node.dtype}",
                remedy="give a value of the node's shape and type",
            )
        if node.held is not None and value.layout == torch.strided:  # random draws follow the order in memory
            value = laid_out(value, layout_of(node.held))
        if torch.is_grad_enabled() and node.learns and not value.requires_grad:
            value = value.detach().requires_grad_()
        return value
