"""In which module an operation runs, and what a module's output is: hooks on the modules while a tape records."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradtape.tape._surroundings import warn
from gradtape.tape._trees import tensors_in

Named = Callable[[str, Tensor], None]
Models = nn.Module | Mapping[str, nn.Module]

COMPILED = "the model is compiled; it is recorded as it runs without compilation"


def is_compiled(model: Any) -> bool:
    """Return whether a module or a function is what ``torch.compile`` made of one."""
    marks = (getattr(model, name, None) for name in ("_orig_mod", "_compiled_call_impl", "_torchdynamo_orig_callable"))
    return any(mark is not None for mark in marks)


class Naming:
    """Follows the modules that are running, in the thread that made it.

    Args:
        models: A module, or several by name.
        listening: Tells whether what runs now counts.
        named: Is called as ``named(name, tensor)`` for every tensor that a module returns.
    """

    def __init__(self, models: Models, listening: Callable[[], bool], named: Named) -> None:
        self._paths = _paths({"": models} if isinstance(models, nn.Module) else models)
        self._listening = listening
        self._named = named
        self._running = [""]
        self._uses: Counter[str] = Counter()
        self._thread = threading.get_ident()

    @property
    def path(self) -> str:
        """Path of the innermost module that is running, empty outside of all."""
        return self._running[-1]

    def paths(self) -> Iterable[str]:
        """Return the paths of all modules."""
        return self._paths.values()

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all buffers by their names."""
        for module, path in self._paths.items():
            yield from module.named_buffers(path, recurse=False)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow while the context lasts."""
        if any(is_compiled(module) for module in self._paths):
            warn(COMPILED)
        hooks = []
        for module in self._paths:
            hooks += [module.register_forward_pre_hook(self._enter, prepend=True)]
            hooks += [module.register_forward_hook(self._leave, always_call=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._running = [""]

    def _heard(self) -> bool:
        return threading.get_ident() == self._thread and self._listening()

    def _enter(self, module: nn.Module, _args: Any) -> None:
        if self._heard():
            self._running.append(self._paths[module])

    def _leave(self, module: nn.Module, _args: Any, output: Any) -> None:
        if not self._heard():
            return
        path = self._paths[module]
        while len(self._running) > 1 and self._running.pop() != path:
            pass  # a module that raised, and whose error was caught further out
        self._uses[path] += 1
        if path:
            name = path if self._uses[path] == 1 else f"{path}:{self._uses[path]}"
            tensors = tensors_in(output)
            for index, tensor in enumerate(tensors):
                self._named(name if len(tensors) == 1 else f"{name}[{index}]", tensor)


def _paths(models: Mapping[str, nn.Module]) -> dict[nn.Module, str]:
    """Return the path of every module, the first that leads to it, without what compilation adds to it."""
    found: dict[nn.Module, str] = {}
    for name, model in models.items():
        for module, path in ((module, path) for path, module in model.named_modules(prefix=name)):
            if not isinstance(module, torch.jit.ScriptModule):  # it runs outside of Python and takes no hooks
                parts = [part for part in path.split(".") if part != "_orig_mod"]
                found.setdefault(module, ".".join(parts))
    return found
