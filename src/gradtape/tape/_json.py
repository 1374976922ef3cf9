"""A tape as JSON: its graph and the figures of its nodes, without the values."""

from __future__ import annotations

import json
import math
from typing import Any

from gradtape.tape._node import Node
from gradtape.tape._trees import norm_of


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
        "value_norm": _in_json(norm_of(node.held)),
        "grad_norm": _in_json(norm_of(node.grad)),
    }


def _in_json(norm: float | None) -> float | str | None:
    """Say in words what is not finite, for JSON has no numbers for that."""
    return norm if norm is None or math.isfinite(norm) else str(norm)
