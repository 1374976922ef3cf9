"""What becomes of us inside somebody's training: of errors, and of hooks on a model that is copied or stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any


class Guard:
    """Wraps what hooks call: errors pass, or with a handler the first is handed to it and nothing is done after that.

    Hooks stay where they are: one that is removed while hooks are called would be an error in itself.
    """

    def __init__(self, handler: Callable[[Exception], None] | None = None) -> None:
        self._handler = handler
        self._broken = False

    def __call__(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return ``act``, guarded."""
        if self._handler is None:
            return act

        def guarded(*arguments: Any) -> None:
            if self._broken:
                return
            try:
                act(*arguments)
            except Exception as error:
                self._broken = True
                if self._handler is not None:
                    self._handler(error)

        return guarded


OPEN = Guard()  # lets errors pass


class PassingHook:
    """A hook of a module that a copied or stored model does not take with it."""

    def __reduce__(self) -> Any:
        """Leave in its place what does nothing, and is there without gradtape too."""
        return getattr, (nullcontext(), "__exit__")
