"""The tape: a recorded graph of intermediate results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self

from torch import Tensor, nn

from gradtape.errors import InputError, TapeError
from gradtape.tape._backward import send_back
from gradtape.tape._naming import Models
from gradtape.tape._node import Node
from gradtape.tape._recorder import Halted, Recorder
from gradtape.tape._rerun import Rerun
from gradtape.tape._surroundings import eager, warn
from gradtape.tape._verify import Verification, verify
from gradtape.tape.select import Selector, everything, nothing

_WATCHED = "_watched_by_tapes"  # how many tapes have turned a tensor's gradient on


class Tape(Rerun):
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
        >>> import torch
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
        models = list(model.values()) if isinstance(model, Mapping) else [] if model is None else [model]
        if not all(isinstance(each, nn.Module) for each in models):
            raise InputError(f"model is {model!r}", remedy="give a module, or several by name: {'critic': critic}")
        self._recorder = Recorder(keep, halt)
        self._model = model
        self._title = type(model).__name__ if isinstance(model, nn.Module) else "tape"
        self._persistent = persistent

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
            if not self._recorder.is_on():
                raise TapeError("the tape does not record in this thread", remedy="end it where it was begun")
            self._context.close()
            self._context = None
        self._recorder.settle(self._output)
        if self._recorder.halted is not None and (error is None or isinstance(error, Halted)):
            self._set_output(self._recorder.halted)
            return True
        error = error or self._never_reached()
        if error is not None:
            error.tape = self  # type: ignore[attr-defined]  # the part that ran is what the user needs to see
        if kind is None and error is not None:
            raise error
        made = [node for node in self.nodes if node.op != "input"]
        keep = self._recorder.keep
        if error is None and made and keep is not nothing and not any(node.kept for node in made):
            warn(f"keep={keep} selects none of {len(made)} nodes")
        return False

    def _never_reached(self) -> TapeError | None:
        """Return what to raise where the computation has ended without coming to the node at which to halt."""
        halt = self._recorder.halt
        if isinstance(halt, int):
            what = f"the computation has {len(self)} nodes and halt is {halt}"
            return TapeError(what, remedy="use a position inside it")
        return None if halt is None else self._no_node(halt)

    def stop_recording(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is recorded, for what is no part of the computation.

        Autograd goes on. A value made inside and used after it is a node, ``unrecorded``, that cannot be run again.
        """
        return self._recorder.stopping()

    def watch(self, tensor: Tensor, name: str = "input") -> Node:
        """Take a gradient for a tensor that asks for none, as ``tf.GradientTape.watch`` does, until recording ends.

        Args:
            tensor: A tensor of floating-point or complex numbers. Only what uses it from now on counts.
            name: Name for its node, if it is none yet.

        Returns:
            Its node, whose ``grad`` the next ``backward`` fills.

        Raises:
            TapeError: The tape is not recording.
            InputError: A tensor of whole numbers or booleans has no gradient.

        Examples:
            >>> import torch
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
            if name != "input" and name in self._recorder.names:
                raise InputError(f"there is a node {name!r} already", remedy="give another name")
            watched = getattr(tensor, _WATCHED, 0)
            if watched or not tensor.requires_grad:
                setattr(tensor, _WATCHED, watched + 1)
                tensor.requires_grad_()
                self._context.callback(_unwatch, tensor)
            return self._recorder.watch(tensor, name)

    def __repr__(self) -> str:
        names = [node.name for node in self.nodes[:6]] + ["..."] * (len(self) > 6)
        return f"Tape({len(self)} nodes: {', '.join(names)})"

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
            >>> import torch
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


def _unwatch(tensor: Tensor) -> None:
    watched = getattr(tensor, _WATCHED) - 1
    setattr(tensor, _WATCHED, watched)
    if not watched and tensor.is_leaf:
        tensor.requires_grad_(False)
