"""Line charts: data and legend in the page, drawn by uPlot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.report._markup import caption_of, embed, escape, inline, need
from gradtape.report._numbers import number, rounded

NUMBERS = 10_000  # embedded numbers of one chart; longer lines keep each bin's least and greatest value
COLOURS = 10


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: Its name in the legend.
        x: (n,) finite and increasing, such as steps.
        y: (n,) values; a gap is left at nan and inf.
        low: (n,) lower edge of a band around the line, or None.
        high: (n,) upper edge, given together with low.

    Examples:
        >>> Line("real only", [0, 100], [2.3, 0.4]).name
        'real only'
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None


def _columns(line: Line) -> list[NDArray[np.float64]]:
    need(line.name, "the name of a line")
    if (line.low is None) != (line.high is None):
        raise InputError(f"the line {line.name!r} has one edge of a band", remedy="give low and high, or neither")
    found = [np.asarray(v, dtype=np.float64) for v in (line.x, line.y, line.low, line.high) if v is not None]
    shapes = [v.shape for v in found]
    if any(s != shapes[0] or len(s) != 1 for s in shapes) or shapes[0] == (0,):
        raise InputError(
            f"the line {line.name!r} has the shapes {shapes}", remedy="give x, y and its band the same shape (n,)"
        )
    x = found[0]
    if not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise InputError(f"x of the line {line.name!r} does not increase", remedy="sort it, one point for each x")
    return found


def thin(columns: Sequence[NDArray[np.float64]], limit: int) -> list[NDArray[np.float64]]:
    """At most about ``limit`` points that keep the ends, every bin's extremes of y, and its first gap.

    >>> y = np.zeros(10_000); y[5_555] = 9.0
    >>> short = thin([np.arange(10_000.0), y], 300)
    >>> len(short[0]) <= 300, short[1].max()
    (True, np.float64(9.0))
    """
    y = columns[1]
    if len(y) <= limit:
        return list(columns)
    keep = {0, len(y) - 1}
    for part in np.array_split(np.arange(len(y)), max(1, (limit - 2) // 3)):
        good = np.isfinite(y[part])
        if good.any():
            keep |= {int(part[good][np.argmin(y[part][good])]), int(part[good][np.argmax(y[part][good])])}
        if not good.all():
            keep.add(int(part[np.argmin(good)]))
    index = np.array(sorted(keep))
    return [c[index] for c in columns]


def lines_data(lines: Sequence[Line], *, x_label: str, y_label: str, log_y: bool) -> dict[str, Any]:
    """What the page embeds: one shared x where all lines have it, gaps as null."""
    if not lines:
        raise InputError("the chart has no lines", remedy="give at least one Line")
    columns = [_columns(line) for line in lines]
    shared = all(np.array_equal(c[0], columns[0][0]) for c in columns)
    limit = max(120, NUMBERS // (sum(len(c) - shared for c in columns) + shared))
    if len(columns[0][0]) > limit:
        shared = False
    data: dict[str, Any] = {"x_label": x_label, "y_label": y_label, "log_y": log_y}
    if shared:
        data["x"] = rounded(columns[0][0], 9)
    data["lines"] = []
    for line, found in zip(lines, columns, strict=True):
        short = thin(found, limit)
        item: dict[str, Any] = {"name": line.name}
        if not shared:
            item["x"] = rounded(short[0], 9)
        for key, column in zip(("y", "low", "high"), short[1:], strict=False):
            item[key] = rounded(column, 5)
        data["lines"].append(item)
    return data


def _last(line: Line) -> str:
    y = np.asarray(line.y, dtype=np.float64)
    if math.isfinite(y[-1]):
        return number(float(f"{y[-1]:.{3 if abs(y[-1]) < 0.1 else 4}g}"))
    ends = (
        [] if line.low is None or line.high is None else [float(np.asarray(end)[-1]) for end in (line.low, line.high)]
    )
    return " to ".join(f"{end:.3g}" for end in ends) or "no value"  # a band alone


def lines_html(
    lines: Sequence[Line], *, x_label: str = "step", y_label: str = "", log_y: bool = False, caption: str = ""
) -> str:
    """A chart with its legend; see Section.lines."""
    data = lines_data(lines, x_label=x_label, y_label=y_label, log_y=log_y)
    keys = []
    for index, line in enumerate(lines):
        dash = " dashed" if index >= COLOURS else ""
        keys.append(
            f'<button type="button" aria-pressed="true" class="key{dash}" style="--key:var(--c{index % COLOURS})">'
            f'<i></i><span class="name">{escape(line.name)}</span><span class="value">{_last(line)}</span></button>'
        )
    about = f"Line chart of {y_label or 'values'} by {x_label}: {', '.join(line.name for line in lines)}"
    shown = ", ".join(part for part in (y_label, "log scale" if log_y else "") if part)
    return (
        f'<figure class="chart" data-chart="lines">{caption_of(caption)}{embed(data)}'
        f'<p class="y-label">{inline(shown)}</p>'
        f'<div class="plot" role="img" aria-label="{escape(about)}"></div>'
        f'<div class="under"><p class="at">last values</p><p class="x-label">{inline(x_label)}</p></div>'
        f'<div class="legend">{"".join(keys)}</div>'
        '<noscript><p class="nojs">This chart is drawn by JavaScript, which is switched off here. '
        "The legend shows each line’s last value.</p></noscript></figure>"
    )
