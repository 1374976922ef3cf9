"""Numbers for readers: thousands separators, true minus signs, one number of decimals per column, round axis ticks."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

Cell: TypeAlias = str | int | float | None

MINUS = "\u2212"
MISSING = "\u2013"


def is_number(value: object) -> bool:
    """Whether the value is a number to set in figures (a bool is a word)."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def is_whole(value: object) -> bool:
    """Whether the value is of an integer type, Python's or numpy's."""
    return is_number(value) and isinstance(value, numbers.Integral)


def decimals_for(values: Iterable[float], significant: int = 4) -> int | None:
    """How many decimals suit a column: enough for the largest value, no more than the values have.

    None where one number of decimals would hide a small value, or is silly for a large one.

    >>> decimals_for([92.5, 93.25]), decimals_for([0.981, 0.5]), decimals_for([1.0, 2.0]), decimals_for([0.5, 1e-6])
    (2, 3, 1, None)
    """
    sizes = [abs(float(v)) for v in values if math.isfinite(v)]
    if not sizes or max(sizes) == 0:
        return 1
    top = max(sizes)
    if not 1e-3 <= top < 1e7:
        return None
    places = max(1, significant - 1 - math.floor(math.log10(top)))
    small = min((s for s in sizes if s > 0), default=top)
    if small < 0.5 * 10.0**-places:
        return None
    while places > 1 and all(abs(round(s, places - 1) - s) < 1e-9 * max(1.0, top) for s in sizes):
        places -= 1
    return places


def number(value: float, decimals: int | None = None, *, signed: bool = False) -> str:
    """A number in words a reader expects.

    >>> number(1797), number(-0.5, 2), number(1.25e-7), number(float("nan")), number(0.9, 1, signed=True)
    ('1,797', '−0.50', '1.25e−7', 'NaN', '+0.9')
    """
    if is_whole(value):
        text = f"{abs(int(value)):,}"
    elif math.isnan(value):
        return "NaN"
    elif math.isinf(value):
        text = "\u221e"
    elif decimals is not None:
        text = f"{abs(value):,.{decimals}f}"
        if not any(c in "123456789" for c in text):
            return f"{0:.{decimals}f}"
    elif value == 0 or 1e-3 <= abs(value) < 1e7:
        text = f"{float(f'{abs(value):.4g}'):,}".removesuffix(".0")
    else:
        mantissa, exponent = f"{abs(value):.3g}".split("e") if "e" in f"{abs(value):.3g}" else (f"{abs(value):.3g}", "")
        text = f"{mantissa}e{int(exponent)}".replace("-", MINUS) if exponent else mantissa
    return (MINUS if value < 0 else "+" if signed and value > 0 else "") + text


def cell(value: Cell, decimals: int | None = None) -> str:
    """One table cell as plain text: None is an en dash, a bool is yes or no, a string is itself."""
    if value is None:
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if is_number(value):
        return number(value, decimals)  # type: ignore[arg-type]
    return str(value)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers inside [low, high], about ``count`` of them.

    >>> ticks(-4.7, 2.1), ticks(0.0, 1.0)
    ([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    if not high > low:
        return [float(low)]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1.0, 2.0, 5.0, 10.0)), key=lambda s: abs(math.log(s / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    places = max(0, 1 - math.floor(math.log10(step)))
    return [round(i * step, places) + 0.0 for i in range(first, last + 1)]


def step_decimals(marks: Sequence[float]) -> int:
    """The decimals that a list of ticks needs.

    >>> step_decimals([0.0, 0.5, 1.0]), step_decimals([0.0, 2.0])
    (1, 0)
    """
    for places in range(8):
        if all(abs(round(m, places) - m) < 1e-9 * max(1.0, abs(m)) for m in marks):
            return places
    return 8


def rounded(values: Iterable[float], digits: int) -> list[float | int | None]:
    """Significant digits for embedding; integers stay short, what is not finite becomes None.

    >>> rounded([1.0, 0.123456, float("nan")], 3)
    [1, 0.123, None]
    """
    out: list[float | int | None] = []
    for value in values:
        if not math.isfinite(value):
            out.append(None)
            continue
        short = float(f"{value:.{digits}g}")
        out.append(int(short) if short.is_integer() and abs(short) < 1e15 else short)
    return out
