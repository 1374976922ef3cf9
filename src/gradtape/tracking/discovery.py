"""Find the models behind an optimizer, under the names that the program gives them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterable, Iterator
from types import FrameType
from typing import NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from gradtape.tracking._naming import variable_names

_WRAPPING = (  # packages whose modules stand around a user's
    "torch.nn.parallel",
    "torch.distributed",
    "torch._dynamo",
    "accelerate",
    "deepspeed",
    "lightning",
    "lightning_fabric",
    "pytorch_lightning",
)
_STEP = "Optimizer.profile_hook_step.<locals>.wrapper"  # what torch puts around each optimizer's step
_SEVERAL = 3  # models of one optimizer that are named in its player's name


class Found(NamedTuple):
    """What an optimizer trains.

    Attributes:
        name: The name of the player.
        model: The module that owns its parameters. Where that is several modules, or bare tensors, a module around them
            that exists for their names alone.
    """

    name: str
    model: nn.Module


def discover(optimizer: Optimizer, taken: Collection[str] = ()) -> Found:
    """Find what an optimizer trains, by looking at all modules of this process.

    The model is the smallest module that owns all of the optimizer's parameters; of several that own the same
    parameters, the outermost that a user wrote: not the wrapper of ``DistributedDataParallel`` or ``torch.compile``.
    Its name is the variable or attribute that holds it in the program, or its class's name in lower case.

    Args:
        optimizer: An optimizer about to step.
        taken: Names of other players; a name among them gets ``-2``, ``-3``, ...
    """
    groups = [list(group["params"]) for group in optimizer.param_groups]
    owners = _Owners([id(parameter) for group in groups for parameter in group])
    roots = owners.roots()
    names = _names(owners, roots)
    bare = {
        f"group{i}.param{j}": parameter
        for i, group in enumerate(groups)
        for j, parameter in enumerate(group)
        if id(parameter) not in owners.covered(roots)
    }
    if len(roots) == 1 and not bare:
        return Found(_unused(names[0], taken), roots[0])
    name = "+".join(names[:_SEVERAL]) + ("+more" if len(names) > _SEVERAL else "") if names else "tensors"
    return Found(_unused(name, taken), _around(dict(zip(names, roots, strict=True)), bare))


def inside_another(optimizer: Optimizer) -> bool:
    """Whether an optimizer steps on behalf of one that is stepping, as a sharding optimizer has one step for it."""
    own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_qualname == _STEP:
            outer = frame.f_locals.get("self", optimizer)
            if outer is not optimizer and own <= {id(p) for group in outer.param_groups for p in group["params"]}:
                return True
        frame = frame.f_back
    return False


class _Owners:
    """The modules that own some of the wanted parameters, directly or in a submodule."""

    def __init__(self, wanted: list[int]) -> None:
        self._order = {key: place for place, key in enumerate(wanted)}
        modules = list(_modules())
        parents: dict[int, list[nn.Module]] = {}
        for module in modules:
            for child in _children(module):
                parents.setdefault(id(child), []).append(module)
        self.parents = parents
        self._wanted = set(wanted)
        self._parameters: dict[int, frozenset[int]] = {}
        self._known: dict[int, nn.Module] = {}
        waiting = [module for module in modules if self._wanted & _own(module)]
        while waiting:
            module = waiting.pop()
            if id(module) not in self._known:
                self._known[id(module)] = module
                waiting += parents.get(id(module), [])

    def roots(self) -> list[nn.Module]:
        """Return the smallest module that owns all that any module owns, or else several."""
        known = [module for module in self._known.values() if not is_wrapper(module)]
        reachable = self._wanted & self.covered(known)
        whole = [module for module in known if reachable and reachable <= self.parameters(module)]
        if whole:
            smallest = min(map(self.parameters, whole), key=len)
            return [self._outermost([module for module in whole if self.parameters(module) == smallest])]
        found: list[nn.Module] = []
        while left := reachable - self.covered(found):
            inside = [m for m in known if self.parameters(m) & left and self.parameters(m) <= self._wanted]
            size = max((len(self.parameters(m) & left) for m in inside), default=0)
            best = [m for m in inside if len(self.parameters(m) & left) == size]
            if not inside:  # of these a part is trained
                touched = [module for module in known if self.parameters(module) & left]
                best = [min(touched, key=lambda module: len(self.parameters(module)))]
            found.append(self._outermost(best))
        return sorted(found, key=lambda root: min(map(self._order.__getitem__, self.parameters(root) & self._wanted)))

    def parameters(self, module: nn.Module) -> frozenset[int]:
        """Return the identities of all parameters below a module."""
        if id(module) not in self._parameters:
            self._parameters[id(module)] = frozenset()  # should a module contain itself
            below = [self.parameters(child) for child in _children(module)]
            self._parameters[id(module)] = frozenset(_own(module)).union(*below)
        return self._parameters[id(module)]

    def covered(self, roots: Iterable[nn.Module]) -> set[int]:
        """Return the identities of all parameters below some modules."""
        return set().union(*map(self.parameters, roots))

    def holders(self, root: nn.Module) -> list[nn.Module]:
        """Return a module and all wrappers around it, of which a program knows one."""
        found = [root]
        for module in found:
            found += [m for m in self.parents.get(id(module), []) if is_wrapper(m) and m not in found]
        return found

    def _outermost(self, modules: list[nn.Module]) -> nn.Module:
        inside = {id(below) for module in modules for below in module.modules() if below is not module}
        return next((module for module in modules if id(module) not in inside), modules[0])


def is_wrapper(module: nn.Module) -> bool:
    """Whether a module stands around a user's, as for distribution or compilation, and is not of the user's making."""
    own = user_class(module)
    return own in (nn.Module, object) and type(module) is not own


def user_class(module: nn.Module) -> type:
    """Return the module's class as its author wrote it; sharding puts one of its own in front."""
    return next(kind for kind in type(module).__mro__ if not _wrapping(kind))


