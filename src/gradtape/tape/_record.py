"""Recording a model: a tape made of one run, its nodes named by the model's modules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from gradtape.tape._recorder import Recorder
from gradtape.tape._tape import Tape


def record(model: Callable[..., Any], *args: Any, **kwargs: Any) -> Tape:
    """Run ``model(*args, **kwargs)`` and keep every intermediate result.

    Floating-point inputs are recorded as copies that take a gradient, so that ``tape["input"].grad`` exists.

    Args:
        model: A module, whose submodules' paths name the nodes, or any function of tensors.
        args: Positional inputs; the tensors among them become nodes ``input``, ``input_2``, ...
        kwargs: Keyword inputs; a tensor becomes a node of its keyword's name.

    Returns:
        The tape; ``tape.output`` is what the model returned.

    Raises:
        Exception: Whatever the model raises, with the partial tape as ``error.tape``.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> tape = record(model, torch.ones(4, 2))
        >>> tape["1"].shape, [parent.name for parent in tape["1"].parents]
        ((4, 3), ['0'])
    """
    tape = Tape()
    recorder = tape._recorder
    flat, spec = tree_flatten(args)
    args = tree_unflatten([_fresh(leaf, recorder, "input") for leaf in flat], spec)
    kwargs = {key: tree_map(lambda leaf, key=key: _fresh(leaf, recorder, key), value) for key, value in kwargs.items()}
    with tape, recorder.naming(model) if isinstance(model, nn.Module) else ExitStack():
        tape._output = model(*args, **kwargs)
        tape._has_output = True
    return tape


def _fresh(leaf: Any, recorder: Recorder, name: str) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    if leaf.is_floating_point() and torch.is_grad_enabled() and not leaf.requires_grad:
        leaf = leaf.detach().requires_grad_().clone()  # no leaf of autograd's, so that a model may overwrite it
    if recorder.node_of(leaf) is None:
        recorder.add_input(leaf, name)
    return leaf
