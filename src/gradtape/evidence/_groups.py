"""Figures per group: whom does it serve, whom does it fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.evidence._checks import level_of, numbers
from gradtape.evidence._intervals import Interval, paired_gain, wilson
from gradtape.evidence._plain import fields_of


@dataclass(frozen=True)
class GroupFigure:
    """A group's figure: its name, its number of samples, the value and its interval (``None`` for an empty group)."""

    name: str
    n: int
    value: float | None
    interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return fields_of(self)


def per_group(
    correct: ArrayLike, groups: ArrayLike, names: Sequence[str] | None = None, level: float = 0.95
) -> list[GroupFigure]:
    """Share of correct answers in each group, averaged over repeats.

    The interval is Wilson's with n the group's number of samples: repeats on the same samples do not narrow it.

    Args:
        correct: (n,) or (repeats, n) booleans (or 0 and 1): was the sample answered correctly, one row per seed.
        groups: (n,) group of each sample: indices into ``names``, or any labels where ``names`` is not given.
        names: Names of the groups; a group without samples is listed too, with value ``None``.
        level: Confidence level in (0, 1).

    Returns:
        One figure per group, in the order of ``names``, else of the sorted labels; values in [0, 1].

    Raises:
        InputError: shapes that do not fit, values other than true and false, or a group that has no name.

    Examples:
        >>> [f"{g.name}: {g.interval:.2f}" for g in per_group([True, True, False, True], [0, 0, 1, 1], ["a", "b"])]
        ['a: 1.00 [0.34, 1.00]', 'b: 0.50 [0.09, 0.91]']

    Source: Wilson (1927), JASA 22(158).
    """
    answers, level = _answers(correct, "correct"), level_of(level)
    figures = []
    for name, members in _members(groups, names, answers.shape[1]):
        n = int(members.sum())
        value = float(answers[:, members].mean()) if n else None
        figures.append(GroupFigure(name, n, value, None if value is None else wilson(value, n, level)))
    return figures


def paired_per_group(
    treated: ArrayLike, control: ArrayLike, groups: ArrayLike, names: Sequence[str] | None = None, level: float = 0.95
) -> list[GroupFigure]:
    """Gain in points (100 times the share of correct answers) of ``treated`` over ``control`` in each group.

    With two or more repeats the interval is Student's t over the repeats' gains: what to expect of other seeds on these
    very samples; small groups of other samples may differ more. With one repeat it is Agresti and Min's over the
    samples (half an answer added to each of the four cells), and it speaks about this one pair of models.

    Args:
        treated: (n,) or (repeats, n) booleans (or 0 and 1), one row per seed.
        control: The same shape: the same seeds and samples without the treatment.
        groups: (n,) group of each sample: indices into ``names``, or any labels where ``names`` is not given.
        names: Names of the groups; a group without samples is listed too, with value ``None``.
        level: Confidence level in (0, 1).

    Returns:
        One figure per group, in the order of ``names``, else of the sorted labels; values in [-100, 100].

    Raises:
        InputError: shapes that do not fit, values other than true and false, or a group that has no name.

    Examples:
        >>> with_it, without = [[1, 1, 1], [1, 1, 0]], [[1, 0, 1], [0, 0, 0]]
        >>> [(g.name, g.value) for g in paired_per_group(with_it, without, ["x", "x", "y"])]
        [('x', 75.0), ('y', 0.0)]

    Source: Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions,
    Statistics in Medicine 24(5).
    """
    one, other, level = _answers(treated, "treated"), _answers(control, "control"), level_of(level)
    if one.shape != other.shape:
        raise InputError(
            f"treated has shape {one.shape} and control {other.shape}", remedy="give the same seeds and samples"
        )
    figures = []
    for name, members in _members(groups, names, one.shape[1]):
        n = int(members.sum())
        interval = None
        if n and len(one) > 1:
            shares = [100.0 * answers[:, members].mean(axis=1) for answers in (one, other)]
            interval = paired_gain(shares[0], shares[1], level)
        elif n:
            interval = _matched(one[0, members], other[0, members], level)
        figures.append(GroupFigure(name, n, None if interval is None else interval.mean, interval))
    return figures


def worst(figures: Sequence[GroupFigure]) -> GroupFigure:
    """Return the group with the lowest value, the first of equals; empty groups do not count.

    The lowest of many is low by chance too, small groups most of all: read its interval.

    Raises:
        InputError: no group has samples.

    Examples:
        >>> worst(per_group([True, False, True], ["a", "b", "b"])).name
        'b'
    """
    filled = [figure for figure in figures if figure.value is not None]
    if not filled:
        raise InputError("no group has samples", remedy="give figures of at least one group with samples")
    return min(filled, key=lambda figure: math.inf if figure.value is None else figure.value)


def _answers(value: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return right and wrong answers as (repeats, n)."""
    array = np.atleast_2d(numbers(value, name))
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name} has shape {array.shape}, expected (repeats, n)", remedy="give one row per seed")
    if not np.isin(array, (0.0, 1.0)).all():
        raise InputError(f"{name} holds values other than true and false", remedy="compare answers and labels first")
    return array.astype(bool)


def _members(groups: ArrayLike, names: Sequence[str] | None, n: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield each group's name and which of the ``n`` samples are in it."""
    of = np.asarray(groups)
    if of.shape != (n,):
        raise InputError(f"groups has shape {of.shape}, expected ({n},)", remedy="give one group per sample")
    if names is None:
        for label in np.unique(of):
            yield str(label), of == label
        return
    if not np.issubdtype(of.dtype, np.integer) or of.min() < 0 or of.max() >= len(names):
        raise InputError(
            f"groups holds values that are no index into the {len(names)} names", remedy="give 0 for the first name"
        )
    for i, name in enumerate(names):
        yield name, of == i


def _matched(treated: NDArray[np.bool_], control: NDArray[np.bool_], level: float) -> Interval:
    """Agresti and Min's interval of the difference of two matched shares, in points."""
    from scipy.special import ndtri

    n = len(treated)
    won, lost = int((treated & ~control).sum()), int((~treated & control).sum())
    size, up, down = n + 2.0, won + 0.5, lost + 0.5
    centre = (up - down) / size
    half = float(ndtri(0.5 + level / 2.0)) * math.sqrt(up + down - (up - down) ** 2 / size) / size
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Interval(100.0 * (won - lost) / n, 100.0 * low, 100.0 * high, n, level, "Agresti-Min")
