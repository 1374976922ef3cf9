"""Charts, clouds of points and sheets of images for the documentation, without a browser: SVG and PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from gradtape.report.lines import thin

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#8a5fbf", "#777777")
WIDTH, HEIGHT, LEFT, TOP, GAP, BOTTOM = 270, 170, 46, 44, 22, 30
POINTS = 240  # of one line, that are drawn


class Line(NamedTuple):
    """A line of a chart."""

    name: str
    x: ArrayLike
    y: ArrayLike


class Panel(NamedTuple):
    """One chart: its lines, and what is marked in it by an upright line with a number."""

    title: str
    lines: Sequence[Line]
    log: bool = False
    marks: Sequence[int] = ()
    start: float | None = None


class Cloud(NamedTuple):
    """Points in the plane, over the points they should lie on."""

    title: str
    points: Tensor
    goal: Tensor


def charts(panels: Sequence[Panel], path: Path, columns: int, x_label: str = "step") -> None:
    """Write charts as one SVG."""
    _write(path, [_chart(panel, x_label) for panel in panels], columns, WIDTH, HEIGHT)


def clouds(panels: Sequence[Cloud], path: Path, columns: int, reach: float) -> None:
    """Write clouds of points as one SVG; the axes reach from -reach to reach."""
    side = HEIGHT

    def drawn(cloud: Cloud) -> str:
        def dots(points: Tensor, size: float, colour: str) -> str:
            at = (side / 2 * (1 + points.clamp(-reach, reach) / reach * np.array([1, -1]))).tolist()
            path_of = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in at)
            return f'<path d="{path_of}" stroke="{colour}" stroke-width="{size}" stroke-linecap="round" fill="none"/>'

        return (
            f'<rect width="{side}" height="{side}" fill="none" stroke="#ccc"/>'
            f'<text x="0" y="-8" font-weight="bold">{escape(cloud.title)}</text>'
            + dots(cloud.goal, 9, "#dddddd")
            + dots(cloud.points, 2, COLOURS[0])
        )

    _write(path, [drawn(cloud) for cloud in panels], columns, side, side)


def sheet(rows: Sequence[Tensor], path: Path, scale: int = 4, gap: int = 1) -> None:
    """Write images in [-1, 1], rows of shape (n, height, width), as one PNG; a white line between rows."""
    shown = []
    for images in rows:
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
        padded = np.pad(pixels, ((0, 0), (gap, gap), (gap, gap)))
        shown.append(np.concatenate(list(padded), axis=1))
    whole = np.concatenate(shown, axis=0).repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(255 - whole).save(path, optimize=True)


def _write(path: Path, drawn: Sequence[str], columns: int, width: int, height: int) -> None:
    rows = math.ceil(len(drawn) / columns)
    across, down = LEFT + width + GAP, TOP + height + BOTTOM
    body = "".join(
        f'<g transform="translate({LEFT + (i % columns) * across},{TOP + (i // columns) * down})">{part}</g>\n'
        for i, part in enumerate(drawn)
    )
    size = f"{columns * across} {rows * down}"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}</svg>\n',
        encoding="utf-8",
    )


def _chart(panel: Panel, x_label: str) -> str:
    columns = [[np.asarray(v, dtype=np.float64) for v in (line.x, line.y)] for line in panel.lines]
    columns = [thin(found, POINTS) for found in columns]
    values = np.concatenate([y for _, y in columns])
    values = values[np.isfinite(values) & ((values > 0) | (not panel.log))]
    across = np.concatenate([x for x, _ in columns])
    x_low, x_high = float(across.min()), float(across.max())
    ticks = _decades(values) if panel.log else _steps(values, panel.start)
    low, high = (math.log10(ticks[0]), math.log10(ticks[-1])) if panel.log else (ticks[0], ticks[-1])

    def at_x(value: float) -> float:
        return (value - x_low) / (x_high - x_low) * WIDTH

    def at_y(value: float) -> float:
        if panel.log:
            value = math.log10(max(value, 1e-300))
        return HEIGHT - min(max((value - low) / (high - low), 0.0), 1.0) * HEIGHT

    out = [f'<text x="0" y="-26" font-weight="bold">{escape(panel.title)}</text>']
    for tick in ticks:
        y = at_y(tick)
        out.append(
            f'<path d="M0 {y:.1f}H{WIDTH}" stroke="#e5e5e5"/><text x="-6" y="{y + 4:.1f}" text-anchor="end" '
            f'fill="#555">{tick:g}</text>'
        )
    for tick in _steps(across, None):
        if x_low <= tick <= x_high:
            out.append(f'<text x="{at_x(tick):.1f}" y="{HEIGHT + 16}" text-anchor="middle" fill="#555">{tick:g}</text>')
    out.append(f'<text x="{WIDTH}" y="{HEIGHT + 27}" text-anchor="end" fill="#555">{escape(x_label)}</text>')
    for number, mark in enumerate(panel.marks, start=1):
        x = max(at_x(mark), 0.0)
        out.append(
            f'<path d="M{x:.1f} 0V{HEIGHT}" stroke="#333" stroke-dasharray="3 3"/>'
            f'<text x="{x + 3:.1f}" y="{4 + 11 * number}" fill="#333">{number}</text>'
        )
    offset = 0.0
    for colour, line, (x_values, y_values) in zip(COLOURS, panel.lines, columns, strict=False):
        pieces: list[str] = []
        pen = "M"
        for x, y in zip(x_values, y_values, strict=True):
            if not math.isfinite(y):
                pen = "M"
                continue
            pieces.append(f"{pen}{at_x(x):.1f} {at_y(y):.1f}")
            pen = "L"
        out.append(f'<path d="{"".join(pieces)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        out.append(f'<text x="{offset:.0f}" y="-9" fill="{colour}">{escape(line.name)}</text>')
        offset += 6.6 * len(line.name) + 14
    return "".join(out)


def _decades(values: NDArray[np.float64]) -> list[float]:
    low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    high = max(high, low + 1)
    step = math.ceil((high - low) / 6)
    return [10.0**power for power in range(low, high + step, step)]


def _steps(values: NDArray[np.float64], start: float | None) -> list[float]:
    low, high = (float(values.min()) if start is None else start), float(values.max())
    rough = (high - low) / 4 or 1.0
    size = 10.0 ** math.floor(math.log10(rough))
    size *= next(factor for factor in (1, 2, 5, 10) if factor * size >= rough)
    first = math.floor(low / size)
    count = math.ceil(high / size - 1e-9) - first
    return [round((first + i) * size, 10) for i in range(count + 1)]
