"""One of every transformation there is, for the contract tests and for what else runs over all of them."""

from collections.abc import Callable

import torch
from torch import Tensor

import gradtape as gt
from gradtape.transforms import Transform

MEMBERS: dict[str, Callable[[], Transform]] = {
    "Reverse": lambda: gt.Reverse(0.5),
    "Scale": lambda: gt.Scale(2.0),
    "Stop": gt.Stop,
    "Clip by norm": lambda: gt.Clip(0.5),
    "Clip by norm per sample": lambda: gt.Clip(0.5, per="sample"),
    "Clip by value": lambda: gt.Clip(0.5, by="value"),
    "Noise": lambda: gt.Noise(0.1, seed=3),
    "Project": lambda: gt.Project(torch.tensor([1.0, 2.0, 3.0])),
    "Project onto": lambda: gt.Project(torch.tensor([1.0, 2.0, 3.0]), onto=True),
    "Project in conflict": lambda: gt.Project(torch.tensor([1.0, 2.0, 3.0]), when="conflict"),
    "Mask": lambda: gt.Mask(torch.tensor([True, False, True])),
    "Centralize": gt.Centralize,
    "Normalize": gt.Normalize,
    "EMA": lambda: gt.EMA(0.5),
    "SkipNonfinite": gt.SkipNonfinite,
    "chain": lambda: gt.chain(gt.Scale(2.0), gt.Clip(1.0), gt.Reverse(0.5)),
}
"""Name -> a fresh member that works on a tensor whose last dimension has 3 entries."""

LINEAR = ("Reverse", "Scale", "Stop", "Project", "Project onto", "Mask", "Centralize")
REMEMBERING = ("EMA", "SkipNonfinite")

G = torch.tensor([[0.3, -1.2, 0.5], [2.0, 0.1, -0.7]])
"""A gradient."""

EXPECTED: dict[str, Callable[[Tensor], Tensor]] = {
    "Reverse": lambda g: -0.5 * g,
    "Scale": lambda g: 2 * g,
    "Stop": lambda g: 0 * g,
    "Clip by norm": lambda g: g * min(1.0, 0.5 / g.norm()),
    "Clip by norm per sample": lambda g: torch.stack([row * min(1.0, 0.5 / row.norm()) for row in g]),
    "Clip by value": lambda g: torch.minimum(torch.maximum(g, torch.tensor(-0.5)), torch.tensor(0.5)),
    "Project": lambda g: g - torch.outer(g @ DIRECTION / 14, DIRECTION),
    "Project onto": lambda g: torch.outer(g @ DIRECTION / 14, DIRECTION),
    "Project in conflict": lambda g: g - torch.outer((g @ DIRECTION / 14).clamp(max=0), DIRECTION),
    "Mask": lambda g: g * torch.tensor([1.0, 0.0, 1.0]),
    "Centralize": lambda g: g - g.mean(1, keepdim=True),
    "Normalize": lambda g: g / g.norm(),
    "EMA": lambda g: g,
    "SkipNonfinite": lambda g: g,
    "chain": lambda g: -0.5 * 2 * g * min(1.0, 1.0 / (2 * g.norm())),
}
"""What becomes of a gradient at the first call, written out; the draws of Noise are tested for what they are."""

DIRECTION = torch.tensor([1.0, 2.0, 3.0])
