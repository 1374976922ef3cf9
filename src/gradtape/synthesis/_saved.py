"""A trained synthesizer in one file: safetensors, with JSON in its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gradtape.errors import RunError
from gradtape.synthesis._conditions import Conditions
from gradtape.synthesis._plan import Plan
from gradtape.synthesis._samples import Images, Points, kind_from_json
from gradtape.training import load_weights, save_weights

_KIND = "synthesizer"
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
    tensors = {_WEIGHTS + name: tensor for name, tensor in trained.generator.state_dict().items()}
    if trained.conditions.attributes:
        tensors[_ROWS] = torch.from_numpy(trained.conditions.rows)
    about = {
        "plan": trained.plan.to_json(),
        "kind": trained.kind.to_json(),
        "conditions": trained.conditions.to_json(),
        **trained.about,
    }
    save_weights(path, _KIND, tensors, about)


def load(path: Path) -> Trained:
    """Read the file; nothing in it is ever run."""
    tensors, about = load_weights(path, _KIND)
    try:
        plan = Plan.from_json(about.pop("plan"))
        rows = tensors.pop(_ROWS).numpy() if _ROWS in tensors else np.empty((0, 0))
        kind, conditions = kind_from_json(about.pop("kind")), Conditions.from_json(about.pop("conditions"), rows)
        with torch.random.fork_rng(devices=[]):
            generator = plan.generator()
        generator.load_state_dict({name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{path} holds no synthesizer or is damaged", remedy="fit and save again") from error
    return Trained(plan, kind, conditions, generator.requires_grad_(False).eval(), about)
