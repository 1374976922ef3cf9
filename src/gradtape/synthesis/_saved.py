"""A trained synthesizer in one file: safetensors, with JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from gradtape.atomic import write_atomically
from gradtape.errors import RunError
from gradtape.synthesis._conditions import Conditions
from gradtape.synthesis._plan import Plan
from gradtape.synthesis._samples import Images, Points, kind_from_json

_FORMAT = 1
_WEIGHTS, _ROWS = "generator.", "attributes"


class Trained(NamedTuple):
    """All that sampling needs.

    Attributes:
        plan: What was trained.
        kind: Kind of data.
        conditions: What samples can be asked for.
        generator: The averaged generator.
        about: Plain values: settings, quality, findings.
    """

    plan: Plan
    kind: Images | Points
    conditions: Conditions
    generator: nn.Module
    about: dict[str, Any]


def save(path: Path, trained: Trained) -> None:
    """Write the file, whole or not at all; same content, same bytes."""
    weights = trained.generator.state_dict()
    tensors = {_WEIGHTS + name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    if trained.conditions.attributes:
        tensors[_ROWS] = torch.from_numpy(trained.conditions.rows.copy())
    header = {
        "format": _FORMAT,
        "plan": trained.plan.to_json(),
        "kind": trained.kind.to_json(),
        "conditions": trained.conditions.to_json(),
        **trained.about,
    }
    # one entry alone: safetensors writes several in an order that differs from save to save
    write_atomically(path, to_bytes(tensors, {"gradtape": json.dumps(header, sort_keys=True)}), then="save again")


def load(path: Path) -> Trained:
    """Read the file; nothing in it is ever run."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["gradtape"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        if header.pop("format") != _FORMAT:
            raise RunError(f"{path} was saved by another version of gradtape", remedy="fit and save again")
        plan = Plan.from_json(header.pop("plan"))
        rows = tensors.pop(_ROWS).numpy() if _ROWS in tensors else np.empty((0, 0))
        kind, conditions = kind_from_json(header.pop("kind")), Conditions.from_json(header.pop("conditions"), rows)
        with torch.random.fork_rng(devices=[]):
            generator = plan.generator()
        generator.load_state_dict({name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items()})
    except FileNotFoundError:
        raise RunError(f"there is no file {path}", remedy="give the path that was saved to") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} holds no synthesizer or is damaged", remedy="fit and save again") from error
    return Trained(plan, kind, conditions, generator.requires_grad_(False).eval(), header)
