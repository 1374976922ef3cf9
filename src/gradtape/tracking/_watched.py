"""What a player is: an optimizer, its model, and the names and settings of the parameters that both hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.optim import Optimizer

from gradtape.errors import InputError


class Watched(NamedTuple):
    """What a player is.

    Attributes:
        model: Its model.
        optimizer: Its optimizer.
        named: The parameters that the optimizer holds, by name, from input to output.
        unheld: Names of parameters of the model that require a gradient and that the optimizer does not hold.
    """

    model: nn.Module
    optimizer: Optimizer
    named: Mapping[str, nn.Parameter]
    unheld: tuple[str, ...]


def watched_pair(name: str, model: nn.Module, optimizer: Optimizer) -> Watched:
    """Return the optimizer's parameters by name; those that are not the model's are called by group and place.

    Raises:
        InputError: None is the model's, or these are no module, no optimizer, or no name.
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"a player is called {name!r}", remedy="give players names, such as 'generator'")
    if not isinstance(model, nn.Module) or not isinstance(optimizer, Optimizer):
        raise InputError(
            f"player {name!r} is a {type(model).__name__} with a {type(optimizer).__name__}",
            remedy="give a torch.nn.Module, then a torch.optim.Optimizer",
        )
    names: dict[int, str] = {}
    for path, parameter in model.named_parameters():
        names.setdefault(id(parameter), path)
    order = {key: place for place, key in enumerate(names)}
    held = [
        (names.get(id(parameter), f"group{number}.param{place}"), parameter)
        for number, group in enumerate(optimizer.param_groups)
        for place, parameter in enumerate(group["params"])
    ]
    if not any(id(parameter) in names for _, parameter in held):
        raise InputError(
            f"the optimizer of player {name!r} holds no parameter of its model",
            remedy="pass the pair that belongs together",
        )
    taken: dict[str, nn.Parameter] = {}
    held.sort(key=lambda pair: order.get(id(pair[1]), len(order)))
    mine = {id(parameter) for _, parameter in held}
    unheld = [path for path, p in model.named_parameters() if id(p) not in mine and p.requires_grad]
    for path, parameter in held:
        while path in taken:
            path += "'"
        taken[path] = parameter
    return Watched(model, optimizer, taken, tuple(unheld))


def groups_of(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    found = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    return [found[id(parameter)] for parameter in parameters]


def number(setting: Any) -> float:
    """Return an optimizer's setting; NaN where it has none, or, as Adafactor, two at once."""
    try:
        return float(setting)
    except (TypeError, ValueError):
        return np.nan


def _known(setting: Any) -> float | None:
    found = number(setting)
    return None if np.isnan(found) else found


def settings_of(watched: Watched, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    parameters = list(watched.named.values())
    order = watched.optimizer.param_groups

    def each(name: str) -> list[float | None]:
        return [_known(group.get(name)) for group in groups]

    return {
        "optimizer": type(watched.optimizer).__name__,
        "eps": each("eps"),
        "betas": [[_known(beta) for beta in (*group.get("betas", ()), None, None)[:2]] for group in groups],
        "weight_decay": each("weight_decay"),
        "momentum": each("momentum"),
        "dtypes": [str(parameter.dtype).removeprefix("torch.") for parameter in parameters],
        "shapes": [list(parameter.shape) for parameter in parameters],
        "last_module": [path for path, module in watched.model.named_modules() if not any(module.children())][-1],
        "frozen": [name for name, parameter in watched.named.items() if not parameter.requires_grad],
        "group_of": [next(i for i, group in enumerate(order) if group is mine) for mine in groups],
    }
