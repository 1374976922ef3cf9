"""Inversion: an input that yields what is wanted at a node."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from gradtape import seeding
from gradtape.tape._descent import Cost, descend, judged, movable, refuse
from gradtape.tape._node import Call, Node, Ref


class Inverted(NamedTuple):
    """An input found for what was wanted at a node.

    Attributes:
        input: The best input met, sample by sample, of the recorded input's shape.
        missing: Per sample, the squared distance to the wanted value as a share of that at the start: 0 is reached.
            For a wanted objective, its value at the input found.
    """

    input: Tensor
    missing: Tensor

    def __repr__(self) -> str:
        low, high = self.missing.min().item(), self.missing.max().item()
        return f"Inverted({len(self.input)} samples, missing {low:.4g} to {high:.4g})"


@dataclass(frozen=True)
class Inversion:
    """How to look for an input; see ``Tape.invert``."""

    steps: int
    lr: float
    parameterisation: str
    jitter: int
    smoothness: float
    statistics: float
    bounds: tuple[float, float] | None
    seed: int

    def __post_init__(self) -> None:
        pair = self.bounds is None or (isinstance(self.bounds, tuple | list) and len(self.bounds) == 2)
        refuse(not pair, f"bounds is {self.bounds!r}", "give a lowest value and a higher one")
        low, high = self.bounds or (0.0, 1.0)
        for name, fine, allowed in [
            ("steps", isinstance(self.steps, int) and self.steps >= 1, "a whole number of at least 1"),
            ("lr", 0 < self.lr < math.inf, "a step size above 0"),
            ("parameterisation", self.parameterisation in ("pixels", "fourier"), "'pixels' or 'fourier'"),
            ("jitter", isinstance(self.jitter, int) and self.jitter >= 0, "a whole number of pixels, 0 for none"),
            ("smoothness", 0 <= self.smoothness < math.inf, "a weight of at least 0"),
            ("statistics", 0 <= self.statistics < math.inf, "a weight of at least 0"),
            ("bounds", low < high, "a lowest value and a higher one"),
        ]:
            refuse(not fine, f"{name} is {getattr(self, name)!r}", f"give {allowed}")

    def find(self, way: Sequence[Node], run: Callable[[Tensor], dict[int, Tensor]], wanted: Tensor | Cost) -> Inverted:
        """Find a value of the first node for what is wanted at the last; ``run`` returns the values that follow."""
        source, node, start = way[0], way[-1], movable(way[0])
        samples, bounds = start.shape[:1], self.bounds or (-math.inf, math.inf)
        fourier = self.parameterisation == "fourier"
        flat = start.dim() != 4 and bool(fourier or self.jitter or self.smoothness)
        what = f"node {source.name!r} has shape {source.shape}"
        refuse(flat, what, "fourier, jitter and smoothness are for images, (n, c, h, w)")
        image, spectrum = _fourier(start) if fourier else (torch.clone, torch.clone)
        norms = [_arguments(each.call) for each in way[1:] if each.call and each.call.function is batch_norm]
        alone = not (self.statistics or any(norm.get("training") for norm in norms))  # else samples belong together
        norms = [norm for norm in norms if norm["running_mean"] is not None]
        what = f"no batch norm with running statistics lies between {source.name!r} and {node.name!r}"
        refuse(self.statistics > 0 and not norms, what, "leave statistics at 0")
        objective = _distance(node, wanted, samples) if isinstance(wanted, Tensor) else wanted
        refuse(not callable(objective), f"wanted is a {type(wanted).__name__}", "give a tensor, or a function of one")
        random = seeding.generator(self.seed, "jitter")

        def cost(x: Tensor) -> Tensor:
            values = run(x)
            made = judged(objective(values[node.position]), samples)
            made = made + self.smoothness * _total_variation(x) if self.smoothness else made
            return made + self.statistics * _strangeness(norms, values) if self.statistics else made

        def shifted(value: Tensor) -> Tensor:
            x = image(value)
            if self.jitter and torch.is_grad_enabled():
                x = x.roll(torch.randint(-self.jitter, self.jitter + 1, (2,), generator=random).tolist(), (2, 3))
            return cost(x)

        value = spectrum(start.clamp(*bounds)).requires_grad_()
        best, lowest = start, start.new_full(samples, math.inf)
        moves = descend(value, shifted, torch.optim.Adam([value], lr=self.lr), self.steps, callable(wanted))
        with torch.no_grad():
            for step, (place, costs) in enumerate(moves):
                x = image(place).clamp(*bounds)
                costs = cost(x) if self.jitter else costs
                costs = (costs if alone else costs.mean()).expand(samples).to(lowest)
                what = f"what is wanted at node {node.name!r} is not finite at the start"
                refuse(step == 0 and not costs.isfinite().all(), what, "look at it, and at the values on the way there")
                better = costs.isfinite() & (costs < lowest)
                best[better], lowest[better] = x[better], costs[better]
                value.copy_(spectrum(image(value).clamp(*bounds)))
            return Inverted(best, judged(objective(run(best)[node.position]), samples))


def _distance(node: Node, wanted: Tensor, samples: torch.Size) -> Cost:
    """Return the squared distance to ``wanted`` as a share of that at the start, per sample where the node has them."""
    what = f"wanted has shape {tuple(wanted.shape)}, node {node.name!r} {node.shape}"
    refuse(wanted.shape != node.shape, what, "give a value of the node's shape")
    rows = samples if node.shape[:1] == samples else ()

    def squared(value: Tensor) -> Tensor:
        return (value - wanted.detach()).square().reshape(*rows, -1).sum(-1)

    whole = squared(node.value.detach())
    return lambda value: squared(value) / torch.where(whole > 0, whole, 1)


def _fourier(start: Tensor) -> tuple[Cost, Cost]:
    """Return the way from a spectrum to images like ``start``, and the way back.

    Frequencies f weigh 1/f, and together so much that a step of Adam's moves pixels by its lr, in root mean square.
    """
    (h, w), wide = start.shape[2:], torch.promote_types(start.dtype, torch.float32)
    down, across = (torch.fft.fftfreq(size, dtype=wide, device=start.device) for size in (h, w))
    scale = 1 / torch.hypot(down[:, None], across).clamp(min=1 / max(h, w))
    scale = (scale / (2 * scale.square().mean()).sqrt())[:, : w // 2 + 1]
    return (
        lambda spectrum: torch.fft.irfft2(spectrum * scale, s=(h, w), norm="ortho").to(start.dtype),
        lambda x: torch.fft.rfft2(x.to(wide), norm="ortho") / scale,
    )


def _total_variation(x: Tensor) -> Tensor:
    steps = [x.diff(dim=dim).abs().flatten(1).mean(1) for dim in (2, 3) if x.shape[dim] > 1]
    return sum(steps, start=x.new_zeros(len(x)))


def _arguments(call: Call) -> dict[str, Any]:
    """Return the arguments of a recorded batch norm by name."""
    args, kwargs = call.given(call.arguments)
    return dict(zip(inspect.signature(batch_norm).parameters, args, strict=False)) | kwargs


def _strangeness(norms: Sequence[dict[str, Any]], values: dict[int, Tensor]) -> Tensor:
    """Return how far what comes into batch norms is from their running statistics; see ``Tape.invert``."""
    gaps = []
    for norm in norms:
        held = (norm[name] for name in ("input", "running_mean", "running_var"))
        x, m, v = (values[each.position] if isinstance(each, Ref) else each for each in held)
        variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        scale = v + norm.get("eps", 1e-5)
        gaps.append(((mean - m).square() / scale + ((variance - v) / scale).square()).mean())
    return torch.stack(gaps).mean()
