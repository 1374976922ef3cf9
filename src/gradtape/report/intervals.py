"""Interval (forest) plots: each row a mean and its interval, beside the numbers and a plain word. No JavaScript."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradtape.errors import InputError
from gradtape.report._markup import caption_of, escape, inline, need
from gradtape.report._numbers import number, step_decimals, ticks


class IntervalRow(NamedTuple):
    """One row of an interval plot.

    Attributes:
        label: Name of the row.
        mean: Its estimate, in the plot's unit; nan where nothing was measured.
        low: Lower end of the interval, low <= mean; nan (both ends) where there is no interval.
        high: Upper end, mean <= high.
        note: A short remark under the label.
        highlight: Draw the row's label bold on a tinted ground.

    Examples:
        >>> IntervalRow("steering", 0.9, -0.1, 1.9).high
        1.9
    """

    label: str
    mean: float
    low: float
    high: float
    note: str = ""
    highlight: bool = False


def reading(row: IntervalRow, reference: float) -> str:
    """Where the interval lies: "above", "below", "covers", or "none" without an interval.

    An interval that only touches the reference covers it.

    >>> reading(IntervalRow("a", 1.0, 0.0, 2.0), 0.0), reading(IntervalRow("a", 1.0, 0.1, 2.0), 0.0)
    ('covers', 'above')
    """
    if math.isnan(row.mean) or math.isnan(row.low):
        return "none"
    return "above" if row.low > reference else "below" if row.high < reference else "covers"


def _check(rows: Sequence[IntervalRow], reference: float) -> None:
    if not rows:
        raise InputError("the interval plot has no rows", remedy="give at least one IntervalRow")
    if not math.isfinite(reference):
        raise InputError(f"the reference is {reference}", remedy="give a finite number")
    for row in rows:
        need(row.label, "the label of an interval")
        name = f"the interval {row.label!r} is {row.mean} [{row.low}, {row.high}]"
        if math.isinf(row.mean) or math.isnan(row.low) != math.isnan(row.high):
            raise InputError(name, remedy="give finite numbers, or nan for both ends where there is no interval")
        if not math.isnan(row.mean) and not math.isnan(row.low) and not row.low <= row.mean <= row.high:
            raise InputError(name, remedy="give low <= mean <= high")


def _scale(rows: Sequence[IntervalRow], reference: float) -> tuple[float, float]:
    seen = [reference] + [v for row in rows for v in (row.mean, row.low, row.high) if math.isfinite(v)]
    low, high = min(seen), max(seen)
    pad = 0.06 * (high - low) if high > low else max(1.0, abs(reference))
    return low - pad, high + pad


def intervals_html(
    rows: Sequence[IntervalRow], *, unit: str = "points", reference: float = 0.0, caption: str = ""
) -> str:
    """A forest plot as a table: label, plot, figures, word."""
    _check(rows, reference)
    low, high = _scale(rows, reference)
    marks = ticks(low, high, 6)
    signed = reference == 0
    places = step_decimals(marks) + 1

    def at(value: float) -> str:
        return f"{100 * (min(max(value, low), high) - low) / (high - low):.2f}%"

    def show(value: float) -> str:
        return number(float(value), places, signed=signed)

    ref_text = number(reference, None if reference != int(reference) else 0)
    words = {k: f"{k} {ref_text}" for k in ("above", "below", "covers")} | {"none": "no interval"}
    grid = "".join(f'<i class="grid" style="left:{at(m)}"></i>' for m in marks if m != reference)
    grid += f'<i class="ref" style="left:{at(reference)}"></i>'
    body = []
    for row in rows:
        kind = reading(row, reference)
        drawn, figures = "", '<span class="none">not measured</span>'
        if not math.isnan(row.mean):
            figures = f"<b>{show(row.mean)}</b>"
            if kind != "none":
                left, width = at(row.low), float(at(row.high)[:-1]) - float(at(row.low)[:-1])
                open_end = " open-low" * math.isinf(row.low) + " open-high" * math.isinf(row.high)
                drawn = f'<i class="bar{open_end}" style="left:{left};width:{width:.2f}%"></i>'
                figures += f' <span class="range">[{show(row.low)}, {show(row.high)}]</span>'
            drawn += f'<i class="dot" style="left:{at(row.mean)}"></i>'
        note = f"<small>{inline(row.note)}</small>" if row.note else ""
        classes = kind + (" highlight" if row.highlight else "")
        body.append(
            f'<tr class="{classes}"><th scope="row">{inline(row.label)}{note}</th>'
            f'<td class="plot" aria-hidden="true"><div>{grid}{drawn}</div></td>'
            f'<td class="figures">{figures}</td><td class="word"><span>{words[kind]}</span></td></tr>'
        )
    axis_places = step_decimals(marks)
    axis = "".join(f'<span style="left:{at(m)}">{number(float(m), axis_places, signed=signed)}</span>' for m in marks)
    head = (
        '<th scope="col"><span class="sr">name</span></th>'
        '<th scope="col" class="plot"><span class="sr">plot</span></th>'
        f'<th scope="col" class="figures">{escape(unit)}, interval</th><th scope="col" class="word">reading</th>'
    )
    rows_html = "\n".join(body)
    return (
        f'<figure class="intervals"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows_html}\n</tbody>'
        f'<tfoot aria-hidden="true"><tr><td></td><td class="plot axis"><div>{axis}</div></td>'
        f'<td class="unit">{escape(unit)}</td><td></td></tr></tfoot></table>{caption_of(caption)}</figure>'
    )
