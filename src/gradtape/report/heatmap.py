"""Heat maps: a value for every row at every step, drawn on a canvas by our own small code."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.report._colours import colour_map
from gradtape.report._markup import caption_of, embed, escape, inline
from gradtape.report._numbers import MINUS, number, rounded, ticks

Map: TypeAlias = tuple[Sequence[str], ArrayLike, ArrayLike]

COLUMNS = 400  # columns that are embedded at most
REACH = 1e12  # a log scale shows at most this ratio; smaller values take the lowest colour


def binned(
    x: NDArray[np.float64], values: NDArray[np.float64], limit: int = COLUMNS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """First x, last x and values (rows, at most limit) of equal bins: a bin's maximum, or what in it is not finite.

    nan comes before inf, and inf before -inf, so that a single bad cell is never hidden by its neighbours.

    >>> binned(np.arange(4.0), np.array([[1.0, 5.0, np.nan, 2.0]]), 2)[2].tolist()
    [[5.0, nan]]
    """
    count = len(x)
    if count <= limit:
        return x, x, values
    edges = np.linspace(0, count, limit + 1).round().astype(int)
    starts = edges[:-1]
    top = np.maximum.reduceat(values, starts, axis=1)  # nan wins, then inf
    sunk = np.logical_or.reduceat(np.isneginf(values), starts, axis=1)
    top = np.where(sunk & np.isfinite(top), -np.inf, top)
    return x[starts], x[edges[1:] - 1], top


def _checked(name: str, rows: Sequence[str], x: ArrayLike, values: ArrayLike) -> dict[str, Any]:
    steps, cells = np.asarray(x, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if steps.ndim != 1 or cells.shape != (len(rows), len(steps)) or cells.size == 0:
        raise InputError(
            f"the heat map {name!r} has values of shape {cells.shape}, {len(rows)} rows and x of shape {steps.shape}",
            remedy="give values of shape (rows, len(x)), neither of them empty",
        )
    if not np.isfinite(steps).all() or (np.diff(steps) <= 0).any():
        raise InputError(f"x of the heat map {name!r} does not increase", remedy="sort it, one column for each x")
    first, last, short = binned(steps, cells)
    return {"name": name, "rows": [str(r) for r in rows], "first": first, "last": last, "values": short}


def _cell(value: float) -> float | int | str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    short = rounded([value], 4)[0]
    return 0 if short is None else short


def scale_of(values: NDArray[np.float64], log: bool) -> tuple[float, float]:
    """The finite range that the colours span; on a log scale, of the positive values.

    >>> scale_of(np.array([0.0, 1e-4, 10.0, np.nan]), True)
    (0.0001, 10.0)
    """
    good = values[np.isfinite(values) & ((values > 0) if log else True)]
    if good.size == 0:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(good.min()), float(good.max())
    if log:
        low = max(low, high / REACH)
        return (low, high) if high > low else (low / 10, high * 10)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _superscript(exponent: int) -> str:
    return f"10<sup>{str(exponent).replace('-', MINUS)}</sup>"


def _scale_html(low: float, high: float, log: bool, unit: str, marks: Sequence[str]) -> str:
    """The colour bar with its ticks, and a swatch for every kind of cell outside it."""
    places: list[tuple[float, str]] = []
    if log:
        span = math.log10(high / low)
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        every = max(1, math.ceil(len(powers) / 6))
        places = [((p - math.log10(low)) / span, _superscript(p)) for p in powers if p % every == 0]
    if len(places) < 2:
        shown = [low, high] if log else ticks(low, high, 4)
        places = [
            (math.log(v / low) / math.log(high / low) if log else (v - low) / (high - low), number(v)) for v in shown
        ]
    stops = ",".join(colour_map(16))
    labels = "".join(f'<span style="left:{100 * at:.1f}%">{text}</span>' for at, text in places)
    words = {"zero": "0 or less", "nan": "NaN", "inf": "infinite"}
    swatches = "".join(f'<li class="{kind}"><i></i>{words[kind]}</li>' for kind in marks)
    more = f'<ul class="swatches">{swatches}</ul>' if swatches else ""
    name = f'<span class="unit">{inline(unit)}{", log scale" if log and unit else "log scale" if log else ""}</span>'
    return (
        f'<div class="scale">{name}<div class="bar"><div style="background:linear-gradient(to right,{stops})"></div>'
        f'<p aria-hidden="true">{labels}</p></div>{more}</div>'
    )


def heatmap_html(
    maps: Mapping[str, Map], *, x_label: str = "step", log: bool = True, unit: str = "", caption: str = ""
) -> str:
    """A heat map, with a drop-down where there are several; all share one colour scale. See Section.heatmap."""
    found = [_checked(name, *one) for name, one in maps.items()]
    every = np.concatenate([one["values"].ravel() for one in found])
    low, high = scale_of(every, log)
    marks = [
        kind
        for kind, there in (
            ("zero", bool(log and (every[np.isfinite(every)] <= 0).any())),
            ("nan", bool(np.isnan(every).any())),
            ("inf", bool(np.isinf(every).any())),
        )
        if there
    ]
    data = {
        "x_label": x_label, "log": log, "unit": unit, "low": low, "high": high, "colours": list(colour_map(64)),
        "maps": [
            one | {
                "first": rounded(one["first"], 9), "last": rounded(one["last"], 9),
                "values": [[_cell(float(v)) for v in row] for row in one["values"]],
            }
            for one in found
        ],
    }  # fmt: skip
    choose = ""
    if len(found) > 1:
        options = "".join(f'<option value="{i}">{escape(one["name"])}</option>' for i, one in enumerate(found))
        choose = f'<label class="choose">Show <select>{options}</select></label>'
    first = found[0]
    about = (
        f"Heat map of {unit or 'values'}, {len(first['rows'])} rows by {x_label}, from {number(low)} to {number(high)}"
        + ("; some cells are not finite" if "nan" in marks or "inf" in marks else "")
    )
    return (
        f'<figure class="chart" data-chart="heatmap">{caption_of(caption)}{embed(data)}{choose}'
        f'<div class="heat"><canvas tabindex="0" role="img" aria-label="{escape(about)}"></canvas>'
        f'<output class="tip" hidden></output></div><p class="x-label">{inline(x_label)}</p>'
        f"{_scale_html(low, high, log, unit, marks)}"
        '<noscript><p class="nojs">This heat map is drawn by JavaScript, which is switched off here.</p></noscript>'
        "</figure>"
    )
