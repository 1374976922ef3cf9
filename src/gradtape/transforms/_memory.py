"""Transformations that remember earlier gradients: accumulation over steps, and a moving average."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._nonlinear import NonLinear
from gradtape.transforms._norms import wide
from gradtape.transforms._places import Gradients, Place
from gradtape.transforms._setting import checked_number


class Accumulate(NonLinear):
    """Let every nth step through, with the mean of the gradients since the last.

    The training loop stays that of one batch per step; in the steps between, parameters have no gradient, so the
    optimizer leaves them and its own state as they are. For optimizers only, and not for those that call a closure
    several times a step, such as LBFGS: it would mix gradients at different weights.

    Args:
        steps: How many gradients make one, at least 1.

    Raises:
        InputError: Fewer than one step; or it was put on a tensor.

    Examples:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0)
        >>> attachment = Accumulate(2).on(optimizer)
        >>> for size in (1.0, 3.0):
        ...     optimizer.zero_grad()
        ...     (size * weight).sum().backward()
        ...     optimizer.step()
        ...     print(weight.item())
        0.0
        -2.0
    """

    differentiable = False
    on_tensor = "because it lets only some of the gradients through"

    def __init__(self, steps: int) -> None:
        super().__init__()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"steps is {steps!r}", remedy="give a whole number of at least 1")
        self.steps = steps
        self.count = 0
        self._sums: dict[int, Tensor] = {}
        self._dtypes: dict[int, torch.dtype] = {}  # of the gradients; their sums are kept in at least 32 bits

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return nothing, or after ``steps`` calls the means."""
        for key, grad in grads.items():
            added = grad.to(wide(grad), copy=True)
            self._sums[key] = self._sums[key] + added if key in self._sums else added
            self._dtypes[key] = grad.dtype
        self.count += 1
        if self.count < self.steps:
            return {}
        sums, self._sums, self.count = self._sums, {}, 0
        return {key: (total / self.steps).to(self._dtypes.get(key, total.dtype)) for key, total in sums.items()}

    def _state(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count), **{f"sum.{key}": total for key, total in self._sums.items()}}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        self.count = int(state["count"])
        self._sums = _by_key(state, "sum.")

    def __repr__(self) -> str:
        return f"Accumulate(steps={self.steps})"


class EMA(NonLinear):
    """Replace the gradient by its exponential moving average.

    ``mₜ = decay · mₜ₋₁ + (1 - decay) · gₜ``, ``g̃ₜ = mₜ / (1 - decayᵗ)``

    The divisor takes out the bias towards the start at zero, so the first gradient passes unchanged. One object
    averages one stream of gradients: use another for another place. One NaN stays in the average for good: put
    ``SkipNonfinite`` before it.

    Args:
        decay: From 0, no memory, up to and without 1.

    Raises:
        InputError: The decay is out of range; or the gradient has another shape than those before it.

    Examples:
        >>> average = EMA(0.5)
        >>> [average.gradient(torch.tensor([size])).item() for size in (1.0, 4.0)]
        [1.0, 3.0]

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015 (the correction of the bias).
    """

    differentiable = False

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = checked_number("decay", decay, at_least=0.0)
        if self.decay >= 1:
            raise InputError(f"decay is {decay}", remedy="give a number from 0 up to, and without, 1")
        self._averages: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the averages."""
        made = {}
        for key, grad in grads.items():
            average = self._averages.get(key)
            if average is None:
                average = torch.zeros_like(grad, dtype=wide(grad))
            if average.shape != grad.shape:
                raise InputError(
                    f"{self!r} has averaged gradients of shape {tuple(average.shape)} and was given "
                    f"{tuple(grad.shape)}",
                    remedy="use one EMA for each place, and batches of one size on a tensor",
                )
            self._counts[key] = self._counts.get(key, 0) + 1
            self._averages[key] = self.decay * average.to(grad.device) + (1 - self.decay) * grad
            made[key] = (self._averages[key] / (1 - self.decay ** self._counts[key])).to(grad.dtype)
        return made

    def _state(self) -> dict[str, Tensor]:
        counts = torch.tensor(list(self._counts.items()), dtype=torch.int64).reshape(-1, 2)  # pairs of key and count
        return {"counts": counts, **{f"average.{key}": average for key, average in self._averages.items()}}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        self._averages = _by_key(state, "average.")
        self._counts = dict(state["counts"].tolist())

    def __repr__(self) -> str:
        return f"EMA(decay={self.decay})"


def _by_key(state: Mapping[str, Tensor], prefix: str) -> dict[int, Tensor]:
    return {
        int(name.removeprefix(prefix)): value.detach().clone()
        for name, value in state.items()
        if name.startswith(prefix)
    }
