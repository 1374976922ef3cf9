"""How unlike real data samples are: a distance that needs no network and sees modes that are missing."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gradtape.errors import InputError
from gradtape.seeding import generator as random_stream

_COMPONENTS = 64  # principal components of the real data that are looked at; data of fewer numbers is taken as it is
_ROWS = 512  # of the reference: with them, measuring takes about as long as two steps of a small network
_FITTED = 1024  # rows that the components are fitted to
_NEIGHBOURS = 5  # the radius around a reference row reaches to that many others, as in Naeem et al.
_LEAST = 4  # real rows: two for the reference, two for the floor


class Measured(NamedTuple):
    """What samples score.

    Attributes:
        value: The distance, from 0 up; lower is better.
        coverage: Share of the reference rows that have a sample near, in [0, 1].
    """

    value: float
    coverage: float


class Likeness:
    """The distance between samples and rows of the reference.

    ``(2 E|x - y| - E|x - x'| - E|y - y'|) / E|y - y'| + 1 - coverage``

    with samples x and reference rows y: the energy distance, in units of the spread of the real data, and the share of
    the reference that has no sample within the distance of its fifth neighbour. The first grows with whatever differs,
    such as noise; the second by the share of the data that a lost mode held. Data of more than 64 numbers is looked at
    in its 64 first principal components and by its distance from them. Classes and attributes are coordinates too, so
    a sample counts where its condition is.

    Args:
        real: What is trained on, shape (n, ...), at least 4 rows.
        condition: Its classes (n,) or attributes (n, k), if there are any.
        held_out: Real rows that are not trained on; without them, half of ``real`` is the reference.
        held_condition: Their conditions.
        seed: Seed of the choice of rows.

    Attributes:
        reference: Rows of the reference; so many samples are asked for.
        condition: Their conditions, which the samples must have.
        floor: What as many other real rows score.

    Raises:
        InputError: Too few rows.

    Source: Székely and Rizzo 2013 (energy distance); Naeem et al. 2020, 2002.09797 (coverage).
    """

    def __init__(
        self,
        real: Tensor,
        condition: Tensor | None = None,
        held_out: Tensor | None = None,
        held_condition: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        if len(real) < _LEAST or (held_out is not None and len(held_out) < 2):
            counted = f"{len(real)} real rows" + ("" if held_out is None else f" and {len(held_out)} held-out ones")
            raise InputError(counted, remedy=f"give at least {_LEAST} to train on and 2 held-out ones, or none")
        random = random_stream(seed, "reference")
        order = torch.randperm(len(real), generator=random).to(real.device)
        self._classes = _classes(condition, held_condition)
        self._fit(real[order[:_FITTED]])
        if held_out is None:
            first, second = order.split([len(order) // 2, len(order) - len(order) // 2])
            kept, kept_condition = real[first], None if condition is None else condition[first]
        else:
            second, kept, kept_condition = order, held_out, held_condition
        chosen = torch.randperm(len(kept), generator=random)[: min(_ROWS, len(second))].to(kept.device)
        second = second[: len(chosen)]
        self.reference = kept[chosen]
        self.condition = None if kept_condition is None else kept_condition[chosen]
        self._unit = 1.0
        self._told = 0.0
        rows = self._seen(self.reference, None)
        self._told = float(_distances(rows, rows).mean()) / 2  # two classes are farther apart than most rows are
        self._rows = self._seen(self.reference, self.condition)
        among = _distances(self._rows, self._rows)
        self._unit = float(among.mean()) or 1.0
        near = min(_NEIGHBOURS, len(self._rows) - 1)
        self._radii = among.kthvalue(near + 1, dim=1).values  # the nearest of all is the row itself
        others = None if condition is None else condition[second]
        self.floor = self._measure(self._seen(real[second], others)).value

    def __call__(self, samples: Tensor) -> Measured:
        """Measure samples, one for each row of the reference and with its condition."""
        return self._measure(self._seen(samples, self.condition))

    def _measure(self, rows: Tensor) -> Measured:
        if not bool(rows.isfinite().all()):
            return Measured(float("inf"), 0.0)
        across = _distances(self._rows, rows)
        energy = (2 * across.mean() - _distances(rows, rows).mean()) / self._unit - 1
        covered = (across.min(dim=1).values <= self._radii + 1e-6 * self._unit).double().mean()
        return Measured(float(energy.clamp(min=0) + 1 - covered), float(covered))

    def _fit(self, rows: Tensor) -> None:
        """Find the mean and the principal components, from the products of rows where these are fewer."""
        flat = rows.detach().flatten(1).float()
        self._mean = flat.mean(0)
        self._components = None
        if flat.shape[1] <= _COMPONENTS:
            return
        flat = flat - self._mean
        if len(flat) < flat.shape[1]:
            variances, vectors = torch.linalg.eigh(flat @ flat.T)
            found = flat.T @ vectors[:, -_COMPONENTS:]
            found = found / found.norm(dim=0).clamp(min=1e-12)
        else:
            variances, found = torch.linalg.eigh(flat.T @ flat)
        kept = variances[-_COMPONENTS:] > 1e-6 * variances[-1]
        self._components = found[:, -_COMPONENTS:][:, kept]

    def _seen(self, x: Tensor, condition: Tensor | None) -> Tensor:
        flat = x.detach().flatten(1).float() - self._mean
        if self._components is not None:
            along = flat @ self._components
            beside = (flat.square().sum(1) - along.square().sum(1)).clamp(min=0).sqrt()
            flat = torch.cat([along, beside[:, None]], dim=1)
        flat = flat.cpu().double()
        if condition is None:
            return flat
        told = one_hot(condition.long(), self._classes) if condition.dim() == 1 else condition
        return torch.cat([flat, self._told * told.cpu()], dim=1)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Return all distances, exact to about 1e-8 of the rows' size."""
    return torch.cdist(a, b)


def _classes(*conditions: Tensor | None) -> int:
    known = [condition for condition in conditions if condition is not None and condition.dim() == 1]
    return max((int(condition.max()) + 1 for condition in known), default=0)
