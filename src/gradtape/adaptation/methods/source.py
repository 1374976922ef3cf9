"""Training on the source alone: what every method must beat."""

from __future__ import annotations

from torch import Tensor

from gradtape.adaptation.methods._base import Method, Seen


class SourceOnly(Method):
    """The method without adaptation: the target is not looked at.

    Examples:
        >>> from torch import nn, ones, tensor
        >>> method = SourceOnly(nn.Linear(2, 4), nn.Linear(4, 3))
        >>> method(ones(5, 2), tensor([0, 1, 2, 0, 1])).shape
        torch.Size([])
    """

    name = "source"
    title = "source only"
    needs_target = False

    def term(self, seen: Seen) -> Tensor | None:
        """Return nothing."""
        return None
