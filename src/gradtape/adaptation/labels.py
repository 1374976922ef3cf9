"""Labels of the target that no fit can see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError, LeakError


def accuracy(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the share of ``predicted`` (n,) that equals ``labels`` (n,).

    Examples:
        >>> accuracy(np.array([0, 1, 1, 0]), np.array([0, 1, 1, 1]))
        0.75
    """
    return float(np.mean(labels == predicted))


class TargetLabels:
    """Labels of the target behind a seal: they measure what was fitted without them, and nothing else can read them.

    A model that is adapted to unlabelled data, and chosen without labels, is measured by labels it never saw. Here they
    cannot slip in: everything that would read, compare or copy this object raises, and so does passing it to a ``fit``.
    ``score`` and ``open`` are the only ways to figures, and both raise while a fit is going on (``with
    labels.fitting():``, which an estimator enters). It is a guard against mistakes, not against intent.

    Args:
        y: (n, ...) labels, n >= 1. They are copied.

    Raises:
        InputError: No labels.
        LeakError: From anything that touches this object otherwise than by the names below, ``len`` and ``repr``.

    Examples:
        >>> labels = TargetLabels([0, 1, 1, 0])
        >>> labels, labels.score([0, 1, 1, 1])
        (TargetLabels(4 labels, sealed), 0.75)
        >>> np.asarray(labels)
        Traceback (most recent call last):
        gradtape.errors.LeakError: the 4 labels of the target are sealed, and something read, compared or copied them: \
give a fit no labels of the target, and score(predicted) what came of it
    """

    __slots__ = ("_fits", "_labels", "_opened")

    def __init__(self, y: ArrayLike) -> None:
        self._labels = np.array(y)
        if self._labels.ndim == 0 or len(self._labels) == 0:
            raise InputError(f"y has shape {self._labels.shape}, expected (n, ...)", remedy="give one label per row")
        if any(value is None or value != value for value in self._labels.reshape(-1).tolist()):
            raise InputError("a label of the target is missing", remedy="measure on rows whose labels are all known")
        self._fits = 0
        self._opened = False

    @property
    def shape(self) -> tuple[int, ...]:
        """How many labels there are, first."""
        return self._labels.shape

    @property
    def numeric(self) -> bool:
        """Whether they are numbers rather than words."""
        return self._labels.dtype.kind in "iufb"

    @property
    def sealed(self) -> bool:
        """Whether ``open`` has never been called; a score does not break the seal."""
        return not self._opened

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"TargetLabels({len(self):,} labels, {'sealed' if self.sealed else 'opened'})"

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Mark a fit: inside of it, and of any fit around it, ``score`` and ``open`` raise."""
        self._fits += 1
        try:
            yield
        finally:
            self._fits -= 1

    def score(self, predicted: ArrayLike, metric: Callable[[NDArray[Any], NDArray[Any]], float] = accuracy) -> float:
        """Return ``metric(labels, predicted)``, by default the accuracy.

        Args:
            predicted: (n, ...) one prediction per label.
            metric: Takes the labels first, as scikit-learn's do.

        Raises:
            InputError: Another number of predictions than of labels.
            LeakError: A fit is going on.
        """
        self._refuse_in_a_fit()
        found = np.asarray(predicted)
        if found.shape[:1] != self._labels.shape[:1]:
            raise InputError(
                f"predicted has shape {found.shape} and there are {len(self):,} labels", remedy="predict each row once"
            )
        return float(metric(self._labels.copy(), found))

    def open(self) -> NDArray[Any]:
        """Break the seal and return a copy of the labels; this object itself stays shut.

        Raises:
            LeakError: A fit is going on.
        """
        self._refuse_in_a_fit()
        self._opened = True
        return self._labels.copy()

    def _refuse_in_a_fit(self) -> None:
        if self._fits:
            raise LeakError(
                f"the {len(self):,} labels of the target were asked for during a fit",
                remedy="call score or open once the fit is over, on what was chosen without them",
            )

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LeakError(
            f"the {len(self):,} labels of the target are sealed, and something read, compared or copied them",
            remedy="give a fit no labels of the target, and score(predicted) what came of it",
        )

    __array__ = __array_ufunc__ = __array_function__ = __dlpack__ = __dlpack_device__ = _refuse  # numpy and torch
    __iter__ = __getitem__ = __contains__ = __bool__ = __hash__ = tolist = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __reduce_ex__ = _refuse  # pickle and copy
