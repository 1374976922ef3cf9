"""What the documentation holds: pages, fenced blocks, headings, tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, the line on which the text begins, and where it stands in the page."""

    language: str
    text: str
    line: int
    start: int
    end: int


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1, found.start(), found.end())
        for found in _FENCE.finditer(text)
    ]


def headings(page: Path) -> list[str]:
    """The headings of a page, without those that only look like one inside a block."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def after(diff: str) -> str:
    """The program that a diff leads to."""
    return "".join(f"{line[1:]}\n" for line in diff.splitlines() if not line.startswith("-"))
