"""The range and type of pixel values in their source, and the way to [0, 1] and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import DataError, InputError

__all__ = ["ValueRange"]


@dataclass(frozen=True)
class ValueRange:
    """How pixel values look in their source: what is read as 0, what as 1, and the numpy type.

    Args:
        low: The value that becomes 0.
        high: The value that becomes 1; more than ``low``.
        dtype: Name of the numpy type of the source, such as ``"uint8"``.

    Raises:
        InputError: ``high`` is not a finite number above a finite ``low``, or ``dtype`` is no type for pixels.

    Examples:
        >>> ValueRange(0, 255, "uint8").decode([0.0, 0.5, 1.0])
        array([  0, 128, 255], dtype=uint8)
    """

    low: float
    high: float
    dtype: str

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.high > self.low):
            raise InputError(
                f"a value range from {self.low} to {self.high}", remedy="give a finite low and a larger finite high"
            )
        if np.dtype(self.dtype).kind not in "buif":
            raise InputError(f"pixel values of type {self.dtype}", remedy="convert them to integers or floats")

    @classmethod
    def of(cls, values: ArrayLike) -> ValueRange:
        """Find out the range of an array of pixel values.

        uint8 is 0..255 and bool 0..1. Other types: 0..1 where all values lie there, 0..255 where they are whole,
        not negative and the largest is above 16 and at most 255; else from min(0, smallest) to the largest.

        Args:
            values: Finite numbers of any shape, at least one.

        Returns:
            The range found.

        Raises:
            InputError: There are no values, or their type is no type for pixels.
            DataError: The values lie so far apart that their difference overflows.

        Examples:
            >>> ValueRange.of(np.array([0, 7, 16]))
            ValueRange(low=0.0, high=16.0, dtype='int64')
        """
        array = np.asarray(values)
        name = array.dtype.name
        if array.dtype.kind not in "buif":
            raise InputError(f"pixel values of type {name}", remedy="convert them to integers or floats")
        if array.size == 0:
            raise InputError("no pixel values", remedy="give at least one image")
        if name == "bool":
            return cls(0.0, 1.0, name)
        if name == "uint8":
            return cls(0.0, 255.0, name)
        smallest, largest = float(array.min()), float(array.max())
        if smallest >= 0 and largest <= 1:
            return cls(0.0, 1.0, name)
        if smallest >= 0 and 16 < largest <= 255 and _whole(array):
            return cls(0.0, 255.0, name)
        low = min(0.0, smallest)
        high = largest if largest > low else 0.0
        if not np.isfinite(high - low):
            raise DataError(f"pixel values from {low:g} to {high:g} lie too far apart", remedy="rescale them to 0..1")
        return cls(low, high, name)

    def encode(self, values: ArrayLike) -> NDArray[np.float32]:
        """Map values of the source to [0, 1]; what lies outside the range is clipped.

        Args:
            values: Numbers in ``low``..``high``, any shape.

        Returns:
            A new float32 array of the same shape in [0, 1], never a view of ``values``.

        Examples:
            >>> ValueRange(0, 16, "float64").encode([[4.0, 16.0]])
            array([[0.25, 1.  ]], dtype=float32)
        """
        array = np.asarray(values)
        # Half the memory where float32 holds every value exactly; large integers and doubles need the double.
        small = array.dtype.kind == "b" or (array.dtype.kind in "ui" and array.dtype.itemsize <= 2)
        as_is = (self.low, self.high) == (0.0, 1.0) and array.dtype.name in ("float16", "float32")
        encoded: NDArray[Any] = array.astype(np.float32 if small or as_is else np.float64)
        if not as_is:
            np.subtract(encoded, self.low, out=encoded)
            np.divide(encoded, self.high - self.low, out=encoded)
        np.clip(encoded, 0.0, 1.0, out=encoded)
        return encoded.astype(np.float32, copy=False)

    def decode(self, values: ArrayLike) -> NDArray[Any]:
        """Map values in [0, 1] to the range and type of the source: the inverse of ``encode``.

        Args:
            values: Finite numbers, any shape; what lies outside [0, 1] is clipped.

        Returns:
            A new array of type ``dtype`` in ``low``..``high``; integers are rounded to the nearest. Within float32's 24
            bits this gives back exactly what was encoded.

        Raises:
            InputError: A value is not finite.

        Examples:
            >>> ValueRange(0, 16, "int64").decode([0.26, 1.5])
            array([ 4, 16])
        """
        array = np.asarray(values, dtype=np.float64)
        if not np.isfinite(array).all():
            raise InputError("values to decode that are not finite", remedy="give numbers in [0, 1]")
        decoded = np.clip(array, 0.0, 1.0) * (self.high - self.low) + self.low
        decoded = np.clip(decoded, self.low, self.high)
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return decoded.astype(kind)
        decoded = np.rint(decoded)
        if kind.kind == "b":
            return decoded.astype(kind)
        limits = np.iinfo(kind)
        top = float(limits.max)  # of 64-bit integers the largest has no double of its own: take the one below
        return np.clip(decoded, float(limits.min), top if top <= limits.max else np.nextafter(top, 0.0)).astype(kind)


def _whole(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "ui" or bool((array == np.rint(array)).all())
