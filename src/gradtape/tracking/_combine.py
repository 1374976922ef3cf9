"""Parts of sharded parameters, combined over the processes that hold the shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gradtape.tracking._schedule import Intervals
from gradtape.tracking.measures import Combine, onto


class Combined(Protocol):
    """What a measure says of its parts."""

    @property
    def combine(self) -> Combine:
        """How the parts of shards add up."""

    def finish(self, parts: npt.NDArray[np.float64]) -> Any:
        """Make the numbers."""


class Parts(NamedTuple):
    """What one measure has read at a step.

    Attributes:
        name: Its channel, after the player's name.
        columns: The channel's columns.
        measure: The measure.
        tensor: The parts, one row per parameter or module.
        shards: Whether they may be of shards of parameters; modules see their own process's batch.
    """

    name: str
    columns: list[str]
    measure: Combined
    tensor: Tensor
    shards: bool = True


class Combiner:
    """Adds up the shards of parameters that are ``DTensor``s (FSDP2, tensor parallel), where there are any.

    Every process must then read at the same steps: the tracker runs on all of them.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._groups: dict[Any, list[int]] = {}
        self._rows: dict[tuple[Any, torch.device], Tensor] = {}
        for index, parameter in enumerate(parameters):
            placements = getattr(parameter, "placements", None)
            if placements is None:
                continue
            mesh: Any = parameter.device_mesh  # type: ignore[attr-defined]
            for dimension, placement in enumerate(placements):
                if placement.is_shard():
                    self._groups.setdefault(mesh.get_group(dimension), []).append(index)

    @property
    def sharded(self) -> bool:
        """Whether there is anything to combine."""
        return bool(self._groups)

    def __call__(self, found: Sequence[Parts]) -> list[Parts]:
        """Return the parts of whole parameters."""
        if not self._groups:
            return list(found)
        from torch import distributed

        wide = [parts._replace(tensor=_wide(parts)) for parts in found]
        kinds = {"max": distributed.ReduceOp.MAX, "sum": distributed.ReduceOp.SUM}
        for group, rows in self._groups.items():
            for kind, operation in kinds.items():
                mine = [p for p in wide if p.shards and (p.measure.combine == "max") == (kind == "max")]
                if not mine:
                    continue
                device = mine[0].tensor.device
                if (group, device) not in self._rows:
                    self._rows[group, device] = onto(device, rows)
                index = self._rows[group, device]
                flat = torch.cat([parts.tensor[index].reshape(-1) for parts in mine])
                distributed.all_reduce(flat, operation, group=group)
                pieces = flat.split([parts.tensor[index].numel() for parts in mine])
                for parts, piece in zip(mine, pieces, strict=True):
                    parts.tensor[index] = piece.view_as(parts.tensor[index])
        return [p._replace(tensor=p.tensor.sqrt() if p.measure.combine == "norm" else p.tensor) for p in wide]

    def agree(self, wanted: Intervals | None) -> Intervals | None:
        """Return the widest of what the processes want, so that all read at the same steps."""
        if wanted is None or not self._groups:
            return wanted
        from torch import distributed

        group = next(iter(self._groups))
        device = torch.device("cpu") if "gloo" in distributed.get_backend(group) else None
        numbers = torch.tensor(wanted, device=device or torch.accelerator.current_accelerator())
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX, group=group)
        sizes, dear = numbers.tolist()
        return int(sizes), int(dear)


def _wide(parts: Parts) -> Tensor:
    """Return parts that add up, in numbers that do not overflow when squared."""
    tensor = parts.tensor.double() if parts.tensor.device.type != "mps" else parts.tensor.float()
    return tensor.square() if parts.measure.combine == "norm" else tensor.clone()
