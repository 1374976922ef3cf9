"""Where an array keeps rows, channels, height and width, and how to turn it into (n, c, h, w) and back."""

from __future__ import annotations

from math import isqrt
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradtape.errors import InputError

Layout = Literal["nchw", "nhwc", "nhw", "flat"]
_SMALLEST_FLAT = 64  # values in a row that may be a square image
_WANTED = "(n, h, w), (n, channels, h, w) or (n, h, w, channels) with 1 or 3 channels"


class Arranged(NamedTuple):
    """An array in the order (n, c, h, w) and how it was given."""

    array: NDArray[Any]
    layout: Layout
    remark: str | None  # what was assumed


def arrange(array: NDArray[Any], name: str) -> Arranged:
    """View ``array`` as (n, c, h, w); ``name`` is what errors call it."""
    if array.ndim == 2:
        side = isqrt(array.shape[1])
        if array.shape[1] >= _SMALLEST_FLAT and side * side == array.shape[1]:
            remark = f"rows of {array.shape[1]} values read as {side}x{side} images"
            return Arranged(array.reshape(-1, 1, side, side), "flat", remark)
        raise InputError(
            f"{name} has shape {array.shape}, and rows of {array.shape[1]} values are no square image of 8x8 or more",
            remedy=f"reshape it to {_WANTED}; tables are not supported in this release",
        )
    if array.ndim == 3:
        return Arranged(array[:, None], "nhw", None)
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return Arranged(array, "nchw", None)
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return Arranged(array.transpose(0, 3, 1, 2), "nhwc", None)
    raise InputError(f"{name} has shape {array.shape}, and {_WANTED} was expected", remedy="reshape or convert it")


def rearrange(images: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Undo ``arrange``: turn (m, c, h, w) into the layout that was given."""
    if layout == "nhwc":
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    if layout == "nhw":
        return images[:, 0]
    if layout == "flat":
        return images.reshape(len(images), int(np.prod(images.shape[1:])))
    return images
