"""Docstrings as the reference shows them: roles become code, formulas plain text, so that no page needs a script."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":[a-z]+:`(?:([^`<]+?)\s*<[^`>]+>|~?([^`]+))`")
_MATH = re.compile(r"^( *)\.\. math:: *(.+)$", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
_ANY_ERROR = re.compile(r"^( *Raises:\n *)(?=[A-Z][a-z]+ )", re.MULTILINE)
_SYMBOLS = [
    (r"\\tfrac\{([^}]*)\}\{([^}]*)\}", r"\1/\2"),
    (r"\\text\{([^}]*)\}", r"\1"),
    (r"\\mathbb\{E\}", "E"),
    (r"\\tilde g", "g̃"),
    (r"\\min_x", "minimise over x:"),
    (r"\\nabla_x", "∇ₓ"),
    (r"\\lambda", "λ"),
    (r"\\gamma", "γ"),
    (r"\\cdot", "·"),
    (r"\\sim", "∼"),
    (r"\\in", "∈"),
    (r"\\\|", "‖"),
    (r"\\quad", " "),
    (r"\\[,; ]", " "),
    (r"\^2", "²"),
    (r"x_0", "x₀"),
    (r"x_i", "xᵢ"),
    (r"x_j", "xⱼ"),
]


def formula(tex: str) -> str:
    """Return a formula of the few symbols that docstrings use as plain text."""
    for pattern, text in _SYMBOLS:
        tex = re.sub(pattern, text, tex)
    return re.sub(r" +", " ", tex).strip()


def markdown(text: str) -> str:
    """Return a docstring in which roles are code and formulas are lines of code."""
    text = _EXAMPLE.sub(r"\1Examples:", text)
    text = _ANY_ERROR.sub(r"\1Exception: ", text)
    text = _MATH.sub(lambda found: f"{found[1]}`{formula(found[2])}`", text)
    return _ROLE.sub(lambda found: f"`{found[1] or found[2]}`", text)


class Roles(griffe.Extension):
    """Applies :func:`markdown` to every docstring that is collected."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is None:
            return
        obj.docstring.value = markdown(obj.docstring.value)
        if isinstance(obj, griffe.Class) and any(str(base).endswith("NamedTuple") for base in obj.bases):
            obj.docstring.value = re.sub(r"^( *)Args:$", r"\1Attributes:", obj.docstring.value, flags=re.MULTILINE)
