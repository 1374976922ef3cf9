"""What becomes of errors of ours inside somebody's training."""

from __future__ import annotations

from collections.abc import Callable
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
