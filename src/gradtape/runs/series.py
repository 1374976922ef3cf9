"""What comes out of a series file: whole series, and series drawn into pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradtape.errors import InputError

Steps = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float32]


class Series(NamedTuple):
    """What one channel holds.

    Attributes:
        columns: Names of the columns.
        steps: The steps, ascending, shape (n,), int64.
        values: The numbers, shape (n, columns), float32.
    """

    columns: tuple[str, ...]
    steps: Steps
    values: Numbers

    def column(self, name: str) -> Numbers:
        """Return the numbers of one column, shape (n,)."""
        return self.values[:, self.columns.index(name)]


class Envelope(NamedTuple):
    """One series drawn into at most so many pixels; pixels without a step are left out.

    A plotter draws a bar from ``minimum`` to ``maximum`` at each pixel, a line through ``last``, and a mark wherever
    ``nonfinite`` is not 0, so that a single NaN among 100,000 steps is seen.

    Attributes:
        steps_first: First stored step in the pixel, int64.
        steps_last: Last stored step in the pixel, int64.
        minimum: Smallest finite value in the pixel, float32; NaN where there is none.
        maximum: Largest finite value in the pixel, float32; NaN where there is none.
        last: Value at ``steps_last`` as it is, perhaps NaN or infinite, float32.
        nonfinite: How many values in the pixel are NaN or infinite, int64.
    """

    steps_first: Steps
    steps_last: Steps
    minimum: Numbers
    maximum: Numbers
    last: Numbers
    nonfinite: Steps


def envelope_of(steps: Steps, values: Numbers, pixels: int, start: int | None, stop: int | None) -> Envelope:
    """Draw one series into ``pixels`` equally wide parts of the steps from ``start`` to before ``stop``.

    Args:
        steps: The steps within the range, ascending, shape (n,).
        values: The numbers at those steps, shape (n,).
        pixels: Number of parts, at least 1.
        start: Where the first part begins; the first step if None.
        stop: Where the last part ends; one after the last step if None.

    Raises:
        InputError: ``pixels`` is below 1.
    """
    if pixels < 1:
        raise InputError(f"pixels is {pixels}", remedy="draw at least 1")
    if not len(steps):
        none, nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        return Envelope(none, none, nothing, nothing, nothing, none)
    low = int(steps[0]) if start is None else start
    span = (int(steps[-1]) + 1 if stop is None else stop) - low
    coarse = span * pixels // 2**62 + 1  # 1 unless the product below would not fit into 64 bits
    pixel = (steps - low) // coarse * pixels // -(-span // coarse)
    begins = np.flatnonzero(np.diff(pixel, prepend=-1))
    ends = np.append(begins[1:], len(steps)) - 1
    finite = np.isfinite(values)
    minimum = np.minimum.reduceat(np.where(finite, values, np.float32(np.inf)), begins)
    maximum = np.maximum.reduceat(np.where(finite, values, np.float32(-np.inf)), begins)
    nonfinite = np.add.reduceat((~finite).astype(np.int64), begins)
    empty = minimum > maximum
    minimum[empty] = maximum[empty] = np.nan
    return Envelope(steps[begins], steps[ends], minimum, maximum, values[ends], nonfinite)
