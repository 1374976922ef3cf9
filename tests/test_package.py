"""The package as a whole: what importing it costs, which names it has, and its errors."""

from __future__ import annotations

import ast
import importlib
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradtape
from gradtape import errors

HEAVY = {"torch", "numpy", "sklearn", "scipy", "PIL", "pandas", "matplotlib"}


def loaded_after(script: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a script."""
    tail = "\nimport sys; print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", script + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_light() -> None:
    loaded = loaded_after("import gradtape; dir(gradtape); gradtape.__all__")
    assert "gradtape" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["augment", "--help"], ["runs", "--help"], ["export", "--help"]]
)
def test_help_is_light(arguments) -> None:
    loaded = loaded_after(f"from gradtape.cli.app import _run; assert _run({arguments!r}) == 0")
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_a_command_pays_for_no_room_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    loaded = loaded_after(f"from gradtape.cli.app import _run; assert _run(['runs', {str(tmp_path / 'runs')!r}]) == 0")
    assert not loaded & (HEAVY - {"numpy"})  # numpy holds the series of a run


def promised() -> list[tuple[str, str]]:
    stub = ast.parse((Path(gradtape.__file__).parent / "__init__.pyi").read_text())
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return [(line.module or "", alias.name) for line in lines for alias in line.names]


def test_every_promised_name_is_there() -> None:
    names = promised()
    assert len(names) >= 17
    assert sorted(name for _, name in names) == sorted(gradtape.__all__)
    for room, name in names:
        module = importlib.import_module(f"gradtape.{room or name}")
        assert getattr(gradtape, name) is (getattr(module, name) if room else module)
        assert name in dir(gradtape)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No gradtape attribute nonsense"):
        gradtape.nonsense  # noqa: B018
    assert not hasattr(gradtape, "torch")


def kinds() -> list[type[errors.GradtapeError]]:
    for module in pkgutil.walk_packages(gradtape.__path__, "gradtape."):
        importlib.import_module(module.name)
    found, left = [], [errors.GradtapeError]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return found


def test_errors_pickle_with_their_words_and_have_one_form() -> None:
    found = kinds()
    assert {errors.InputError, errors.DataError, errors.RunError, errors.TapeError} <= set(found)
    for kind in found:
        if not kind.__module__.startswith("gradtape."):
            continue
        error = kind("x is 3", remedy="give 4")
        assert str(error) == "x is 3: give 4"
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert (str(again), again.what, again.remedy) == ("x is 3: give 4", "x is 3", "give 4")


def test_errors_can_be_caught_as_what_they_are() -> None:
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.DataError, ValueError)
    assert issubclass(errors.RunError, OSError)
    assert issubclass(errors.TapeError, RuntimeError)
