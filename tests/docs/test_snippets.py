"""Every Python block of the documentation runs, and prints what the page says it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.docs.reading import PAGES, Block, after, blocks, name_of

_RUN = ("python", "diff")
_WITH_CODE = [page for page in PAGES if any(block.language in _RUN for block in blocks(page))]


def expected(page: Path, index: int) -> str | None:
    """The text block right after a program: what the program prints."""
    found = blocks(page)
    if index + 1 == len(found) or found[index + 1].language != "text":
        return None
    between = page.read_text(encoding="utf-8")[found[index].end : found[index + 1].start]
    return None if between.strip() else found[index + 1].text


def run(block: Block, page: Path, names: dict[str, Any]) -> None:
    program = after(block.text) if block.language == "diff" else block.text
    exec(compile("\n" * (block.line - 1) + program, name_of(page), "exec"), names)


@pytest.mark.parametrize("page", _WITH_CODE, ids=name_of)
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for index, block in enumerate(blocks(page)):
            if block.language not in _RUN:
                continue
            capsys.readouterr()
            run(block, page, names)
            said, wanted = capsys.readouterr().out, expected(page, index)
            if wanted is not None:
                assert said == wanted, f"{name_of(page)}, the block at line {block.line}"


def test_an_output_must_stand_right_after_its_program(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nprint(2)\n```\n\nNot\n\n```text\n3\n```\n"
    )
    assert [expected(page, index) for index in range(4)] == ["1\n", None, None, None]


def test_a_diff_leads_to_the_program_after_it() -> None:
    assert after(" a = 1\n-b = 2\n+b = 3\n\n c = a\n") == "a = 1\nb = 3\n\nc = a\n"


def test_pages_with_programs_are_found() -> None:
    found = {name_of(page) for page in _WITH_CODE}
    assert found >= {"README.md", "docs/quickstart.md", "docs/tape.md", "docs/transforms.md", "docs/tracking.md"}
