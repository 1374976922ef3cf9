"""Small batches of two domains, and methods on small networks."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods import METHODS, Method, make, parts_of

CLASSES = 3
NEEDS: dict[str, dict[str, Any]] = {"adda": {"pretrain": 0}, "self-training": {"threshold": 0.0}}
"""What makes a method adapt from its first call on."""


class Batch(NamedTuple):
    xs: Tensor
    ys: Tensor
    xt: Tensor
    domains: Tensor

    def loss(self, method: Method) -> Tensor:
        return method(self.xs, self.ys, self.xt, domains=self.domains)

    def term(self, method: Method) -> Tensor:
        """What the method adds, from a pass of its own."""
        term = method.term(method.see(self.xs, self.ys, self.xt, self.domains))
        assert term is not None
        return term


def batch(n: int = 12, m: int = 8, seed: int = 0) -> Batch:
    """Gaussians around the corners of a triangle, in the target moved; sources take turns."""
    random = torch.Generator().manual_seed(seed)
    ys, yt = torch.arange(n) % CLASSES, torch.arange(m) % CLASSES
    corners = 2 * torch.eye(CLASSES, 4, dtype=torch.float64)
    xs = corners[ys] + torch.randn(n, 4, generator=random, dtype=torch.float64)
    xt = corners[yt] + torch.randn(m, 4, generator=random, dtype=torch.float64) + 1.5
    domains = (torch.arange(n) % 5) // 3  # of different sizes
    return Batch(xs + domains[:, None] * 1.0, ys, xt, domains)


def method(name: str, seed: int = 0, features: nn.Module | None = None, **settings: Any) -> Method:
    """A method by name, in double precision and with λ at 0.5; the same seed gives the same weights."""
    parts = parts_of(name)
    torch.manual_seed(seed)
    known = CLASSES if settings.get("task") != "regression" else 1
    head = nn.Linear(6, known + max(METHODS[part].extra_outputs for part in parts))
    features = features or nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
    needs = {key: value for part in parts for key, value in NEEDS.get(part, {}).items()}
    return make(name, features, head, **{"strength": 0.5, **needs, **settings}).double()


def adapted(made: Method) -> nn.Module:
    """The features that a method adapts."""
    module = getattr(made, "target_features", made.features)
    assert isinstance(module, nn.Module)
    return module


def gradients(value: Tensor, module: nn.Module) -> Tensor:
    """The gradient of a value at all parameters of a module, as one vector."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return torch.cat(
        [torch.zeros(p.numel()).to(p) if g is None else g.flatten() for g, p in zip(found, parameters, strict=True)]
    )
