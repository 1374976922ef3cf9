"""What rules share: which parameters are layers, readings between gaps, stretches of steps, robust levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix

Rule = Callable[[History], list[Finding]]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

WINDOW = 20  # steps for which something must hold
READINGS = 5  # readings of a measure that is not read at every step, for which something must hold
START = 5  # steps whose median is the start
ARRIVED_SHARE = 1e-2  # of the gradient norm of the first steps: less, at the lowest loss, is a training that is done
MAD = 1.4826  # median absolute deviation of a normal variable -> its standard deviation
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}  # relative spacing of floats


class Remembering(Mapping[str, Matrix]):
    """A history's measures, and what rules have worked out of them: several rules ask for the same."""

    def __init__(self, measures: Mapping[str, Matrix]) -> None:
        self._measures = measures
        self.worked_out: dict[str, Matrix] = {}

    def __getitem__(self, name: str) -> Matrix:
        return self._measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def __len__(self) -> int:
        return len(self._measures)


def remembered(history: History, name: str, make: Callable[[], Matrix]) -> Matrix:
    """Return what ``make`` makes, once per history where its measures remember."""
    if not isinstance(history.measures, Remembering):
        return make()
    known = history.measures.worked_out
    if name not in known:
        known[name] = make()
    return known[name]


class Lasting(NamedTuple):
    """A stretch that has lasted up to the last known row.

    Attributes:
        column: Which column.
        first: Its first row.
        rows: Its rows.
    """

    column: int
    first: int
    rows: Rows


def layers(history: History) -> list[int]:
    """Return the parameters that are weights of a layer: two dimensions or more.

    Biases and norms' scales begin at zero or one, so they have no size to compare a gradient or an update with. Where
    shapes are not known a name that ends in ``bias`` tells; where nothing is left all parameters count.
    """
    if len(history.settings.shapes) == len(history.parameters):
        found = [i for i, shape in enumerate(history.settings.shapes) if len(shape) > 1]
    else:
        found = [i for i, name in enumerate(history.parameters) if not name.endswith("bias")]
    return found or list(range(len(history.parameters)))


def layer_of(name: str) -> str:
    """Return the path of the module that a parameter belongs to."""
    return name.rpartition(".")[0]


def sizes(history: History) -> Matrix | None:
    """Return the number of elements of each parameter, or None where shapes are not known."""
    if len(history.settings.shapes) != len(history.parameters):
        return None
    return np.array([float(np.prod(shape)) for shape in history.settings.shapes])


def spacing(history: History) -> Matrix:
    """Return the relative spacing of the floats that each parameter is stored in; of 32 bits where it is not known."""
    dtypes = history.settings.dtypes or ("float32",) * len(history.parameters)
    return np.array([EPS.get(dtype, EPS["float32"]) for dtype in dtypes])


def measure(history: History, name: str) -> Matrix:
    """Return a measure, shape (t, p); all NaN where it was never read."""
    found = history.measures.get(name)
    shape = (len(history.steps), len(history.parameters))
    return np.broadcast_to(np.nan, shape) if found is None or found.shape != shape else found


def readings(values: Matrix) -> Rows:
    """Return the rows in which anything was read."""
    return np.flatnonzero(np.isfinite(values).any(axis=1))


def carried(values: Matrix) -> Matrix:
    """Return a matrix in which rows without any reading repeat the last one."""
    read = ~np.isnan(values).all(axis=1) if values.size else np.ones(len(values), dtype=bool)
    if read.all() or not read.any():
        return values
    last = np.maximum.accumulate(np.where(read, np.arange(len(values)), int(np.argmax(read))))
    found: Matrix = values[last]
    return found


def gradient_norm(history: History, *, raw: bool = False) -> Matrix:
    """Return the gradient norm over all parameters, shape (t,); as backward left it if that is asked for and known."""
    if raw:
        norms = measure(history, "raw_grad_norm")
        if np.isfinite(norms).any():
            return remembered(history, "raw gradient", lambda: total(norms))
    return remembered(history, "gradient", lambda: total(measure(history, "grad_norm")))


def pace(history: History) -> Matrix:
    """Return the median layer's update-to-weight ratio, of the layers that move; 0 where none does, NaN if not "
    "known."""

    def make() -> Matrix:
        ratio = carried(measure(history, "update_ratio")[:, layers(history)])
        with np.errstate(invalid="ignore"):
            moving = middle(np.where(ratio > 0, ratio, np.nan))
        return np.where(np.isnan(moving) & (ratio == 0).any(axis=1), 0.0, moving)

    return remembered(history, "pace", make)


