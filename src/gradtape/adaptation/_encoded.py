"""Source and target as the networks see them, divided for training and for choosing."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor
from torch.utils.data import Dataset

from gradtape import seeding
from gradtape.adaptation._inputs import Encoder
from gradtape.adaptation._training import Domains
from gradtape.adaptation.labels import TargetLabels
from gradtape.adaptation.methods import UNKNOWN, Task
from gradtape.errors import DataError, InputError

_VALIDATION = 0.1  # share of the source that is kept from training


class Reading(NamedTuple):
    """How inputs and labels were read, and the way back to the user's words.

    Attributes:
        encoder: How inputs are encoded.
        task: What labels are.
        classes: The classes in the user's words, in the order of their numbers; empty for regression.
        centre: Mean of a regression's labels.
        scale: Their deviation.
        sources: How many sources there are.
    """

    encoder: Encoder
    task: Task
    classes: NDArray[Any]
    centre: float
    scale: float
    sources: int

    def check(self, labels: TargetLabels, rows: int) -> None:
        """Refuse labels of the target that could not be compared with predictions; none is read."""
        if labels.shape != (rows,):
            what = f"the labels of the target have shape {labels.shape}, and it has {rows} rows"
            raise InputError(what, remedy="give one per row, (n,)")
        numbers = self.task == "regression" or self.classes.dtype.kind in "iufb"
        if labels.numeric != numbers:
            kinds = ("numbers", "words") if labels.numeric else ("words", "numbers")
            what = f"the labels of the target are {kinds[0]}, and those of the source {kinds[1]}"
            raise InputError(what, remedy="give both in one kind")

    def said(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Return a class or a number for each row of outputs; one beyond the known classes is -1, or ``unknown``."""
        if not len(self.classes):
            return np.asarray(logits[:, 0].astype(float) * self.scale + self.centre)
        words = self.classes
        if logits.shape[1] > len(words):
            words = np.append(words, np.array([UNKNOWN if words.dtype.kind in "iuf" else "unknown"]))
        return np.asarray(words[logits.argmax(1)])


def encoded(
    X: Any, y: Any, Xt: Any, yt: Any, domains: Any, *, task: Task, seed: int, device: torch.device
) -> tuple[Reading, Domains]:
    """Read what ``fit`` was given."""
    if isinstance(X, Dataset):
        X, y = unpacked(X)
    if isinstance(Xt, Dataset):
        Xt, _ = unpacked(Xt)
    encoder = Encoder.of(X, Xt)
    inputs = encoder.encode(X)
    target = None if Xt is None else encoder.encode(Xt)
    if target is not None and not len(target):
        raise DataError("the target has no rows", remedy="give some")
    labels, classes, centre, scale = _labels(y, len(inputs), task)
    which, sources = _domains(domains, len(inputs))
    rest, kept = _divided(labels, task, seed)
    known = None
    if yt is not None and not isinstance(yt, TargetLabels):
        if target is None:
            raise InputError("labels of the target were given without the target", remedy="give Xt")
        known = _known(yt, len(target), classes, task, centre, scale)
    gaps = None if Xt is None else encoder.gaps(Xt)
    nothing = None if gaps is None else encoder.nothing
    data = Domains(inputs[rest], labels[rest], which[rest], inputs[kept], labels[kept], target, known, gaps, nothing)
    moved = {name: value.to(device) for name, value in data._asdict().items() if value is not None}
    return Reading(encoder, task, classes, centre, scale, sources), data._replace(**moved)


def unpacked(data: Dataset[Any]) -> tuple[Tensor, NDArray[Any]]:
    """Return the inputs and labels of a dataset of pairs."""
    try:
        pairs = [data[index] for index in range(len(data))]  # type: ignore[arg-type]
        inputs, labels = zip(*((torch.as_tensor(x), y) for x, y in pairs), strict=True)
        return torch.stack(inputs), np.array([np.asarray(y) for y in labels])
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"the dataset holds no pairs of an input and a label, all of one shape ({str(error).splitlines()[0]})"
        raise InputError(
            what, remedy="give a dataset with a length whose items are (input, label), or arrays"
        ) from None