def _wrapping(kind: type) -> bool:
    return any(kind.__module__ == name or kind.__module__.startswith(f"{name}.") for name in _WRAPPING)


def _modules() -> Iterator[nn.Module]:
    kinds: dict[type, bool] = {}
    for thing in gc.get_objects():
        kind = type(thing)  # isinstance would ask the thing itself, and some that pretend to be others answer by acting
        if kind not in kinds:
            kinds[kind] = issubclass(kind, nn.Module)
        if kinds[kind]:
            yield thing


def _own(module: nn.Module) -> set[int]:
    return {id(p) for p in (getattr(module, "_parameters", None) or {}).values() if p is not None}


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for child in (getattr(module, "_modules", None) or {}).values() if child is not None]


def _names(owners: _Owners, roots: list[nn.Module]) -> list[str]:
    holders = [owners.holders(root) for root in roots]
    variables = variable_names([{id(module) for module in group} for group in holders])
    names: list[str] = []
    for root, group, variable in zip(roots, holders, variables, strict=True):
        name = variable or _attribute(owners, group) or user_class(root).__name__.lower()
        names.append(_unused(name, names))
    return names


def _attribute(owners: _Owners, group: list[nn.Module]) -> str | None:
    """Return the attribute under which a user's module holds one of these."""
    for module in group:
        for parent in owners.parents.get(id(module), []):
            if not is_wrapper(parent) and not isinstance(parent, nn.Sequential | nn.ModuleList):
                return next((name for name, child in parent._modules.items() if child is module), None)
    return None


def _unused(name: str, taken: Collection[str]) -> str:
    number = 2
    unused = name
    while unused in taken:
        unused = f"{name}-{number}"
        number += 1
    return unused


def _around(roots: dict[str, nn.Module], bare: dict[str, Tensor]) -> nn.Module:
    around = nn.Module()
    for name, root in roots.items():
        around.add_module(name, root)
    for path, tensor in bare.items():
        group, name = path.split(".")
        if group not in around._modules:
            around.add_module(group, nn.Module())
        around.get_submodule(group)._parameters[name] = tensor  # type: ignore[assignment]  # may be a plain tensor
    return around
