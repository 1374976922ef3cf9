"""Results as plain values that JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return ``value`` with dataclasses as dicts, tuples as lists, and ``None`` for floats that are not finite."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of the dataclass ``value`` as a plain dict; see ``plain``."""
    result: dict[str, Any] = plain(value)
    return result
