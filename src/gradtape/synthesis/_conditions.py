"""What samples are conditioned on: nothing, a class each, or continuous attributes; encoded, drawn, and given back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradtape.data import encode_labels, from_points
from gradtape.errors import DataError, GradtapeError, InputError


@dataclass(frozen=True, eq=False)
class Conditions:
    """How conditions look to the user and to the networks.

    Args:
        classes: Names of the classes; empty without.
        vocabulary: The user's value of each class.
        shares: Share of each class in the data.
        mean: Mean of each attribute; empty without.
        scale: Its standard deviation.
        rows: The data's attributes (n, k), drawn from when none are asked for.
        flat: Whether attributes came as (n,).
    """

    classes: tuple[str, ...] = ()
    vocabulary: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    shares: tuple[float, ...] = ()
    mean: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    rows: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    flat: bool = False

    @classmethod
    def of_labels(cls, labels: NDArray[np.int64], classes: tuple[str, ...], vocabulary: NDArray[Any]) -> Self:
        """Return conditions on classes that are numbered already; none where there is only one."""
        if len(classes) < 2:
            return cls()
        counts = np.bincount(labels, minlength=len(classes))
        return cls(classes=classes, vocabulary=vocabulary, shares=tuple((counts / counts.sum()).tolist()))

    @classmethod
    def of(cls, y: Any, n: int) -> tuple[Self, Tensor | None]:
        """Find out what kind of conditions ``y`` holds, and encode it for the networks.

        Floats with a fractional part, and floats of shape (n, k), are attributes; all else are classes.

        Raises:
            DataError: There is not one per sample, a value is not finite, or nearly every sample has its own class.
        """
        given = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
        if given.ndim == 0 or len(given) != n:
            length = "no" if given.ndim == 0 else f"{len(given):,}"
            raise DataError(f"X has {n:,} samples and y has {length} rows", remedy="give one row of y per sample")
        if given.dtype.kind == "f" and (given.ndim == 2 or not _whole(given)):
            try:
                rows = from_points(given[:, None] if given.ndim == 1 else given).values
            except GradtapeError as error:
                raise DataError(error.what.replace("X has", "y has", 1), remedy=error.remedy) from None
            deviation = rows.std(axis=0)
            scale = np.where(deviation > 1e-12 * np.abs(rows).max(axis=0), deviation, 1.0)
            made = cls(mean=rows.mean(axis=0), scale=scale, rows=rows, flat=given.ndim == 1)
            return made, made._encoded(rows)
        labels = encode_labels(given, "y")
        if len(labels.classes) > max(2, n // 2):
            raise DataError(
                f"y has {len(labels.classes):,} classes for {n:,} samples",
                remedy="give classes that several samples share, or floats for continuous attributes",
            )
        found = cls.of_labels(labels.labels, labels.classes, labels.vocabulary)
        return found, torch.from_numpy(labels.labels) if found.classes else None

    @property
    def attributes(self) -> int:
        """Number of attributes."""
        return len(self.mean)

    def asked(self, y: Any, n: int) -> Tensor | None:
        """Return the networks' condition for ``n`` samples of what the user asks for: one value, or one per sample.

        Raises:
            InputError: There is nothing to ask for, no such class, or another number than ``n``.
        """
        given = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
        if not self.classes and not self.attributes:
            raise InputError("y was asked for and fit was given none", remedy="leave y out, or fit with y")
        wide = 1 if self.attributes and not self.flat else 0  # dimensions of one sample's condition
        if given.ndim not in (wide, wide + 1) or (given.ndim == wide + 1 and len(given) != n):
            raise InputError(f"y has shape {given.shape} for {n:,} samples", remedy="give one value, or one per sample")
        if self.attributes:
            if given.dtype.kind not in "buif" or not np.isfinite(given).all():
                raise InputError("y holds something else than finite numbers", remedy="give attributes as floats")
            rows = np.asarray(given, dtype=np.float64).reshape(-1, 1) if self.flat else given.astype(np.float64)
            rows = np.broadcast_to(rows, (n, rows.shape[-1]))
            if rows.shape[1] != self.attributes:
                raise InputError(
                    f"y has {rows.shape[1]} attributes, not {self.attributes}", remedy="give as many as fit had"
                )
            return self._encoded(rows)
        known = {value: index for index, value in enumerate(self.vocabulary.tolist())}
        values = [given.item()] * n if given.ndim == 0 else given.tolist()
        unknown = next((value for value in values if value not in known), None)
        if unknown is not None:
            raise InputError(f"y asks for class {unknown!r}", remedy=f"use one of {', '.join(self.classes[:20])}")
        return torch.tensor([known[value] for value in values], dtype=torch.int64)

    def drawn(self, n: int, random: torch.Generator) -> Tensor | None:
        """Return conditions for ``n`` samples in the data's proportions, in random order."""
        if self.attributes:
            return self._encoded(self.rows[torch.randint(len(self.rows), (n,), generator=random).numpy()])
        if not self.classes:
            return None
        exact = np.array(self.shares) * n
        counts = np.floor(exact).astype(np.int64)
        counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1  # the largest remainders
        return torch.from_numpy(np.repeat(np.arange(len(counts)), counts))[torch.randperm(n, generator=random)]

    def given_back(self, condition: Tensor | None) -> NDArray[Any] | None:
        """Return conditions in the user's own values."""
        if condition is None:
            return None
        if self.classes:
            return np.asarray(self.vocabulary[condition.cpu().numpy()])
        rows = condition.cpu().numpy().astype(np.float64) * self.scale + self.mean
        return rows[:, 0] if self.flat else rows

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the data's attributes are kept beside them, as an array."""
        plain = self.vocabulary
        return {
            "classes": list(self.classes),
            "vocabulary": [value.decode("latin-1") if isinstance(value, bytes) else value for value in plain.tolist()],
            "dtype": plain.dtype.str,
            "shares": list(self.shares),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "flat": self.flat,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any], rows: NDArray[np.float64]) -> Self:
        """Return what ``to_json`` was made from."""
        words = plain["vocabulary"]
        if plain["dtype"].lstrip("|<>=").startswith("S"):
            words = [word.encode("latin-1") for word in words]
        return cls(
            tuple(plain["classes"]),
            np.array(words, dtype=np.dtype(plain["dtype"])),
            tuple(plain["shares"]),
            np.array(plain["mean"]),
            np.array(plain["scale"]),
            rows,
            plain["flat"],
        )

    def _encoded(self, rows: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(((rows - self.mean) / self.scale).astype(np.float32))


def _whole(values: NDArray[Any]) -> bool:
    return bool(np.isfinite(values).all() and (values == np.rint(values)).all())
