"""Names: in the order that people expect, and safe as names of files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_LONGEST = 60  # characters: at most 240 bytes in UTF-8, and file systems take 255

NaturalKey = tuple[tuple[tuple[int, str], ...], str]


def natural_key(text: str) -> NaturalKey:
    """A sort key that puts "2" before "10": runs of digits compare as numbers, the rest as text."""
    parts = re.split(r"([0-9]+)", text)
    numbers = (part.lstrip("0") if i % 2 else part for i, part in enumerate(parts))
    return tuple((len(part) if i % 2 else 0, part) for i, part in enumerate(numbers)), text


def safe_name(text: str) -> str:
    """``text`` as a name that every common file system takes and that is not hidden; never empty."""
    kept = "".join("_" if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") else char for char in text)
    kept = _FORBIDDEN.sub("_", kept)[:_LONGEST].strip().rstrip(". ")
    if kept.startswith("."):
        kept = "_" + kept[1:]
    if kept.split(".")[0].casefold() in _RESERVED:
        kept = "_" + kept
    return kept or "_"


def safe_names(texts: Iterable[str]) -> list[str]:
    """``safe_name`` of each, made unique also where capitals and accents are not told apart."""
    taken: set[str] = set()
    names = []
    for text in texts:
        base = name = safe_name(text)
        again = 1
        while _folded(name) in taken:
            again += 1
            name = f"{base}-{again}"
        taken.add(_folded(name))
        names.append(name)
    return names


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
