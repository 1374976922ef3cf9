"""Euclidean distances between feature matrices, in blocks of rows: memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradtape.evidence._checks import FloatArray

_VALUES_AT_ONCE = 4_000_000


def spread(data: FloatArray) -> float:
    """Return the root mean square distance of the rows to their mean, or 1 where they are all the same."""
    found = float(np.sqrt(((data - data.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return found if found > 0.0 else 1.0


def squared_blocks(rows: FloatArray, columns: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Yield (slice of rows, squared distances (block, m) of these rows to all columns).

    By ``|a|² + |b|² - 2ab``, whose rounding error is about 1e-16 times the largest of the three: centre the data first.
    """
    norms = (columns**2).sum(axis=1)
    step = max(1, _VALUES_AT_ONCE // len(columns))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        squared = block @ columns.T
        squared *= -2.0
        squared += (block**2).sum(axis=1)[:, None]
        squared += norms
        yield slice(start, start + len(block)), np.maximum(squared, 0.0, out=squared)


def _exclude_self(squared: FloatArray, rows: slice) -> None:
    """Set the distance of each row to itself to infinity, in place."""
    squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf


def squared_radii(data: FloatArray, k: int) -> FloatArray:
    """Return the squared distance of each row to its k-th nearest other row, (n,)."""
    data = data - data.mean(axis=0)
    radii = np.empty(len(data))
    for rows, squared in squared_blocks(data, data):
        _exclude_self(squared, rows)
        radii[rows] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii


def nearest(rows: FloatArray, columns: FloatArray, *, exclude_self: bool = False) -> FloatArray:
    """Return the distance of each row to the nearest column, (n,), exact to rounding of one subtraction.

    ``exclude_self`` takes the rows for the columns and leaves each one's distance to itself out.
    """
    mean = columns.mean(axis=0)
    found = np.empty(len(rows))
    for block, squared in squared_blocks(rows - mean, columns - mean):
        if exclude_self:
            _exclude_self(squared, block)
        found[block] = np.linalg.norm(rows[block] - columns[squared.argmin(axis=1)], axis=1)
    return found
