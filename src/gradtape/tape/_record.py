"""Recording a model: a tape made of one run, its nodes named by the model's modules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.tape._naming import COMPILED, is_compiled
from gradtape.tape._surroundings import warn
from gradtape.tape._tape import Tape
from gradtape.tape._trees import with_tensors
from gradtape.tape.select import Selector, everything


def record(
    model: Callable[..., Any],
    *args: Any,
    keep: Selector = everything,
    persistent: bool = False,
    halt: str | int | None = None,
    **kwargs: Any,
) -> Tape:
    """Run ``model(*args, **kwargs)`` and keep the intermediate results.

    Floating-point inputs are recorded as copies that take a gradient, so that ``tape["input"].grad`` exists.

    Args:
        model: A module, whose submodules' paths name the nodes, or any function of tensors.
        args: Positional inputs; the tensors among them become nodes ``input``, ``input_2``, ...
        keep: Which values to keep; see ``Tape``.
        persistent: Allow any number of backward passes; see ``Tape``.
        halt: Node at which to stop; see ``Tape``.
        kwargs: Keyword inputs; a tensor becomes a node of its keyword's name.

    Returns:
        The tape; ``tape.output`` is what the model returned, or the value of the node where it stopped.

    Raises:
        InputError: ``model`` is neither.
        TapeError: There is no node ``halt``.
        Exception: Whatever the model raises, with the partial tape as ``error.tape``.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> tape = record(model, torch.ones(4, 2))
        >>> tape["1"].shape, [parent.name for parent in tape["1"].parents]
        ((4, 3), ['0'])
        >>> record(model, torch.ones(4, 2), halt="1").output.shape
        torch.Size([4, 3])
    """
    if not callable(model):
        raise InputError(
            f"model is a {type(model).__name__}", remedy="give a module or a function, and then its inputs"
        )
    if is_compiled(model) and not isinstance(model, nn.Module):
        warn(COMPILED)
    tape = Tape(model if isinstance(model, nn.Module) else None, keep=keep, persistent=persistent, halt=halt)
    args = with_tensors(partial(_fresh, tape=tape, name="input"), args)
    kwargs = {key: with_tensors(partial(_fresh, tape=tape, name=key), value) for key, value in kwargs.items()}
    with tape:
        tape._set_output(model(*args, **kwargs))
    return tape


def _fresh(leaf: Tensor, tape: Tape, name: str) -> Tensor:
    if leaf.is_floating_point() and torch.is_grad_enabled() and not leaf.requires_grad:
        leaf = leaf.detach().requires_grad_().clone()  # no leaf of autograd's, so that a model may overwrite it
    if tape._recorder.node_of(leaf) is None:
        tape._recorder.add_input(leaf, name)
    return leaf
