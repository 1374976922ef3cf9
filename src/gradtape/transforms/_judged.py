"""A model whose gradients and slopes are measured, itself left as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils._pytree import tree_map

from gradtape.errors import InputError
from gradtape.transforms._base import Transform
from gradtape.transforms._setting import Scheduled

if TYPE_CHECKING:
    from gradtape.transforms._linear import Reverse

Loss = Callable[[Any, Tensor], Tensor]
STEPS = 200  # of the critic's training, at most, at each of these rates until one will do
_RATES = (0.01, 0.1, 1.0, 0.001)
_NUDGE = 1e-6  # of a parameter's root mean square, each way, in double precision
_FLAT = 3e-8  # a slope below this share of the loss is none


class Judged:
    """A model whose loss can be taken at any parameters, itself left as it is."""

    def __init__(self, model: nn.Module, inputs: tuple[Any, ...], target: Tensor, loss: Loss) -> None:
        self.model, self.target, self.loss = model, target, loss
        try:
            self._take(inputs, _doubled)
            self.value(self.parameters)
        except InputError:
            raise
        except (RuntimeError, TypeError, ValueError, AssertionError):  # a type of its own: less exact slopes
            self._take(inputs, lambda leaf: leaf)

    def _take(self, inputs: tuple[Any, ...], cast: Callable[[Any], Any]) -> None:
        named = {name: cast(parameter.detach()) for name, parameter in self.model.named_parameters()}
        learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        self.parameters: dict[str, Tensor] = {name: _awake(value) for name, value in named.items() if name in learning}
        buffers = {name: cast(buffer) for name, buffer in self.model.named_buffers()}
        self.held: dict[str, Tensor] = {
            **buffers,
            **{name: value for name, value in named.items() if name not in learning},
        }
        self.inputs = tree_map(lambda leaf: cast(leaf.detach()) if isinstance(leaf, Tensor) else leaf, inputs)
        self.devices = {value.device for value in named.values() if value.device.type == "cuda"}

    def output(self, parameters: Mapping[str, Tensor]) -> Any:
        """Return the model's output at these parameters; the same random numbers each time."""
        held = {name: value.clone() for name, value in self.held.items()}
        with torch.random.fork_rng(devices=list(self.devices)):
            torch.default_generator.manual_seed(0)
            for device in self.devices:
                torch.cuda.default_generators[device.index].manual_seed(0)
            return torch.func.functional_call(self.model, (dict(parameters), held), self.inputs)

    def value(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the loss at these parameters."""
        value = self.loss(self.output(parameters), self.target)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise InputError("the loss of the check is no scalar", remedy="return the critic's loss, a scalar")
        return value.reshape(())

    def calls_of(self, reversal: Reverse) -> int:
        """Return how often the model calls the reversal."""
        seen: list[None] = []
        handle = reversal.register_forward_hook(lambda *_: seen.append(None))
        try:
            output = self.output({name: p.clone().requires_grad_() for name, p in self.parameters.items()})
        finally:
            handle.remove()
        self.where = "the model's output"
        if self.loss is domain_loss:
            self.where += (
                f", of which the last tensor is taken for its logits, of shape {tuple(logits_of(output).shape)}"
            )
        return len(seen)

    def slopes(self) -> dict[str, tuple[float, float]]:
        """Return for each parameter its gradient along a direction, and the slope of the loss along it; 0 for none."""
        grads = self._grads()
        random = torch.Generator().manual_seed(0)
        self.directions = {}
        for name, p in self.parameters.items():
            grad = grads[name]
            some = torch.randn(p.shape, generator=random, dtype=torch.float64).to(p)
            self.directions[name] = some / some.norm() if grad is None or not bool(grad.any()) else grad / grad.norm()
        along = self.gradients()
        return {name: (along[name], self._none_if_flat(self._slope(name))) for name in self.parameters}

    def gradients(self) -> dict[str, float]:
        """Return each parameter's gradient along its direction; 0 for none."""
        grads = self._grads()
        products = {name: 0.0 if g is None else float((g * self.directions[name]).sum()) for name, g in grads.items()}
        return {name: self._none_if_flat(product) for name, product in products.items()}

    def _grads(self) -> dict[str, Tensor | None]:
        leaves = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        value = self.value(leaves)
        self.size = max(abs(value.item()), 1e-3)
        if not value.requires_grad:
            return dict.fromkeys(leaves)
        return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values()), allow_unused=True), strict=True))

    def _none_if_flat(self, slope: float) -> float:
        return slope if abs(slope) > _FLAT * self.size else 0.0

    @torch.no_grad()
    def _slope(self, name: str) -> float:
        p = self.parameters[name]
        size = _NUDGE if p.dtype == torch.float64 else 1e-2
        size *= max(float(p.square().mean().sqrt()), 0.1) * math.sqrt(p.numel())
        steps = (sign * size * self.directions[name] for sign in (1, -1))
        ahead, behind = (self.value({**self.parameters, name: p + step}) for step in steps)
        return float(ahead - behind) / (2 * size)

    def train(self, names: tuple[str, ...], enough: float) -> tuple[float, Tensor]:
        """Train these parameters alone until the loss is low enough; return it and the logits."""
        lowest, logits = math.inf, torch.empty(0)
        for rate in _RATES:
            leaves = {name: self.parameters[name].clone().requires_grad_() for name in names}
            optimizer = torch.optim.Adam(leaves.values(), lr=rate)
            for _ in range(STEPS):
                optimizer.zero_grad()
                output = self.output({**self.parameters, **leaves})
                value = self.loss(output, self.target)
                if value.item() < lowest:
                    lowest, logits = value.item(), logits_of(output).detach()
                if lowest < enough:
                    return lowest, logits
                torch.autograd.backward(value, inputs=list(leaves.values()))
                optimizer.step()
        return lowest, logits

    def chance(self) -> float:
        """Return the loss of the best constant guess: the entropy of the domains."""
        shares = torch.bincount(self.target.long().flatten()) / self.target.numel()
        return float(torch.special.entr(shares).sum())


