"""The page on the command line says what the program prints. GRADTAPE_WRITE_DOCS=1 writes it anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gradtape.cli.app import app
from tests.docs.reading import DOCS, ROOT, blocks, name_of

_PAGE = DOCS / "cli.md"
_PLACE = re.compile(r"(<!-- help ?([a-z]*) -->\n```text\n)(.*?)(```)", re.DOTALL)
_COMMANDS = sorted(command.name or "" for command in app.registered_commands)


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    app([*command.split(), "--help"], prog_name="gradtape", standalone_mode=False)
    return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.strip().splitlines())


def test_the_page_has_the_help_of_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    monkeypatch.delenv("GRADTAPE_DATA", raising=False)
    page = _PAGE.read_text(encoding="utf-8")
    fresh = _PLACE.sub(lambda found: found[1] + help_of(found[2], capsys) + found[4], page)
    if os.environ.get("GRADTAPE_WRITE_DOCS"):
        _PAGE.write_text(fresh, encoding="utf-8")
    assert sorted(found[1] for found in _PLACE.findall(fresh)) == sorted(["", *_COMMANDS])
    assert _PAGE.read_text(encoding="utf-8") == fresh, "write it anew: GRADTAPE_WRITE_DOCS=1 pytest tests/docs"


def shell_lines() -> list[tuple[str, str]]:
    """Every command line of the documentation, with its page."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    return [
        (name_of(page), line.split("#")[0].strip())
        for page in pages
        for block in blocks(page)
        if block.language == "shell"
        for line in block.text.splitlines()
        if line.strip()
    ]


@pytest.mark.parametrize(("page", "line"), shell_lines())
def test_every_command_line_exists(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = line.split()
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{page}: {line}"
    elif program == "gradtape":
        assert words[0] in _COMMANDS, f"{page}: {line}"
        known = help_of(words[0], capsys)
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", known), f"{page}: {line}"
    else:
        assert all(Path(ROOT / word).exists() for word in words if word.startswith("tests/")), f"{page}: {line}"


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## Commands") : readme.index("## Data")]
    assert sorted(re.findall(r"^\| `gradtape ([a-z]+)", table, re.MULTILINE)) == _COMMANDS


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_come_first(target: str) -> None:
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "shell")
    assert f"make {target}" in first.text
