"""What the samples are worth: fidelity, nearness to the training data, and whether they are of the class asked for."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gradtape.evidence import Fidelity, Interval, Nearness, fidelity, nearest_distances, proportion
from gradtape.seeding import derive
from gradtape.tracking import Finding
from gradtape.training import Played

_SIDE = 16  # pixels that images are averaged down to before distances are taken
_REFERENCE = 2000  # real samples that fidelity is measured against
_NEIGHBOURS = 5
_ENOUGH = 8  # held-out samples, below which neither fidelity nor nearness can be told
MEMORISED = "memorisation"


class Quality(NamedTuple):
    """How near samples are to held-out data, lower is better.

    Attributes:
        value: The samples' distance from held-out data.
        floor: The distance of as many real samples.
        n: Number of held-out samples.
        step: The step that the samples come from.
    """

    value: float
    floor: float
    n: int
    step: int


class Weighed(NamedTuple):
    """What was measured.

    Attributes:
        quality: The distance from held-out data.
        findings: What is wrong.
        fidelity: Precision, recall and their kin; None with too few held-out samples.
        nearness: Distances to the nearest training samples, beside those of held-out samples.
        agreement: Share of samples whose nearest training sample is of the class asked for, and of held-out samples.
        nearest: Of samples and of held-out samples: (positions of the nearest few, their training neighbours,
            distances).
    """

    quality: Quality
    findings: list[Finding]
    fidelity: Fidelity | None
    nearness: Nearness
    agreement: tuple[Interval, Interval] | None
    nearest: dict[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]


def weigh(played: Played, data: Any, made: Tensor, condition: Tensor | None, seed: int) -> Weighed:
    """Measure samples, drawn in the data's proportions, against training and held-out data."""
    train, fresh, ours = (describe(x) for x in (data.train, data.held_out, made))
    near = nearest_distances(train, ours, fresh, seed=derive(seed, "near"))
    rows = np.random.default_rng(derive(seed, "reference")).permutation(len(train))[:_REFERENCE]
    close = None
    if min(len(fresh), len(rows), len(ours)) >= _ENOUGH:
        close = fidelity(ours, train[rows], fresh, _NEIGHBOURS, derive(seed, "fidelity"))
    of_made, of_fresh = neighbours(ours, train), neighbours(fresh, train)
    agreement = None
    if condition is not None and condition.dim() == 1:
        known = data.train_condition.cpu().numpy()
        shares = [
            known[found] == asked.cpu().numpy()
            for (found, _), asked in ((of_made, condition), (of_fresh, data.held_out_condition))
        ]
        agreement = tuple(proportion(int(right.sum()), len(right)) for right in shares)
    step = played.steps if played.best_step is None else played.best_step
    quality = Quality(dict(played.quality).get(step, math.nan), played.floor, len(fresh), step)
    findings = list(played.findings)
    if len(fresh) >= _ENOUGH and near.too_close and not any(finding.rule == MEMORISED for finding in findings):
        findings.append(
            Finding(
                MEMORISED,
                "generator",
                "all parameters",
                step,
                nearness_in_words(near),
                "train for fewer steps, or on more data",
            )
        )
    nearest = {"samples": _nearest_few(*of_made), "held out": _nearest_few(*of_fresh)}
    return Weighed(quality, findings, close, near, agreement, nearest)  # type: ignore[arg-type]


def describe(x: Tensor) -> NDArray[np.float64]:
    """Return samples (n, ...) as rows in which distances mean something: images in [0, 1], not above 16x16."""
    if x.dim() == 4:
        height, width = x.shape[-2:]
        x = adaptive_avg_pool2d(x, (min(height, _SIDE), min(width, _SIDE))) / 2 + 0.5
    flat: NDArray[np.float64] = x.detach().flatten(1).cpu().double().numpy()
    return flat / math.sqrt(flat.shape[1])  # a distance is then a root mean square over pixels or columns


def neighbours(rows: NDArray[np.float64], train: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the position of each row's nearest training sample, and its distance."""
    found = [torch.cdist(part, torch.from_numpy(train)).min(dim=1) for part in torch.from_numpy(rows).split(256)]
    return torch.cat([one.indices for one in found]).numpy(), torch.cat([one.values for one in found]).numpy()


def nearness_in_words(near: Nearness, kind: str = "samples") -> str:
    """Return what distances to the training data say, or that there are too few held-out samples to tell."""
    if near.n_control < _ENOUGH:
        return (
            f"With {near.n_control} held-out {kind} it cannot be told whether samples come too near the training data."
        )
    return near.sentence(kind)


def _nearest_few(
    found: NDArray[np.int64], distances: NDArray[np.float64], few: int = 10
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    order = np.argsort(distances, kind="stable")[:few]
    return order, found[order], distances[order]
