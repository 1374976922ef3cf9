"""Findings: what is wrong, where, since when, on what evidence, and what to do."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from gradtape.errors import InputError
from gradtape.report._markup import inline, need
from gradtape.report._numbers import number
from gradtape.report.verdict import TICK, icon

Level = Literal["info", "warning", "error"]

_LEVELS: dict[str, tuple[str, str]] = {
    "error": ("Error", '<path d="M8 8l8 8M16 8l-8 8"/>'),
    "warning": ("Warning", '<path d="M12 7v6.4M12 16.8v.1"/>'),
    "info": ("Info", '<path d="M12 11v6M12 7.2v.1"/>'),
}
CALM = "Nothing found. No rule raised a concern."


class FindingRow(NamedTuple):
    """One finding.

    Attributes:
        level: "info", "warning" or "error".
        title: What is wrong, in a few words.
        where: The layer, player or column it was seen at.
        since: The step (an int) or a phrase; None where time plays no part.
        evidence: The figures that show it.
        remedy: What to do.

    Examples:
        >>> FindingRow("warning", "gradients vanish", "features.0", 120).since
        120
    """

    level: Level
    title: str
    where: str = ""
    since: str | int | None = None
    evidence: str = ""
    remedy: str = ""


def findings_html(rows: Sequence[FindingRow]) -> str:
    """The findings, worst first; a calm sentence where there is none."""
    if not rows:
        return f'<div class="calm">{icon(TICK)}<p>{CALM}</p></div>'
    for row in rows:
        if row.level not in _LEVELS:
            raise InputError(f"the level of a finding is {row.level!r}", remedy='use "info", "warning" or "error"')
        need(row.title, "the title of a finding", remedy="say what is wrong")
    order = list(_LEVELS)
    items = []
    for row in sorted(rows, key=lambda r: order.index(r.level)):
        word, shape = _LEVELS[row.level]
        since = f"since step {number(row.since)}" if isinstance(row.since, int) else row.since or ""
        place = [f"<code>{inline(row.where)}</code>" if row.where else "", inline(since)]
        meta = " ".join(part for part in place if part)
        parts = [f'<p class="what"><span class="level">{word}</span> <strong>{inline(row.title)}</strong></p>']
        if meta:
            parts.append(f'<p class="meta">{meta}</p>')
        if row.evidence:
            parts.append(f"<p>{inline(row.evidence)}</p>")
        if row.remedy:
            parts.append(f'<p class="remedy"><span>What to do</span> {inline(row.remedy)}</p>')
        items.append(f'<li class="{row.level}">{icon(shape)}<div>{"".join(parts)}</div></li>')
    return f'<ul class="findings">{"".join(items)}</ul>'
