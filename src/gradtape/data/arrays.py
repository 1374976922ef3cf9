"""Images from arrays in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradtape.data._assemble import assemble
from gradtape.data.images import ImageSet
from gradtape.errors import InputError

__all__ = ["from_arrays"]


def from_arrays(X: ArrayLike, y: ArrayLike | None, *, name: str = "data") -> ImageSet:
    """Make an ImageSet of arrays; it remembers their layout, range and type, so that the same kind comes back.

    Args:
        X: Images as a numpy array, a torch tensor on the CPU or anything else that numpy takes: (n, h, w),
            (n, c, h, w) or (n, h, w, c) with c in {1, 3} and sides of 4..256 pixels, or (n, d) with d a square number
            of at least 64, read as square images of one channel. Integers, floats or bools of any finite range.
        y: Labels of shape (n,): integers, strings or bools; at least 2 classes of at least 2 images. None for images
            without labels.
        name: Short name of the data, used in reports and as the name of files.

    Returns:
        The set, in [0, 1]; nothing of it shares memory with ``X``. ``note`` says what was assumed.

    Raises:
        InputError: ``X`` is a table, is no array or has a shape that is no shape of images.
        DataError: ``X`` and ``y`` do not fit together, or their values cannot be used.

    Examples:
        >>> data = from_arrays(np.zeros((4, 64)), ["cat", "dog", "cat", "dog"])
        >>> data.images.shape, data.labels.tolist()
        ((4, 1, 8, 8), [0, 1, 0, 1])
        >>> data.note
        '4 images of 8x8, 1 channel, 2 classes; rows of 64 values read as 8x8 images'
    """
    return assemble(_as_array(X), y, name=name, kind="array", called=("X", "y"))


def _as_array(X: ArrayLike) -> np.ndarray[Any, Any]:
    kind = type(X)
    if kind.__name__ in ("DataFrame", "LazyFrame"):
        raise InputError(
            f"X is a {kind.__module__.split('.')[0]} {kind.__name__}, and this release takes images",
            remedy="give an array of images of shape (n, h, w), (n, channels, h, w) or (n, h, w, channels)",
        )
    try:
        array = np.asarray(X)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().rstrip(".").splitlines()[0] if str(error).strip() else kind.__name__
        raise InputError(
            f"X of type {kind.__name__} cannot be read as an array ({reason})",
            remedy="give a numpy array or a detached CPU tensor",
        ) from None
    if array.dtype.kind == "O":
        raise InputError(
            f"X of type {kind.__name__} is no array of numbers", remedy="give an array of integers or floats"
        )
    return array
