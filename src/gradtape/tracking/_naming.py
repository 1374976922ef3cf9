"""What a program calls its objects: the variable, attribute or key under which it holds them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any

_ANONYMOUS = {"self", "cls"}
_LIBRARY = re.compile(r"[\\/](site-packages|dist-packages|lib[\\/]python3\.\d+)[\\/]|^<frozen")


def variable_names(wanted: Sequence[set[int]]) -> list[str | None]:
    """Return for each set of identities the name under which the running program holds one of these objects.

    Looked at are the program's globals, then the variables of the functions that are running, from the outermost
    inwards; in each of these places first variables, then what they hold: an attribute of an object, a key of a
    dictionary.
    """
    scopes = [dict(scope) for scope in _scopes()]
    names = [next(filter(_speaks, _held(scopes, group)), None) for group in wanted]
    return [None if name is None else re.sub(r"[^\w+-]", "_", name) for name in names]


def _held(scopes: Sequence[Mapping[str, Any]], group: set[int]) -> Iterator[Any]:
    for scope in scopes:
        yield from (name for name, value in scope.items() if id(value) in group)
        for holder in scope.values():
            yield from (name for name, value in _inside(holder).items() if id(value) in group)


def _speaks(name: object) -> bool:
    return isinstance(name, str) and name not in _ANONYMOUS and not name.startswith("_") and not name.isdigit()


def _scopes() -> Iterator[Mapping[str, Any]]:
    main = sys.modules["__main__"]
    stack: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    own = [frame for frame in reversed(stack) if frame.f_globals is vars(main)]
    others = [frame for frame in reversed(stack) if frame.f_globals is not vars(main) and not _library(frame.f_globals)]
    yield vars(main)
    for frame in [*own, *others]:
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            yield _locals(frame)
    for frame in others:
        yield frame.f_globals


def _locals(frame: FrameType) -> dict[str, Any]:
    """Return the variables of a running function, of which nothing stays alive for having been looked at."""
    variables = frame.f_locals
    copy = dict(variables)
    # Up to Python 3.12 the frame keeps this dictionary, and with it objects that the function deletes later: empty it,
    # unless the function has called locals() and holds it too.
    if type(variables) is dict and sys.getrefcount(variables) <= 3:
        variables.clear()
    return copy


def _library(scope: Mapping[str, Any]) -> bool:
    name = str(scope.get("__name__", ""))
    return name.partition(".")[0] == "gradtape" or bool(_LIBRARY.search(str(scope.get("__file__", "<frozen"))))


def _inside(holder: Any) -> dict[Any, Any]:
    if type(holder) is dict:
        return dict(holder)
    if issubclass(type(holder), ModuleType | type):
        return {}
    try:
        inside = dict(object.__getattribute__(holder, "__dict__"))
    except (AttributeError, TypeError):
        return {}
    modules = inside.get("_modules")
    return {**inside, **modules} if type(modules) is dict else inside
