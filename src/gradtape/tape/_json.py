"""A tape as JSON: its graph and the figures of its nodes, without the values."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from gradtape.tape._node import Node


def to_json(nodes: list[Node], outputs: set[int]) -> str:
    """Return the graph as a JSON text; see ``Tape.to_json``."""
    figures = [_figures(node, node.position in outputs) for node in nodes]
    return json.dumps({"nodes": figures}, indent=1, allow_nan=False)


def _figures(node: Node, is_output: bool) -> dict[str, Any]:
    return {
        "position": node.position,
        "name": node.name,
        "op": node.op,
        "module": node.module,
        "shape": list(node.shape),
        "dtype": str(node.dtype).removeprefix("torch."),
        "bytes": node.memory,
        "source": node.source,
        "parents": [parent.position for parent in node.parents],
        "output": is_output,
        "value_norm": norm(node.held),
        "grad_norm": norm(node.grad),
    }


def norm(tensor: torch.Tensor | None) -> float | str | None:
    """Return the 2-norm, in words where it is not finite, for JSON has no numbers for that."""
    if tensor is None or tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return None
    size = float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.promote_types(tensor.dtype, torch.float32)))
    return size if math.isfinite(size) else str(size)
