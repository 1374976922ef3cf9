"""How far the gradients of several losses agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from gradtape.tracking._backward import dense
from gradtape.tracking.measures import local, norms, onto


def agreement(losses: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Return the cosine between the gradients of each pair of losses, for each parameter; the graph is kept.

    Args:
        losses: Name -> loss, one element each, with their graph.
        parameters: What they are differentiated by.

    Returns:
        ``a | b`` -> cosines, shape (parameters,); NaN where one of the two does not depend on a parameter, or has a
        gradient of zero there.
    """
    asked = [parameter for parameter in parameters if parameter.requires_grad]
    rows = [index for index, parameter in enumerate(parameters) if parameter.requires_grad]
    grads = {
        name: [
            None if g is None else local(dense(g))
            for g in torch.autograd.grad(loss, asked, retain_graph=True, allow_unused=True)
        ]
        for name, loss in losses.items()
    }
    sizes = {name: norms(found) for name, found in grads.items()}
    pairs = {}
    for a, b in combinations(losses, 2):
        unknown = torch.full_like(sizes[a][0], torch.nan)
        dots = [
            unknown if x is None or y is None else torch.dot(x.reshape(-1), y.reshape(-1)).to(unknown)
            for x, y in zip(grads[a], grads[b], strict=True)
        ]
        cosines = torch.full((len(parameters),), torch.nan, dtype=unknown.dtype, device=unknown.device)
        cosines[onto(unknown.device, rows)] = torch.stack(dots) / (sizes[a] * sizes[b])
        pairs[f"{a} | {b}"] = cosines.where(cosines.isfinite(), unknown)
    return pairs
