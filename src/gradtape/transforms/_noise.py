"""Gaussian noise on a gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradtape.seeding import generator
from gradtape.transforms._nonlinear import NonLinear
from gradtape.transforms._places import Gradients, Place
from gradtape.transforms._setting import Scheduled, Value, setting


class Noise(NonLinear, Scheduled):
    """Add Gaussian noise to the gradient.

    ``g̃ = g + N(0, std²)``

    Each draw has its own random stream, named by the seed and the number of draws so far: the same seed gives the same
    noise, torch's global generator is left alone, and a resumed training goes on with the draw that was next.

    Args:
        std: Standard deviation of each element, at least 0: a number, a 0-d tensor, or a schedule, such as
            ``schedules.power(0.1, 0.275)`` for noise that decays.
        seed: Seed of the draws; two objects with the same seed add the same noise, so give each its own.

    Raises:
        InputError: The standard deviation is negative or not finite.

    Examples:
        >>> noise = Noise(0.1, seed=0)
        >>> first, second = noise.gradient(torch.zeros(3)), noise.gradient(torch.zeros(3))
        >>> bool((first != second).all()), torch.equal(first, Noise(0.1, seed=0).gradient(torch.zeros(3)))
        (True, True)

    Source: Neelakantan et al., Adding Gradient Noise Improves Learning for Very Deep Networks, 2015.
    """

    def __init__(self, std: Value, *, seed: int = 0) -> None:
        super().__init__("std", std, at_least=0.0)
        self.seed = seed
        self.draws = 0

    std = setting("The standard deviation as it is now; setting it replaces a schedule.")

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the gradients with noise."""
        std = self._setting.read()
        made = {}
        streams: dict[torch.device, torch.Generator] = {}
        for key, grad in grads.items():
            if grad.device not in streams:
                streams[grad.device] = generator(self.seed, "gradient noise", self.draws, device=grad.device)
            random = streams[grad.device]
            noise = torch.randn(grad.shape, generator=random, dtype=grad.dtype, device=grad.device)
            made[key] = grad + std * noise
        self.draws += 1
        return made

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), "draws": torch.tensor(self.draws)}

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        super()._restore(state)
        self.draws = int(state["draws"])

    def __repr__(self) -> str:
        return f"Noise({self._shown()}, seed={self.seed})"


def noise(x: Tensor, std: float | Tensor, *, seed: int) -> Tensor:
    """Return ``x`` with noise on its gradient, the same for the same seed; the functional twin of ``Noise``.

    A function remembers nothing: give another seed at each call, such as the number of the step.
    """
    made: Tensor = Noise(std, seed=seed)(x)
    return made
