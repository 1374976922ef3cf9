"""The two kinds of data: images and points, to what the networks see and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradtape.data import ImageSet, PointSet, ValueRange, from_arrays, from_points
from gradtape.errors import DataError

LEAST = 10  # samples to learn from
_CONSTANT = 1e-12  # of a column's largest magnitude: spread below this is rounding


class Kind(Protocol):
    """How samples look to the user and to the networks."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as the networks see it."""

    def decode(self, samples: Tensor) -> Any:
        """Return the networks' samples in the user's kind, range, type and layout."""

    def shown(self, samples: Tensor) -> NDArray[np.float64]:
        """Return samples as reports and files show them: images in [0, 1], points in the user's units."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images; the networks see them in [-1, 1].

    Args:
        pattern: A set without rows that knows range, type and layout.
        tensor: The torch type, where the user gave a tensor.
    """

    pattern: ImageSet
    tensor: str = ""

    @classmethod
    def of(cls, data: ImageSet, tensor: str = "") -> tuple[Self, Tensor]:
        """Return the kind of these images, and the images as the networks see them."""
        if len(data) < LEAST:
            raise DataError(f"there are {len(data)} images", remedy=f"give at least {LEAST}, better hundreds")
        empty = replace(data, images=data.images[:0], labels=data.labels[:0], origins=(), official_test=None, note="")
        return cls(empty, tensor), torch.from_numpy(data.images) * 2 - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return self.pattern.images.shape[1:]

    def decode(self, samples: Tensor) -> Any:
        """Return images in the user's range, type and layout."""
        array = self.pattern.as_given(self.shown(samples))
        return torch.from_numpy(array).to(getattr(torch, self.tensor)) if self.tensor else array

    def shown(self, samples: Tensor) -> NDArray[np.float64]:
        """Return images in [0, 1], float64 (n, c, h, w)."""
        return (samples.cpu().double().numpy().clip(-1, 1) + 1) / 2

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        data = self.pattern
        return {
            "kind": "images",
            "shape": list(self.shape),
            "scale": asdict(data.scale),
            "layout": data.layout,
            "name": data.name,
            "source": data.kind,
            "tensor": self.tensor,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Return what ``to_json`` was made from."""
        empty = ImageSet(
            images=np.empty((0, *plain["shape"]), dtype=np.float32),
            labels=np.empty(0, dtype=np.int64),
            classes=(),
            origins=(),
            name=plain["name"],
            kind=plain["source"],
            scale=ValueRange(**plain["scale"]),
            layout=plain["layout"],
        )
        return cls(empty, plain["tensor"])


@dataclass(frozen=True, eq=False)
class Points:
    """Points; the networks see columns of mean 0 and standard deviation 1, without the constant ones.

    Args:
        pattern: A set without rows that knows columns, types and form.
        mean: Mean of each column, (d,).
        scale: Standard deviation of each column, (d,); 0 for a constant one.
        tensor: The torch type, where the user gave a tensor.
    """

    pattern: PointSet
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    tensor: str = ""

    @classmethod
    def of(cls, data: PointSet, tensor: str = "") -> tuple[Self, Tensor]:
        """Return the kind of these points, and the points as the networks see them."""
        if len(data) < LEAST:
            raise DataError(f"X has {len(data)} rows", remedy=f"give at least {LEAST}, better hundreds")
        largest = np.abs(data.values).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)  # squares of huge or tiny numbers would leave the range of floats
        scale = (data.values / unit).std(axis=0) * unit
        scale = np.where(scale > _CONSTANT * largest, scale, 0.0)
        if not scale.any():
            raise DataError("all rows of X are the same", remedy="give rows that differ")
        mean = np.where(scale > 0, (data.values / unit).mean(axis=0) * unit, data.values[0])
        kind = cls(replace(data, values=data.values[:0]), mean, scale, tensor)
        return kind, kind.encode(data.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of columns that vary."""
        return (int((self.scale > 0).sum()),)

    def encode(self, values: NDArray[np.float64]) -> Tensor:
        """Return points (n, d) of the user's units as the networks see them."""
        vary = self.scale > 0
        return torch.from_numpy(((values[:, vary] - self.mean[vary]) / self.scale[vary]).astype(np.float32))

    def decode(self, samples: Tensor) -> Any:
        """Return points in the user's units, types and form."""
        given = self.pattern.as_given(self.shown(samples))
        return torch.from_numpy(given).to(getattr(torch, self.tensor)) if self.tensor else given

    def shown(self, samples: Tensor) -> NDArray[np.float64]:
        """Return points in the user's units, float64 (n, d)."""
        values = np.tile(self.mean, (len(samples), 1))
        vary = self.scale > 0
        values[:, vary] += samples.cpu().double().numpy() * self.scale[vary]
        return values

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        data = self.pattern
        return {
            "kind": "points",
            "columns": list(data.columns),
            "dtypes": list(data.dtypes),
            "form": data.form,
            "name": data.name,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "tensor": self.tensor,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Return what ``to_json`` was made from."""
        columns = tuple(plain["columns"])
        empty = PointSet(np.empty((0, len(columns))), columns, tuple(plain["dtypes"]), plain["form"], plain["name"])
        return cls(empty, np.array(plain["mean"]), np.array(plain["scale"]), plain["tensor"])


def kind_of(X: Any) -> tuple[Images | Points, Tensor]:
    """Find out what kind of samples an array, a tensor or a data frame holds."""
    tensor = ""
    if isinstance(X, Tensor):
        tensor = str(X.dtype).removeprefix("torch.")
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    frame = type(X).__name__ == "DataFrame"
    if not frame:
        X = np.asarray(X) if hasattr(X, "__array__") else X
    if frame or np.ndim(X) <= 2:
        return Points.of(from_points(X), tensor)
    return Images.of(from_arrays(X, None), tensor)


def kind_from_json(plain: dict[str, Any]) -> Images | Points:
    """Return the kind that ``to_json`` was made from."""
    return Images.from_json(plain) if plain["kind"] == "images" else Points.from_json(plain)
