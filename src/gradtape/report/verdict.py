"""The verdict: the first thing the eye meets, told by a word and an icon as well as by colour."""

import re

from gradtape.errors import InputError
from gradtape.report._markup import inline, need

TICK = '<path d="M7 12.5l3.4 3.4L17 8.6"/>'
_ICONS = {
    "yes": ("Yes", TICK),
    "no": ("No", '<path d="M8 8l8 8M16 8l-8 8"/>'),
    "note": ("Note", '<path d="M12 11v6M12 7.2v.1"/>'),
}


def icon(shape: str) -> str:
    """A round line icon of 24 by 24 units."""
    return (
        f'<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><circle cx="12" cy="12" r="10"/>{shape}</svg>'
    )


def verdict_html(kind: str, text: str) -> str:
    """A large statement; a leading Yes, No or Note of the text is set in the verdict's colour."""
    if kind not in _ICONS:
        raise InputError(f"the verdict is {kind!r}", remedy='use "yes", "no" or "note"')
    need(text, "the verdict's text", remedy="say in a sentence what was found")
    word, shape = _ICONS[kind]
    said = re.match(rf"{word}\b[.,:!]?", text, re.IGNORECASE)
    lead = said.group() if said else ""
    first = f'<strong class="word">{inline(lead)}</strong>' if said else f'<span class="sr">{word}: </span>'
    return f'<div class="verdict {kind}">{icon(shape)}<p>{first}{inline(text[len(lead) :])}</p></div>'
