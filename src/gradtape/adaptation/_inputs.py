"""What users give, as the networks take it: images or tables of mixed columns to tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradtape.data import Table, from_table
from gradtape.errors import DataError, InputError

_LARGEST_VOCABULARY = 100  # of a column of text; rarer words are as good as missing
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Column:
    """How a column of a table becomes numbers.

    Attributes:
        name: Its name.
        words: Values of a column of text that both domains have, each of which becomes a number of its own; None for a
            column of numbers.
        centre: What stands for a missing number, the source's median.
        scale: By which numbers are divided, after the centre is taken off; 0 for a column that the source lacks.
        flagged: Whether a further number says that the value is missing.
    """

    name: str
    words: tuple[str, ...] | None = None
    centre: float = 0.0
    scale: float = 1.0
    flagged: bool = False

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return 1 + self.flagged if self.words is None else len(self.words)

    def encode(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return its numbers, shape (n, width)."""
        if self.words is not None:
            return np.asarray(values[:, None] == np.array(self.words, dtype=object), dtype=np.float32)
        missing = np.isnan(values)
        made = np.where(missing | (self.scale == 0), 0.0, (values - self.centre) / (self.scale or 1.0))
        return np.stack([made, missing][: self.width], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Encoder:
    """How inputs become one float32 tensor: images (n, c, h, w), tables (n, d).

    Attributes:
        kind: ``images`` or ``table``.
        shape: Of one input as the networks see it.
        columns: Of a table.
        centre: Mean of the source's pixels.
        scale: Their deviation.
    """

    kind: Literal["images", "table"]
    shape: tuple[int, ...]
    columns: tuple[Column, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, source: Any, target: Any = None) -> Self:
        """Learn from the source how inputs look; of the target, which words and gaps it has."""
        if is_images(source):
            pixels = as_images(source)
            return cls("images", tuple(pixels.shape[1:]), (), float(pixels.mean()), float(pixels.std()) or 1.0)
        table = as_table(source)
        other = table if target is None else as_table(target)
        _same_columns(table.names, other.names)
        columns = tuple(_column(name, table.columns[name], other.columns[name]) for name in table.names)
        width = sum(column.width for column in columns)
        if not width:
            what = "no column has a value that both domains have"
            raise DataError(what, remedy="give columns of numbers, or of words that both use")
        return cls("table", (width,), columns)

    def encode(self, X: Any) -> Tensor:
        """Return inputs as the networks see them.

        Raises:
            InputError: Other columns or another shape than in ``fit``.
        """
        if self.kind == "images":
            if not is_images(X):
                raise InputError(
                    f"images are needed, and this has shape {np.shape(X)}", remedy="give (n, h, w) or (n, c, h, w)"
                )
            pixels = as_images(X)
            if tuple(pixels.shape[1:]) != self.shape:
                what = f"images of shape {tuple(pixels.shape[1:])}, and those of the source have {self.shape}"
                raise InputError(what, remedy="bring both to one shape first")
            return (pixels - self.centre) / self.scale
        table = as_table(X)
        names = tuple(column.name for column in self.columns)
        _same_columns(names, table.names)
        parts = []
        for column in self.columns:
            values = table.columns[column.name]
            if values.dtype == object and column.words is None:
                if not _empty(values):
                    what = f"column {column.name!r} holds text here and numbers in the source"
                    raise InputError(what, remedy="give both the same kind of values")
                values = np.full(len(values), np.nan)
            elif values.dtype != object and column.words is not None:
                values = np.array([None if value != value else _word(value) for value in values], dtype=object)
            parts.append(column.encode(values))
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def gaps(self, X: Any) -> Tensor | None:
        """Return which encoded numbers of a table are of missing values, (n, d); None where nothing is missing."""
        if self.kind == "images":
            return None
        table = as_table(X)
        parts = []
        for column in self.columns:
            values = table.columns[column.name]
            lacking = values != values if column.words is None else np.array([value is None for value in values])
            parts.append(np.repeat(lacking[:, None], column.width, axis=1))
        found = np.concatenate(parts, axis=1)
        return torch.from_numpy(found) if found.any() else None

    @property
    def nothing(self) -> Tensor:
        """What a row of missing values becomes, (d,)."""
        return torch.tensor([float(index == 1) for column in self.columns for index in range(column.width)])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Return the encoder that ``to_json`` was called on."""
        columns = tuple(
            Column(**{**each, "words": None if each["words"] is None else tuple(each["words"])})
            for each in plain["columns"]
        )
        return cls(**{**plain, "shape": tuple(plain["shape"]), "columns": columns})


def is_images(X: Any) -> bool:
    """Whether the inputs are images: arrays of three or four dimensions."""
    return len(np.shape(X)) in (3, 4) if hasattr(X, "shape") else False


def as_images(X: Any) -> Tensor:
    """Return images as float32 (n, c, h, w); whole numbers are divided by the largest of their type.

    Raises:
        InputError: No image, or values that are not finite.
    """
    array = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X)
    if array.dtype.kind not in "fiub" or not array.size:
        raise InputError(
            f"images of type {array.dtype} and shape {array.shape}", remedy="give numbers, one image at least"
        )
    scale = float(np.iinfo(array.dtype).max) if array.dtype.kind in "iu" and array.dtype.itemsize == 1 else 1.0
    pixels = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) / scale
    if not bool(pixels.isfinite().all()):
        raise InputError("the images hold values that are not finite", remedy="leave them out or fill them in")
    if pixels.dim() == 3:
        return pixels[:, None]
    return pixels.permute(0, 3, 1, 2) if pixels.shape[1] not in _CHANNELS and pixels.shape[3] in _CHANNELS else pixels


def as_table(X: Any) -> Table:
    """Return rows of columns."""
    return X if isinstance(X, Table) else from_table(X)


def _column(name: str, values: NDArray[Any], other: NDArray[Any]) -> Column:
    if values.dtype != object or _empty(values):
        numbers = values.astype(float)
        here = numbers[~np.isnan(numbers)]
        gaps = bool(np.isnan(numbers).any()) or (other.dtype != object and bool(np.isnan(other).any())) or _empty(other)
        if not here.size:
            return Column(name, scale=0.0, flagged=gaps)
        return Column(name, None, float(np.median(here)), float(here.std()) or 1.0, gaps)
    found, theirs = ([_word(value) for value in each.astype(object) if value is not None] for each in (values, other))
    words, counts = np.unique(np.array(found, dtype=str), return_counts=True)
    shared = np.isin(words, theirs)  # a word of one domain alone says nothing of the other
    most = np.argsort(-counts[shared], kind="stable")[:_LARGEST_VOCABULARY]
    return Column(name, tuple(np.sort(words[shared][most]).tolist()))


def _word(value: Any) -> str:
    """Return a value as a word; whole numbers without a point, as they are written in columns of text."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _empty(values: NDArray[Any]) -> bool:
    """Whether nothing but missing values is in a column."""
    return all(value is None or value != value for value in values)


def _same_columns(expected: tuple[str, ...], given: tuple[str, ...]) -> None:
    if set(expected) == set(given):
        return
    lacking = [name for name in expected if name not in given]
    more = [name for name in given if name not in expected]
    said = " and ".join(
        [f"lacks {', '.join(map(repr, lacking[:3]))}"] * bool(lacking)
        + [f"has {', '.join(map(repr, more[:3]))} more"] * bool(more)
    )
    raise InputError(f"the columns differ from the source's: this {said}", remedy="give both the same columns")
