"""A set of images in memory, labelled or not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.data._layout import Layout, rearrange
from gradtape.data.ranges import ValueRange
from gradtape.errors import InputError

__all__ = ["ImageSet"]

Kind = Literal["builtin", "array", "npz", "folder", "idx"]


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images of one size, with all that is needed to give the same kind back.

    Made by ``gradtape.data.read``, ``read_images`` and ``from_arrays``.

    Args:
        images: float32 of shape (n, c, h, w) in [0, 1]; c is 1 or 3.
        labels: int64 of shape (n,) in 0..k-1; zeros where the images have no labels.
        classes: The k class names in natural order; none where the images have no labels.
        origins: Where each of the n images came from: ``"3/0012.png"``, ``"row 17"``, ``"test row 3"``.
        name: Short and safe as the name of a file.
        kind: What was read.
        scale: How the values looked in the source.
        official_test: Indices of the rows that the publisher set aside for testing, or None.
        note: One sentence on what was read and what was assumed.
        vocabulary: The user's own value of each class, shape (k,), in the user's type; the class names if None.
        layout: The user's own order of axes: "nchw", "nhwc", "nhw" or "flat".

    Raises:
        InputError: The arrays do not fit together.

    Examples:
        >>> from gradtape.data import read
        >>> digits = read("digits")
        >>> digits.images.shape, digits.classes[:3], digits.origins[17]
        ((1797, 1, 8, 8), ('0', '1', '2'), 'row 17')
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    origins: tuple[str, ...]
    name: str
    kind: Kind
    scale: ValueRange
    official_test: NDArray[np.int64] | None = None
    note: str = ""
    vocabulary: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    layout: Layout = "nchw"

    def __post_init__(self) -> None:
        n, k = len(self.images), len(self.classes)
        if self.images.ndim != 4 or self.images.dtype != np.float32:
            raise InputError(
                f"images of shape {self.images.shape} and type {self.images.dtype.name}",
                remedy="give float32 of shape (n, c, h, w), or use from_arrays",
            )
        if self.labels.shape != (n,) or len(self.origins) != n:
            raise InputError(
                f"{n} images with labels of shape {self.labels.shape} and {len(self.origins)} origins",
                remedy="give one label and one origin per image",
            )
        _check_labels(self.labels, max(1, k))
        if not len(self.vocabulary):
            object.__setattr__(self, "vocabulary", np.array(self.classes, dtype=np.str_))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageSet({self.name!r}: {describe(self.images, len(self.classes))})"

    def take(self, indices: ArrayLike) -> ImageSet:
        """Return the images at ``indices``, in that order.

        Args:
            indices: Integers in 0..n-1, shape (m,); one may come more than once.

        Returns:
            A new set with the same classes; ``official_test`` holds the new places of the rows it named.

        Raises:
            InputError: An index is outside 0..n-1 or is no integer.

        Examples:
            >>> from gradtape.data import read
            >>> read("digits").take([3, 0]).origins
            ('row 3', 'row 0')
        """
        rows = check_indices(indices, len(self))
        official = None if self.official_test is None else np.flatnonzero(np.isin(rows, self.official_test))
        images = self.images[rows]
        return replace(
            self,
            images=images,
            labels=self.labels[rows],
            origins=tuple(self.origins[row] for row in rows.tolist()),
            official_test=official if official is not None and len(official) else None,
            note=f"{describe(images, len(self.classes))}, taken from {self.name}",
        )

    def counts(self) -> dict[str, int]:
        """Return how many images each class has, in the order of ``classes``.

        Examples:
            >>> from gradtape.data import read
            >>> read("digits").counts()["3"]
            183
        """
        found = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))

    def labels_as_given(self, labels: ArrayLike) -> NDArray[Any]:
        """Return class numbers in the user's own words and type.

        Args:
            labels: Integers in 0..k-1, any shape.

        Returns:
            An array of the same shape in the type of the labels that were read.

        Raises:
            InputError: A label is outside 0..k-1 or is no integer.

        Examples:
            >>> from gradtape.data import from_arrays
            >>> data = from_arrays(np.zeros((4, 8, 8)), ["no", "yes", "no", "yes"])
            >>> data.labels_as_given([1, 0]).tolist()
            ['yes', 'no']
        """
        return np.asarray(self.vocabulary[_check_labels(labels, len(self.classes))])

    def as_given(self, images: ArrayLike) -> NDArray[Any]:
        """Return images in the layout, range and type in which the user gave theirs.

        Args:
            images: Numbers in [0, 1], shape (m, c, h, w) with the c, h, w of this set.

        Returns:
            A numpy array: (m, h, w), (m, c, h, w), (m, h, w, c) or (m, h * w), as was read.

        Raises:
            InputError: The shape differs from this set's, or a value is not finite.

        Examples:
            >>> from gradtape.data import from_arrays
            >>> data = from_arrays(np.zeros((4, 64), dtype=np.uint8), [0, 1, 0, 1])
            >>> data.as_given(np.ones((2, 1, 8, 8))).shape
            (2, 64)
        """
        array = np.asarray(images)
        if array.ndim != 4 or array.shape[1:] != self.images.shape[1:]:
            raise InputError(
                f"images of shape {array.shape}", remedy=f"give (m, {', '.join(map(str, self.images.shape[1:]))})"
            )
        return rearrange(self.scale.decode(array), self.layout)


def describe(images: NDArray[Any], classes: int) -> str:
    """One line on images of shape (n, c, h, w): how many, width x height, channels, classes."""
    n, c, h, w = images.shape
    return f"{n:,} images of {w}x{h}, {c} channel{'s' if c > 1 else ''}, {classes or 'no'} classes"


def check_indices(indices: ArrayLike, n: int) -> NDArray[np.int64]:
    """``indices`` as int64 of shape (m,), refused where one is outside 0..n-1."""
    rows = np.asarray(indices)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "ui"):
        raise InputError(f"indices of shape {rows.shape} and type {rows.dtype.name}", remedy="give a list of integers")
    outside = rows[(rows < 0) | (rows >= n)] if rows.size else rows
    if outside.size:
        raise InputError(f"index {outside[0]} of {n} images", remedy=f"give integers in 0..{n - 1}")
    return rows.astype(np.int64)


def _check_labels(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    numbers = np.asarray(labels)
    if numbers.size and (numbers.dtype.kind not in "ui" or numbers.min() < 0 or numbers.max() >= classes):
        raise InputError(
            f"labels of type {numbers.dtype.name} from {numbers.min()} to {numbers.max()} for {classes} classes",
            remedy=f"give integers in 0..{classes - 1}",
        )
    return numbers.astype(np.int64)


def name_of(path: str | os.PathLike[str]) -> str:
    """The last part of a path without its ending, also of "." and of a path that ends in a separator."""
    base = os.path.basename(os.path.abspath(path))
    return base if os.path.isdir(path) else os.path.splitext(base)[0]