def _labels(y: Any, n: int, task: Task) -> tuple[Tensor, NDArray[Any], float, float]:
    if y is None:
        what = "DomainAdapter requires y to be passed, but the target y is None"
        raise InputError(what, remedy="give the labels of the source, one per row")
    if isinstance(y, TargetLabels):
        raise InputError("y is TargetLabels", remedy="give the labels of the source; those of the target are yt")
    array = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if array.ndim == 2 and array.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        warnings.warn("A column-vector y was passed when a 1d array was expected", DataConversionWarning, stacklevel=4)
        array = array[:, 0]
    if array.ndim != 1 or len(array) != n:
        raise InputError(f"y has shape {array.shape}, and there are {n} rows", remedy="give one label per row, (n,)")
    if task == "regression":
        numbers = _numbers(array)
        centre, scale = float(numbers.mean()), float(numbers.std()) or 1.0
        return torch.from_numpy(((numbers - centre) / scale).astype(np.float32)), np.empty(0), centre, scale
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("y contains NaN or infinity: a label is missing", remedy="leave those rows out")
    if array.dtype.kind == "O" and any(value is None or value != value for value in array):
        raise InputError("y has a missing label", remedy="leave those rows out")
    try:
        check_classification_targets(array)
    except ValueError as error:
        what = str(error).split(". ")[0]
        raise InputError(what, remedy="give classes as integers, words or bools, or task='regression'") from None
    classes, indices = np.unique(array, return_inverse=True)
    return torch.from_numpy(indices.astype(np.int64)), classes, 0.0, 1.0


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    try:
        numbers = array.astype(float)
    except (TypeError, ValueError):
        raise InputError("y holds no numbers", remedy="use task='classification', or give numbers") from None
    if not np.isfinite(numbers).all():
        raise InputError("y contains NaN or infinity", remedy="leave those rows out")
    return numbers


def _domains(domains: Any, n: int) -> tuple[Tensor, int]:
    if domains is None:
        return torch.zeros(n, dtype=torch.long), 1
    array = np.asarray(domains)
    if array.shape != (n,):
        raise InputError(f"domains has shape {array.shape}, and the source {n} rows", remedy="give one per row")
    names, numbers = np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)
    return torch.from_numpy(numbers.astype(np.int64)), len(names)


def _known(yt: Any, m: int, classes: NDArray[Any], task: Task, centre: float, scale: float) -> Tensor:
    """Return what is known of the target's labels: class numbers, or standardised numbers."""
    array = np.asarray(yt.detach().cpu() if isinstance(yt, Tensor) else yt)
    if array.shape != (m,):
        raise InputError(
            f"yt has shape {array.shape}, and the target {m} rows", remedy="give one per row, -1 where unknown"
        )
    if task == "regression":
        return torch.from_numpy(((array.astype(float) - centre) / scale).astype(np.float32))
    number = {value: index for index, value in enumerate(classes.tolist())}
    missing = [
        value is None or value != value or (value == UNKNOWN and value not in number) for value in array.tolist()
    ]
    if UNKNOWN in number and UNKNOWN in array.tolist() and not any(missing):
        what = "-1 is a class of the source, so it does not say that a label of the target is unknown"
        raise InputError(what, remedy="give None or NaN where it is not known")
    strange = {value for value, gone in zip(array.tolist(), missing, strict=True) if not gone and value not in number}
    if strange:
        what = f"the target's labels have {sorted(map(str, strange))[:3]}, which the source has not"
        raise InputError(what, remedy="use -1 where the class is unknown, or method='open-set' without them")
    return torch.tensor(
        [UNKNOWN if gone else number[value] for value, gone in zip(array.tolist(), missing, strict=True)]
    )


def _divided(labels: Tensor, task: Task, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train on, and those kept from it: a tenth of each class, evenly at random.

    Where there are too few, one of each class is trained on and measured on.
    """
    if len(labels) < 2:
        raise DataError("the source has 1 sample", remedy="give more rows")
    random = seeding.generator(seed, "validation")
    everything = torch.arange(len(labels))
    groups = [everything] if task == "regression" else [(labels == k).nonzero()[:, 0] for k in labels.unique()]
    shuffled = [rows[torch.randperm(len(rows), generator=random)] for rows in groups]
    kept = np.sort(torch.cat([rows[: round(_VALIDATION * len(rows))] for rows in shuffled]).numpy())
    if not len(kept):
        return everything.numpy(), np.sort(torch.stack([rows[0] for rows in shuffled]).numpy())
    return np.setdiff1d(everything.numpy(), kept), kept
