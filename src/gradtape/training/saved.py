"""Weights in one file with plain values about them: safetensors, with JSON in its header; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from gradtape.atomic import write_atomically
from gradtape.errors import RunError

_FORMAT = 1


def save_weights(path: Path, kind: str, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all; same content, same bytes.

    Args:
        path: The file.
        kind: What it holds, in a word, such as ``adapter``.
        weights: Name -> tensor, wherever it is.
        about: Plain values.

    Raises:
        RunError: It cannot be written.
    """
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    # one entry alone: safetensors writes several in an order that differs from save to save
    header = {"gradtape": json.dumps({"format": _FORMAT, kind: about}, sort_keys=True)}
    write_atomically(path, to_bytes(tensors, header), then="save again")


def load_weights(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and plain values of a file that ``save_weights`` wrote; nothing in it is ever run.

    Raises:
        RunError: The file is missing, damaged, or of another kind or version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["gradtape"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        if header["format"] != _FORMAT:
            raise RunError(f"{path} was saved by another version of gradtape", remedy="fit and save again")
        about: dict[str, Any] = header[kind]
    except FileNotFoundError:
        raise RunError(f"there is no file {path}", remedy="give the path that was saved to") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} holds no {kind} or is damaged", remedy="fit and save again") from error
    return tensors, about
