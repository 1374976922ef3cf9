"""One named series while it is written."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradtape.errors import InputError
from gradtape.runs import _layout

if TYPE_CHECKING:
    from gradtape.runs.store import SeriesStore


class Channel:
    """One named series: the same columns at every step; ``SeriesStore.channel`` makes it.

    Attributes:
        name: Its name.
        columns: Names of its columns.
    """

    def __init__(self, store: SeriesStore, key: int, name: str, columns: tuple[str, ...]) -> None:
        self.name = name
        self.columns = columns
        self._store = store
        self._key = key

    def append(self, step: int, values: Sequence[float] | npt.NDArray[np.floating]) -> None:
        """Add the numbers of one step; a step written before is replaced.

        Args:
            step: The step, from -2⁶³ to 2⁶³ - 1; steps may be left out.
            values: One number per column, stored as float32: what is larger becomes infinite.

        Raises:
            InputError: The numbers are not one per column, or the step is none.
            RunError: Numbers could not be stored: the disk is full, or another process holds the file.
        """
        with np.errstate(over="ignore"):
            numbers = np.asarray(values, dtype="<f4")
        if numbers.shape != (len(self.columns),):
            raise InputError(
                f"channel {self.name!r} takes {len(self.columns)} numbers, got shape {numbers.shape}",
                remedy="give one number per column",
            )
        number = operator.index(step)
        if not _layout.LOWEST <= number <= _layout.HIGHEST:
            raise InputError(f"step {number} of channel {self.name!r} has more than 64 bits", remedy="count from 0")
        self._store.put(self._key, number, numbers.tobytes())
