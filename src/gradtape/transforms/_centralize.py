"""Taking the mean out of a gradient."""

from __future__ import annotations

from torch import Tensor

from gradtape.transforms._linear import Linear, straight_through


class Centralize(Linear):
    """Subtract from the gradient of each output unit its mean; a gradient of fewer than two dimensions stays as it is.

    ``g̃ᵢ = gᵢ - mean(gᵢ)`` for each entry i of the first dimension

    Examples:
        >>> import torch
        >>> Centralize().gradient(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
        tensor([[-1.,  1.],
                [ 0.,  0.]])

    Source: Yong et al., Gradient Centralization: A New Optimization Technique for Deep Neural Networks, ECCV 2020.
    """

    def gradient(self, grad: Tensor) -> Tensor:
        """Return the gradient without its means."""
        return _centralized(grad)

    def __repr__(self) -> str:
        return "Centralize()"


def centralize(x: Tensor) -> Tensor:
    """Return ``x`` with the means taken out of its gradient; the functional twin of ``Centralize``."""
    return straight_through(x, _centralized)


def _centralized(grad: Tensor) -> Tensor:
    if grad.dim() < 2:
        return grad.clone()
    return grad - grad.mean(dim=tuple(range(1, grad.dim())), keepdim=True)
