"""Where each synthetic sample comes from: parents, maker, node, objective, seed, model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.atomic import write_atomically
from gradtape.errors import DataError, InputError
from gradtape.evidence._plain import fields_of

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Lineage:
    """One synthetic sample's descent.

    Args:
        sample: The sample's path relative to the data set, or its row id.
        maker: Name of what made it, such as ``"steer"``.
        parents: Origins of the real samples it was made from; empty for a sample drawn from a model alone.
        node: The tape node that was edited, if any.
        objective: What the edit aimed at, if anything.
        seed: Seed of the draw.
        model: SHA-256 of the weights that made it, 64 hexadecimal digits (see ``hash_arrays``), if any.
        settings: Small values: strings, numbers, booleans, ``None``.

    Raises:
        InputError: neither a parent nor a model, an absolute path, a hash of another form, or a setting that JSON
            cannot hold.

    Examples:
        >>> Lineage("0.png", "mixup", ("train/4.png", "train/9.png"), seed=3).parents
        ('train/4.png', 'train/9.png')
    """

    sample: str
    maker: str
    parents: tuple[str, ...] = ()
    node: str | None = None
    objective: str | None = None
    seed: int = 0
    model: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        parents: Any = self.parents
        if isinstance(parents, str):
            raise InputError(f"parents of {self.sample!r} is one string", remedy="give a tuple of strings")
        object.__setattr__(self, "parents", tuple(parents))
        object.__setattr__(self, "settings", dict(self.settings))
        for name in ("sample", "maker", "node", "objective", "model"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and (value is not None or name in ("sample", "maker")):
                raise InputError(f"{name} of {self.sample!r} is {value!r}", remedy="give a string that is not empty")
        if not self.parents and self.model is None:
            raise InputError(f"{self.sample!r} has no parent and no model", remedy="name at least one of the two")
        for origin in (self.sample, *self.parents):
            if not isinstance(origin, str) or not origin or re.match(r"[/\\~]|[A-Za-z]:[/\\]", origin):
                raise InputError(
                    f"{origin!r} is no relative path or row id", remedy="write it relative to its data set"
                )
        if self.model is not None and not re.fullmatch(r"[0-9a-f]{64}", self.model):
            raise InputError(f"model of {self.sample!r} is {self.model!r}", remedy="give 64 hexadecimal digits")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError(f"seed of {self.sample!r} is {self.seed!r}", remedy="give a whole number")
        for key, value in self.settings.items():
            finite = not isinstance(value, float) or np.isfinite(value)
            if not isinstance(key, str) or not isinstance(value, Setting) or not finite:
                raise InputError(
                    f"setting {key!r} of {self.sample!r} is {value!r}",
                    remedy="give a string, a finite number, a boolean or None",
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)


def lineage_text(rows: Iterable[Lineage]) -> str:
    """Return the rows as JSON Lines, sorted by sample, keys sorted: the same rows give the same bytes.

    Raises:
        InputError: two rows about the same sample.

    Examples:
        >>> print(lineage_text([Lineage("0.png", "shift", ("4.png",))]), end="")
        {"maker":"shift","model":null,"node":null,"objective":null,"parents":["4.png"],"sample":"0.png","seed":0,"settings":{}}

    Source: https://jsonlines.org
    """
    ordered = sorted(rows, key=lambda row: row.sample)
    for before, after in pairwise(ordered):
        if before.sample == after.sample:
            raise InputError(f"two rows are about sample {after.sample!r}", remedy="give each sample one row")
    lines = (json.dumps(row.to_dict(), sort_keys=True, ensure_ascii=False, separators=(",", ":")) for row in ordered)
    return "".join(f"{line}\n" for line in lines)


def write_lineage(path: str | Path, rows: Iterable[Lineage]) -> None:
    """Write ``lineage_text`` to ``path``, in UTF-8; the file appears whole or not at all.

    Raises:
        InputError: two rows about the same sample.
        RunError: the disk is full or the folder cannot be written.
    """
    write_atomically(path, lineage_text(rows), then="write it again")


def read_lineage(path: str | Path) -> list[Lineage]:
    """Read rows written by ``write_lineage``, in the file's order.

    Raises:
        DataError: no such file, or a line that is not a valid row, by number.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})", remedy="give a lineage file of gradtape") from None
    return [_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _row(line: str, where: str) -> Lineage:
    known = {entry.name for entry in dataclasses.fields(Lineage)}
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or not {"sample", "maker"} <= set(values) <= known:
            raise DataError(f"{where} lacks or adds fields", remedy=f"give {', '.join(sorted(known))}")
        return Lineage(**values)
    except json.JSONDecodeError:
        raise DataError(f"{where} is not JSON", remedy="write the file again") from None
    except (InputError, TypeError) as error:
        raise DataError(f"{where} is not a valid row ({error})", remedy="write the file again") from None


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of named arrays: over the sorted names, each with its dtype, shape and bytes.

    Independent of the order of the names, of the memory layout and of the machine's byte order.

    Args:
        arrays: Arrays by name, such as a model's weights; any dtype but object.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: an array of objects.

    Examples:
        >>> hash_arrays({"b": np.zeros(2), "a": np.ones(1)}) == hash_arrays({"a": np.ones(1), "b": np.zeros(2)})
        True
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.hasobject:
            raise InputError(f"array {name!r} holds Python objects", remedy="give numbers, booleans or strings")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        header = json.dumps([name, array.dtype.str, list(array.shape), array.nbytes])
        digest.update(header.encode() + b"\n")
        digest.update(array.tobytes())
    return digest.hexdigest()
