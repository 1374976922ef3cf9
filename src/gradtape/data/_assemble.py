"""The last step of every reader: check raw arrays and make an ImageSet of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.data._labels import encode_labels, no_labels
from gradtape.data._layout import arrange
from gradtape.data._names import safe_name
from gradtape.data.images import ImageSet, Kind, describe
from gradtape.data.ranges import ValueRange
from gradtape.errors import DataError, InputError

SMALLEST, LARGEST = 4, 256  # pixels a side


def assemble(
    raw: NDArray[Any],
    y: ArrayLike | None,
    *,
    name: str,
    kind: Kind,
    called: tuple[str, str] = ("images", "labels"),
    origins: Sequence[str] | None = None,
    official_test: NDArray[np.int64] | None = None,
    remarks: Iterable[str] = (),
) -> ImageSet:
    """Check images and labels, if any, as they were read; ``called`` is what errors call the two."""
    images_name, labels_name = called
    if raw.dtype.kind not in "buif":
        raise InputError(
            f"{images_name} has values of type {raw.dtype.name}", remedy="convert them to integers or floats"
        )
    if raw.ndim and not len(raw):
        raise DataError(
            f"{images_name} has no rows", remedy=f"give at least 2 images{'' if y is None else ' of each class'}"
        )
    arranged = arrange(raw, images_name)
    array = arranged.array
    labels = no_labels(len(array)) if y is None else encode_labels(y, labels_name)
    if len(labels.labels) != len(array):
        raise DataError(
            f"{images_name} has {len(array)}, {labels_name} has {len(labels.labels)}",
            remedy="give exactly one label per image",
        )
    check_size(array.shape[3], array.shape[2], f"{images_name} holds images of")
    _check_finite(array, images_name)
    if y is not None:
        _check_classes(labels.labels, labels.classes)
    scale = ValueRange.of(array)
    said = [describe(array, len(labels.classes)), *([arranged.remark] if arranged.remark else []), *remarks]
    return ImageSet(
        images=np.ascontiguousarray(scale.encode(array)),
        labels=labels.labels,
        classes=labels.classes,
        origins=tuple(origins) if origins is not None else tuple(f"row {i}" for i in range(len(array))),
        name=safe_name(name),
        kind=kind,
        scale=scale,
        official_test=official_test,
        note="; ".join(said),
        vocabulary=labels.vocabulary,
        layout=arranged.layout,
    )


def check_size(width: int, height: int, where: str) -> None:
    """Refuse images with a side outside 4..256 pixels; ``where`` begins the sentence."""
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        small = min(width, height) < SMALLEST
        limit = f"smaller than {SMALLEST}x{SMALLEST}" if small else f"larger than {LARGEST} pixels a side"
        raise DataError(
            f"{where} {width}x{height}, {limit}",
            remedy=f"resize them to between {SMALLEST} and {LARGEST} pixels a side",
        )


def _check_finite(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.flatnonzero(~finite.all(axis=(1, 2, 3)))[0])
        count = int(finite.size - np.count_nonzero(finite))
        raise DataError(
            f"{name} has {count:,} values that are not finite, the first in row {row}",
            remedy="replace them or leave these rows out",
        )


def _check_classes(labels: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise DataError(f"there is only one class, {classes[0]!r}", remedy="give images of at least 2 classes")
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        name = classes[int(counts.argmin())]
        raise DataError(
            f"class {name!r} has 1 image, and at least 2 are needed", remedy="add images to it or leave it out"
        )
