"""Scatter plots: groups of points in the plane, told apart by colour and by mark. SVG, no JavaScript."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.report._markup import caption_of, escape, inline, need
from gradtape.report._numbers import number, step_decimals, ticks
from gradtape.report.lines import COLOURS

SHOWN = 1500  # points of one plot; of more, every group keeps an even share
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 400, 300, 34, 20, 6  # of the picture and its margins, in its own units
_LAYERS = 8  # groups take turns in being drawn, so that none hides another
_MARKS = {"dot": "h0", "cross": "m-1.7-1.7l3.4 3.4m0-3.4l-3.4 3.4"}


@dataclass(frozen=True)
class Points:
    """A group of points.

    Args:
        name: Its name in the legend.
        x: (n,) where they lie; what is not finite is left out.
        y: (n,) likewise.
        mark: ``"dot"`` or ``"cross"``.
        colour: Number of its colour; None counts on from group to group.

    Examples:
        >>> Points("source", [0.0, 1.0], [2.0, 3.0]).mark
        'dot'
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    mark: Literal["dot", "cross"] = "dot"
    colour: int | None = None


def _placed(group: Points) -> NDArray[np.float64]:
    need(group.name, "the name of a group of points")
    if group.mark not in _MARKS:
        raise InputError(f"the mark of {group.name!r} is {group.mark!r}", remedy=f"use {' or '.join(_MARKS)}")
    x, y = np.asarray(group.x, dtype=np.float64), np.asarray(group.y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        what = f"the points {group.name!r} have the shapes {x.shape} and {y.shape}"
        raise InputError(what, remedy="give x and y the same shape (n,)")
    places = np.stack([x, y], axis=1)
    return places[np.isfinite(places).all(axis=1)]


def evenly(sizes: Sequence[int], limit: int = SHOWN) -> list[NDArray[np.int64]]:
    """Which rows of each group are shown: all, or an even share of each, spread evenly over its rows.

    >>> [rows.tolist() for rows in evenly([2, 8], 5)]
    [[0], [0, 2, 5, 7]]
    """
    share = min(1.0, limit / max(1, sum(sizes)))
    kept = [min(size, max(1, int(size * share))) for size in sizes]
    return [np.linspace(0, size - 1, keep).round().astype(np.int64) for size, keep in zip(sizes, kept, strict=True)]


def _axis(low: float, high: float, length: float) -> tuple[float, float, list[tuple[float, str]]]:
    """Origin and scale of an axis with some air at both ends, and its ticks."""
    air = 0.04 * (high - low) or 1.0
    low, high = low - air, high + air
    marks = ticks(low, high, 5)
    places = step_decimals(marks)
    return low, length / (high - low), [(mark, number(float(mark), places)) for mark in marks]


def scatter_html(groups: Sequence[Points], *, x_label: str = "", y_label: str = "", caption: str = "") -> str:
    """A scatter plot with its legend; see Section.scatter."""
    found = [_placed(group) for group in groups]
    every = np.concatenate(found) if found else np.empty((0, 2))
    if not len(every):
        raise InputError("the scatter plot has no points", remedy="give at least one that is finite")
    left, x_scale, x_marks = _axis(every[:, 0].min(), every[:, 0].max(), _WIDTH - _LEFT - _EDGE)
    low, y_scale, y_marks = _axis(every[:, 1].min(), every[:, 1].max(), _HEIGHT - _BOTTOM - _EDGE)
    axes = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_EDGE}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text x="{x:.1f}" y="{_HEIGHT - 5}" text-anchor="middle">{text}</text>'
        for x, text in ((_LEFT + (mark - left) * x_scale, text) for mark, text in x_marks)
    ) + "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _EDGE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
        for y, text in ((_HEIGHT - _BOTTOM - (mark - low) * y_scale, text) for mark, text in y_marks)
    )
    layers: list[list[str]] = [[] for _ in range(_LAYERS)]
    keys = []
    for index, (group, places, rows) in enumerate(zip(groups, found, evenly([len(p) for p in found]), strict=True)):
        colour = (index if group.colour is None else group.colour) % COLOURS
        drawn = places[rows]
        xs = _LEFT + (drawn[:, 0] - left) * x_scale
        ys = _HEIGHT - _BOTTOM - (drawn[:, 1] - low) * y_scale
        for layer, paths in enumerate(layers):
            path = "".join(
                f"M{x:.1f} {y:.1f}{_MARKS[group.mark]}"
                for x, y in zip(xs[layer::_LAYERS], ys[layer::_LAYERS], strict=True)
            )
            if path:
                paths.append(f'<path class="{group.mark}" style="--key:var(--c{colour})" d="{path}"/>')
        count = number(len(places)) if len(rows) == len(places) else f"{number(len(rows))} of {number(len(places))}"
        keys.append(
            f'<li style="--key:var(--c{colour})"><svg viewBox="-4 -4 8 8" aria-hidden="true">'
            f'<path class="{group.mark}" d="M0 0{_MARKS[group.mark]}"/></svg>'
            f'<span class="name">{escape(group.name)}</span><span class="value">{count}</span></li>'
        )
    about = f"Scatter plot of {', '.join(f'{len(p)} {g.name}' for g, p in zip(groups, found, strict=True))}"
    named = f'<p class="y-label">{inline(y_label)}</p>' if y_label else ""
    below = f'<p class="x-label">{inline(x_label)}</p>' if x_label else ""
    return (
        f'<figure class="chart scatter">{caption_of(caption)}{named}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(about)}"><g class="axes">{axes}</g>'
        f"{''.join(path for layer in layers for path in layer)}</svg>{below}"
        f'<ul class="legend">{"".join(keys)}</ul></figure>'
    )
