"""A trained adapter in one file: safetensors, with JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from gradtape.atomic import write_atomically
from gradtape.errors import RunError

_FORMAT = 1


def save(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write the file, whole or not at all; same content, same bytes."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    # one entry alone: safetensors writes several in an order that differs from save to save
    header = {"gradtape": json.dumps({"format": _FORMAT, "adapter": about}, sort_keys=True)}
    write_atomically(path, to_bytes(tensors, header), then="save again")


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and plain values of the file; nothing in it is ever run."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["gradtape"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        if header["format"] != _FORMAT:
            raise RunError(f"{path} was saved by another version of gradtape", remedy="fit and save again")
        about: dict[str, Any] = header["adapter"]
    except FileNotFoundError:
        raise RunError(f"there is no file {path}", remedy="give the path that was saved to") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} holds no adapter or is damaged", remedy="fit and save again") from error
    return tensors, about
