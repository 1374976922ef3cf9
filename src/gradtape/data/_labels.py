"""Labels of any kind to 0..k-1, and the words that the user has for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.data._names import natural_key
from gradtape.errors import DataError

_KINDS = "integers, strings or bools"


class EncodedLabels(NamedTuple):
    """Labels as class numbers.

    Attributes:
        labels: Shape (n,), in 0..k-1.
        classes: The k names.
        vocabulary: The user's value of each class in the user's type, shape (k,).
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    vocabulary: NDArray[Any]


def no_labels(n: int) -> EncodedLabels:
    """What stands for labels where ``n`` samples have none."""
    return EncodedLabels(np.zeros(n, dtype=np.int64), (), np.empty(0, dtype=np.str_))


def encode_labels(y: ArrayLike, name: str = "y") -> EncodedLabels:
    """Number the classes of labels in natural order.

    Args:
        y: Integers, strings or bools, shape (n,).
        name: What errors call it.

    Raises:
        DataError: No labels of one kind and one per sample.

    Examples:
        >>> encode_labels(["10", "9", "10"]).labels.tolist()
        [1, 0, 1]
    """
    try:
        given = np.asarray(y)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name} is no array ({error})", remedy=f"give one label per image: {_KINDS}") from None
    _check_shape(given, name)
    plain = _plain(given, name)
    values, labels = np.unique(plain, return_inverse=True)
    words = [_word(value) for value in values.tolist()]
    order = sorted(range(len(words)), key=lambda i: natural_key(words[i])) if plain.dtype.kind in "US" else None
    if order is not None:
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        labels, values, words = rank[labels], values[order], [words[i] for i in order]
    vocabulary = values.astype(object) if given.dtype.kind == "O" else values
    return EncodedLabels(labels.astype(np.int64), tuple(words), vocabulary)


def _check_shape(given: NDArray[Any], name: str) -> None:
    if given.ndim == 1:
        return
    what = f"{name} has shape {given.shape}, and one label per image was expected"
    if given.ndim == 2 and given.shape[1] == 1:
        raise DataError(what, remedy=f"give {name}.ravel()")
    if given.ndim == 2:
        raise DataError(f"{what} (one-hot labels?)", remedy=f"give {name}.argmax(axis=1)")
    raise DataError(what, remedy="give a one-dimensional array")


def _plain(given: NDArray[Any], name: str) -> NDArray[Any]:
    """``given`` as an array of one plain kind; floats that are not whole and mixtures are refused."""
    if given.dtype.kind == "O":
        items = given.tolist()
        if all(isinstance(item, str) for item in items):
            return np.array(items, dtype=np.str_)
        if all(isinstance(item, int | np.integer) for item in items):  # bool too, which is an int
            return np.array(items)
        odd_row = next((i for i, item in enumerate(items) if type(item) is not type(items[0]) or item is None), 0)
        raise DataError(
            f"{name} has labels that are not all of one kind ({items[odd_row]!r} in row {odd_row})",
            remedy=f"give only {_KINDS}",
        )
    if given.dtype.kind == "T":  # numpy's strings of variable length
        return given.astype(np.str_)
    if given.dtype.kind == "f":
        odd = np.flatnonzero(~(np.isfinite(given) & (given == np.rint(given))))
        if odd.size:
            raise DataError(
                f"{name} has labels that are not whole numbers ({given[odd[0]]} in row {odd[0]})",
                remedy=f"give classes as {_KINDS}; values to be predicted by regression are not supported",
            )
        return given
    if given.dtype.kind not in "buiUS":
        raise DataError(f"{name} has labels of type {given.dtype.name}", remedy=f"give {_KINDS}")
    return given


def _word(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) else str(value)
