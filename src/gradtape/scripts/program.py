"""Somebody else's program, run in this process as ``python`` would run it."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from gradtape.errors import InputError, RunError


class Ending(NamedTuple):
    """How a program ended.

    Attributes:
        code: Its exit code.
        error: What it ended with, where that was no success: an exception, Ctrl-C, or ``sys.exit`` with another code
            than 0.
    """

    code: int
    error: BaseException | None = None


class Program:
    """A script or a module, found but not yet run.

    Attributes:
        name: ``train`` for ``train.py`` and for ``python -m somewhere.train``.
    """

    def __init__(self, name: str, source: bytes | CodeType, first: str, folder: str, about: Mapping[str, Any]) -> None:
        self.name = name
        self._source = source
        self._first = first
        self._folder = folder
        self._about = dict(about)

    @classmethod
    def of_file(cls, path: str) -> Program:
        """Find a script.

        Raises:
            InputError: There is no such file, or it cannot be read.
        """
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder", remedy="name the script in it")
        try:
            with io.open_code(os.path.abspath(path)) as file:
                source = file.read()
        except FileNotFoundError:
            other = f"gradtape track -m {path}" if _may_be_module(path) else "gradtape track -m MODULE"
            raise InputError(
                f"there is no script {path}", remedy=f"check the path; a module is run with: {other}"
            ) from None
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror})", remedy="name a script") from error
        file_name = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
        loader = importlib.machinery.SourceFileLoader("__main__", file_name)
        about = {"__file__": file_name, "__loader__": loader, "__spec__": None, "__package__": None, "__cached__": None}
        return cls(Path(path).stem, source, path, os.path.dirname(os.path.realpath(path)), about)

    @classmethod
    def of_module(cls, name: str) -> Program:
        """Find a module; the packages around it are imported, as ``python -m`` does.

        Raises:
            InputError: There is no such module, or it has no source.
        """
        _first_on_path(os.getcwd())
        spec = _spec_of(name)
        if spec.submodule_search_locations is not None:
            spec = _spec_of(f"{name}.__main__", remedy=f"{name} is a package: name a module in it")
        code = spec.loader.get_code(spec.name) if hasattr(spec.loader, "get_code") else None
        if code is None:
            raise InputError(f"module {name} is not written in Python", remedy="name a module that python -m runs")
        about = {
            "__file__": spec.origin,
            "__loader__": spec.loader,
            "__spec__": spec,
            "__package__": spec.parent,
            "__cached__": spec.cached,
        }
        return cls(name.rpartition(".")[2], code, str(spec.origin), os.getcwd(), about)

    def run(self, arguments: Sequence[str]) -> Ending:
        """Run it as the main program of this process, once.

        What ``python`` prints when a program ends with an error, this prints: the program's own traceback, or the text
        given to ``sys.exit``.
        """
        module = ModuleType("__main__")
        module.__dict__.update(self._about, __builtins__=builtins, __annotations__={})
        sys.modules["__main__"] = module
        sys.argv = [self._first, *arguments]
        _first_on_path(self._folder)
        try:
            code = self._source
            if isinstance(code, bytes):
                code = compile(code, self._about["__file__"], "exec", dont_inherit=True)
            exec(code, module.__dict__)
        except SystemExit as error:
            return _exited(error)
        except BaseException as error:
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this frame
            _show(error)
            return Ending(130 if isinstance(error, KeyboardInterrupt) else 1, error)
        return Ending(0)


def _may_be_module(path: str) -> bool:
    return not path.endswith(".py") and all(part.isidentifier() for part in path.split("."))


def _first_on_path(folder: str) -> None:
    """Put a folder where python puts that of the program; with ``python -P`` nothing is there."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _spec_of(name: str, remedy: str = "check the name; a script is run with: gradtape track SCRIPT.py") -> Any:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise InputError(f"{name} cannot be imported ({error})", remedy="install what is missing") from error
        spec = None
    except Exception as error:  # raised by a package around it
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{name} cannot be imported ({problem})", remedy="see that python -m runs it") from error
    if spec is None:
        raise InputError(f"there is no module {name}", remedy=remedy)
    return spec


def _exited(error: SystemExit) -> Ending:
    asked = error.code
    if asked is None:
        return Ending(0)
    if not isinstance(asked, int):
        print(asked, file=sys.stderr)
        asked = 1
    code = int(asked)
    return Ending(code, None if code == 0 else RuntimeError(f"it exited with {code}"))


def _show(error: BaseException) -> None:
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except Exception:  # of a hook that the program put there
        print("Error in sys.excepthook:", file=sys.stderr)
        traceback.print_exc()
