"""Wait for a module without importing it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Call ``action`` with a module as soon as anybody has imported it; at once where somebody has.

    So that what a program sets before it imports the module, such as ``OMP_NUM_THREADS``, still counts.
    """
    if name in sys.modules:
        action(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Waiting(name, action))


class _Waiting(MetaPathFinder):
    """Finds nothing itself; when the module is looked for, it listens to its loader, once."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader = spec.loader
        execute = loader.exec_module

        def then_act(module: ModuleType) -> None:
            del loader.exec_module  # that of this one loader; its class has another
            execute(module)
            self._action(module)

        loader.exec_module = then_act  # type: ignore[method-assign]
        return spec