def paces(history: History) -> Matrix:
    """Return the median of ``pace`` over each ``WINDOW`` steps; what is not known counts as 0."""
    whole = pace(history)
    return remembered(history, "paces", lambda: rolling(np.where(np.isfinite(whole), whole, 0.0), WINDOW))


def levels(history: History) -> Matrix:
    """Return the median of the finite losses over each ``WINDOW`` of them."""
    return remembered(history, "levels", lambda: rolling(losses(history)[1], WINDOW))


def total(norms: Matrix) -> Matrix:
    """Return the norm over all parameters that have a gradient, shape (t,)."""
    known = np.where(np.isnan(norms), 0.0, norms)
    with np.errstate(over="ignore"):
        found: Matrix = np.sqrt(np.einsum("ij,ij->i", known, known))
    return found


def divide(a: Matrix, b: Matrix) -> Matrix:
    """Return a / b, and 0 where b is 0."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinity over infinity
        return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def middle(values: Matrix) -> Matrix:
    """Return the median of each row over what is finite in it, NaN where nothing is."""
    if not values.size:
        return np.full(len(values), np.nan)
    finite = np.isfinite(values)
    if finite.all():
        return np.asarray(np.median(values, axis=1), dtype=np.float64)
    ordered = np.sort(np.where(finite, values, np.inf), axis=1)
    count = finite.sum(axis=1)
    row = np.arange(len(values))
    low, high = ordered[row, np.maximum(count - 1, 0) // 2], ordered[row, np.minimum(count // 2, values.shape[1] - 1)]
    return np.where(count > 0, (low + np.where(count > 0, high, low)) / 2, np.nan)


def median(values: Matrix) -> float:
    """Return the median of what is finite, NaN where nothing is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def rolling(values: Matrix, window: int) -> Matrix:
    """Return the median of each ``window`` successive values, shape (t - window + 1,)."""
    if len(values) < window:
        return np.zeros(0)
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1), dtype=np.float64)


def spread(values: Matrix) -> float:
    """Return the standard deviation of the noise in a series, from the differences of successive values."""
    steps = np.diff(values[np.isfinite(values)])
    return MAD * float(np.median(np.abs(steps))) / np.sqrt(2) if len(steps) else 0.0


def previous(values: Matrix) -> Matrix:
    """Return each row's predecessor; the first row's is itself."""
    return np.concatenate([values[:1], values[:-1]])


def jumped(at: Flags, window: int) -> Flags:
    """Return for each row from ``window`` on whether one of the last ``window`` was flagged, shape (t - window, p)."""
    counts = np.cumsum(at, axis=0)
    found: Flags = counts[window:] > counts[:-window]
    return found


def sustained(holds: Flags, window: int = WINDOW) -> int | None:
    """Return where the first stretch of ``window`` true values begins."""
    if len(holds) < window:
        return None
    counts = np.concatenate([[0], np.cumsum(holds)])
    starts = np.flatnonzero(counts[window:] - counts[:-window] == window)
    return int(starts[0]) if len(starts) else None


def lasting(holds: Flags, known: Flags, least: int = WINDOW) -> list[Lasting]:
    """Return for each column the known rows after the last known one where it does not hold, if these are enough."""
    if not holds.size:
        return []
    found = []
    for index in np.flatnonzero(~(known[-least:] & ~holds[-least:]).any(axis=0)):
        broken = np.flatnonzero(known[:, index] & ~holds[:, index])
        after = int(broken[-1]) + 1 if len(broken) else 0
        rows = after + np.flatnonzero(known[after:, index])
        if len(rows) >= least:
            found.append(Lasting(int(index), int(rows[0]), rows))
    return found


def losses(history: History) -> tuple[Rows, Matrix]:
    """Return the rows with a finite loss, and the loss; none in a game or with a reversal, where it is no signal."""
    if history.rivals or history.reversals or len(history.loss) != len(history.steps):
        return np.zeros(0, dtype=np.intp), np.zeros(0)
    rows = np.flatnonzero(np.isfinite(history.loss))
    return rows, history.loss[rows]


def arrived(history: History, since: int, window: int) -> bool:
    """Whether updates ceased because gradients did, where the loss, if logged, was about the lowest so far."""
    norms = gradient_norm(history)
    if not np.median(norms[since : since + window]) < ARRIVED_SHARE * np.median(norms[:START]):
        return False
    before, after = history.loss[:since], history.loss[since:]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if not len(before) or not len(after):
        return True
    low, high = np.quantile(before, (0.1, 1.0))
    return bool(np.median(after) <= low + ARRIVED_SHARE * (high - low))
