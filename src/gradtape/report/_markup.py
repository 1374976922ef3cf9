"""Text to HTML: everything escaped, with `code` and **bold** as the only markup."""

import html
import json
import re
import unicodedata
from typing import Any

from gradtape.errors import InputError

_CODE = re.compile(r"(`[^`\n]+`)")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|[\ud800-\udfff]")


def escape(text: object) -> str:
    """Escape text for HTML content and for a double-quoted attribute.

    >>> escape('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    return html.escape(_CONTROL.sub("\ufffd", str(text).replace("\r\n", "\n").replace("\r", "\n")), quote=True)


def inline(text: str) -> str:
    """Escape text, then turn `code` and **bold** into elements; inside code nothing else is markup.

    >>> inline("run `a**b**` **now** <i>")
    'run <code>a**b**</code> <strong>now</strong> &lt;i&gt;'
    """
    out = []
    for part in _CODE.split(text):
        if _CODE.fullmatch(part):
            out.append(f"<code>{escape(part[1:-1])}</code>")
        else:
            out.append(_BOLD.sub(r"<strong>\1</strong>", escape(part)))
    return "".join(out)


def paragraphs(text: str) -> str:
    """One ``<p>`` per block of text between blank lines.

    >>> paragraphs("one\\n\\ntwo")
    '<p>one</p>\\n<p>two</p>'
    """
    return "\n".join(f"<p>{inline(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def slug(text: str) -> str:
    """An anchor made of a-z, 0-9 and hyphens; empty if nothing of the text survives.

    >>> slug("Did it <help>? Été")
    'did-it-help-ete'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:60].strip("-")


def embed(data: Any) -> str:
    """A JSON data block that no string inside can leave, and that holds no NaN.

    >>> embed({"name": "</script>"})
    '<script type="application/json">{"name":"\\\\u003c/script\\\\u003e"}</script>'
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json">{text}</script>'


def caption_of(caption: str) -> str:
    """A ``<figcaption>``, or nothing for an empty caption."""
    return f"<figcaption>{inline(caption)}</figcaption>" if caption.strip() else ""


def need(text: str, what: str, remedy: str = "give a few words") -> str:
    """Return the text; raise InputError where it is empty."""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{what} is {text!r}", remedy=remedy)
    return text
