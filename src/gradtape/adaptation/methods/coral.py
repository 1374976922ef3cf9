"""Correlation alignment."""

from __future__ import annotations

from torch import Tensor

from gradtape.adaptation.methods._base import Method, Seen


class DeepCORAL(Method):
    """The covariances of both domains' features are brought together.

    ``‖C_s - C_t‖² / (4 d²)`` with the Frobenius norm, and covariances that divide by the number of rows.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.

    Examples:
        >>> import torch
        >>> method = DeepCORAL(torch.nn.Identity(), torch.nn.Linear(1, 3), strength=1.0)
        >>> _ = method(torch.tensor([[-2.0], [2.0]]), torch.tensor([0, 1]), torch.tensor([[5.0], [5.0], [5.0]]))
        >>> method.figures["term"]  # (4 - 0)² / 4
        tensor(4.)

    Source: Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV 2016 workshops.
    """

    name = "coral"
    title = "correlation alignment (DeepCORAL)"

    def term(self, seen: Seen) -> Tensor:
        """Return the squared distance of the covariances."""
        difference = _covariance(self.gate(seen.source)) - _covariance(self.gate(seen.target))
        return (difference / (2 * seen.source.shape[1])).square().sum()


def _covariance(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    return centred.T @ centred / len(z)