def _awake(parameter: Tensor) -> Tensor:
    """Return small numbers in place of weights that are all zero, as last layers often begin: they pass no gradient."""
    if parameter.dim() < 2 or bool(parameter.any()):
        return parameter
    draws = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    return (0.1 * draws / math.sqrt(parameter[0].numel())).to(parameter)


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Leave what the model's transformations remember as it was."""
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    found = [getattr(hook, "transform", None) for hook in hooks] + list(model.modules())
    members = [member for transform in found if isinstance(transform, Transform) for member in transform._all()]
    before = [(m, {name: value.clone() for name, value in m._state().items()}) for m in members]
    idle = [(m._setting, m._setting.idle_calls) for m in members if isinstance(m, Scheduled)]
    try:
        yield
    finally:
        for member, state in before:
            if state:
                member._restore(state)
        for setting, calls in idle:
            setting.idle_calls = calls


def _doubled(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def domain_loss(output: Any, domain: Tensor) -> Tensor:
    """Return the cross-entropy of the critic's logits, the last tensor of the output."""
    logits, largest = logits_of(output), int(domain.max())
    if logits.shape in ((len(domain),), (len(domain), 1)) and largest == 1:
        return binary_cross_entropy_with_logits(logits.reshape(-1), domain.to(logits.dtype))
    if logits.dim() == 2 and len(logits) == len(domain) and logits.shape[1] > max(largest, 1):
        return cross_entropy(logits, domain.long())
    raise InputError(
        f"the critic's output has shape {tuple(logits.shape)} for {len(domain)} samples of domains 0 to {largest}",
        remedy="return logits of shape (n,), (n, 1) or (n, domains) last, or give check a loss(output, target)",
    )


def squashed(logits: Tensor) -> bool:
    """Whether these are probabilities, after training, rather than logits."""
    rows = logits.reshape(len(logits), -1)
    if rows.shape[1] > 1:
        return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-5).all())
    return bool(((rows >= 0) & (rows <= 1)).all()) and bool(rows.std() > 0)


def logits_of(output: Any) -> Tensor:
    values = list(output.values()) if isinstance(output, Mapping) else output
    last = values if isinstance(values, Tensor) else values[-1]
    if not isinstance(last, Tensor):
        raise InputError(
            f"the model returns {type(last).__name__} last, not the critic's logits",
            remedy="return them last, or give check a loss(output, target)",
        )
    return last
