"""How far a step moves the weights, from the optimizer's state and without a copy of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from gradtape.tracking.measures._base import Measure, Reading, norms, onto

_LEAST_DECAY = 0.5  # of the weights in one step: above it, what they were is not worked out from what is left
_CHUNK = 1 << 17  # elements for which temporaries stay in a core's cache
_BATCH = 1 << 19  # elements of one call on a CPU


class Batch(NamedTuple):
    """Parts of parameters of one group that took a step, in equal shapes.

    Attributes:
        weights: After the step.
        grads: As the optimizer got them.
        state: The optimizer's state after the step, name -> tensors; without ``step``.
        steps: Number of steps that each has taken, as numbers, or as tensors on an accelerator.
        group: The parameter group.
    """

    weights: list[Tensor]
    grads: list[Tensor]
    state: dict[str, list[Tensor]]
    steps: Sequence[Any]
    group: dict[str, Any]


Rule = Callable[[Batch], tuple[list[Tensor], Any]]
"""Directions and factors: the update of each is the learning rate times its factor times its direction."""


def _sgd(batch: Batch) -> tuple[list[Tensor], Any]:
    """u = lr d; d the gradient, the momentum, or for Nesterov g + mu b; w before = w after + lr d."""
    momentum, decay = batch.group["momentum"], batch.group["weight_decay"]
    buffers = batch.state["momentum_buffer"] if momentum else []
    if momentum and not batch.group["nesterov"]:
        return buffers, 1.0
    sign = -1.0 if batch.group["maximize"] else 1.0
    if not momentum and not decay:
        return batch.grads, 1.0
    lr = _rate(batch.group)
    grads = batch.grads if sign == 1 else torch._foreach_neg(batch.grads)
    moved = torch._foreach_add(grads, buffers, alpha=momentum) if momentum else grads
    if not decay:
        return list(moved), 1.0
    # d = moved + decay w_before and w_before = w_after + lr d
    found = torch._foreach_add(moved, batch.weights, alpha=decay)
    return list(found), 1 / (1 - lr * decay)


def _adam(batch: Batch) -> tuple[list[Tensor], Sequence[Any]]:
    """u = lr m / (sqrt(v) + eps), both corrected for their bias, and for AdamW also lr decay w."""
    group, (beta1, beta2) = batch.group, batch.group["betas"]
    bias, root = _each(batch.steps, lambda t: 1 - beta1**t), _each(batch.steps, lambda t: (1 - beta2**t) ** 0.5)
    found = torch._foreach_sqrt(batch.state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"])
    alike = isinstance(root[0], float) and batch.steps.count(batch.steps[0]) == len(root)
    same = root[0] if alike else None
    torch._foreach_add_(found, [group["eps"] * one for one in root] if same is None else group["eps"] * same)
    torch._foreach_reciprocal_(found)
    torch._foreach_mul_(found, batch.state["exp_avg"])
    factors = [a / b for a, b in zip(root, bias, strict=True)]
    decay, lr = group["weight_decay"], _rate(group)
    if not group.get("decoupled_weight_decay") or not decay:
        return list(found), factors
    # d = s + decay w_before, w_before = w_after + lr d: d = (s + decay w_after) / (1 - lr decay)
    if same is None:
        weights = torch._foreach_div(batch.weights, factors)
        torch._foreach_add_(found, weights, alpha=decay)
    else:
        torch._foreach_add_(found, batch.weights, alpha=decay / factors[0])
    return list(found), [factor / (1 - lr * decay) for factor in factors]


def _each(steps: Sequence[Any], of: Callable[[Any], Any]) -> list[Any]:
    """Return a function of each number of steps, of equal ones once."""
    if isinstance(steps[0], Tensor):
        return [of(step) for step in steps]
    known = {step: of(step) for step in set(steps)}
    return [known[step] for step in steps]


def _rmsprop(batch: Batch) -> tuple[list[Tensor], float]:
    """u = lr g / (sqrt(v - mean^2) + eps), or lr times the momentum of these."""
    group = batch.group
    if group["momentum"]:
        return batch.state["momentum_buffer"], 1.0
    found = batch.state["square_avg"]
    if group["centered"]:
        means = batch.state["grad_avg"]
        found = list(torch._foreach_addcmul(found, means, means, value=-1))
    roots = torch._foreach_sqrt(found)
    torch._foreach_add_(roots, group["eps"])
    return list(torch._foreach_div(batch.grads, roots)), 1.0


def _adagrad(batch: Batch) -> tuple[list[Tensor], Sequence[Any]]:
    """u = lr / (1 + (t - 1) lr_decay) g / (sqrt(sum of squares) + eps)."""
    roots = torch._foreach_sqrt(batch.state["sum"])
    torch._foreach_add_(roots, batch.group["eps"])
    factors = [1 / (1 + (step - 1) * batch.group["lr_decay"]) for step in batch.steps]
    return list(torch._foreach_div(batch.grads, roots)), factors


UPDATES: dict[type[Optimizer], Rule] = {SGD: _sgd, Adam: _adam, AdamW: _adam, RMSprop: _rmsprop, Adagrad: _adagrad}


@dataclass
class _Whole:
    """A parameter that took a step, with what its update follows from."""

    index: int
    weight: Tensor
    grad: Tensor
    state: dict[str, Tensor]
    step: Any

    def parts(self) -> list[_Whole]:
        """Return it in chunks on a CPU, where all of it lies alike in memory."""
        if self.weight.numel() <= _CHUNK or self.weight.device.type != "cpu":
            return [self]
        tensors = [self.weight, self.grad, *self.state.values()]
        if not all(tensor.is_contiguous() for tensor in tensors):
            return [self]
        cut = [tensor.view(-1).split(_CHUNK) for tensor in tensors]
        return [
            _Whole(self.index, weight, grad, dict(zip(self.state, state, strict=True)), self.step)
            for weight, grad, *state in zip(*cut, strict=True)
        ]


class UpdateNorm(Measure):
    """2-norm of what the step changed.

    For SGD, Adam, AdamW, RMSprop and Adagrad of ``torch.optim`` it follows from their state, within 1e-5. For others,
    for the last two with weight decay and no momentum, and for weights of less than 32 bits, which round what they are
    given, the weights are copied around the step.
    """

    name = "update_norm"
    combine = "norm"

    def before_step(self, reading: Reading) -> None:
        """Copy the weights of which the update does not follow from a state."""
        kind = type(reading.optimizer)
        self._copied = {
            index: reading.weights[index].clone()
            for index, (parameter, group) in enumerate(zip(reading.parameters, reading.groups, strict=True))
            if kind not in UPDATES or _unsolvable(kind, group) or _rounds(parameter) or _sparse(parameter)
        }

    def after_step(self, reading: Reading) -> Tensor:
        """Return the norms; 0 where there was no gradient, or the step was left out."""
        device = reading.weights[0].device
        wide = torch.float64 if device.type == "cpu" else torch.float32
        squares = torch.zeros(len(reading.weights), dtype=wide, device=device)
        if type(reading.optimizer) in UPDATES:
            for group in reading.optimizer.param_groups:
                _add_squares(squares, reading, group, UPDATES[type(reading.optimizer)], set(self._copied))
        found = squares.sqrt()
        if reading.skipped is not None:
            found = torch.where(reading.skipped.to(device) != 0, torch.zeros_like(found), found)
        if self._copied:
            rows = list(self._copied)
            now = [_widened(reading.weights[row]) for row in rows]
            moved = torch._foreach_sub(now, [_widened(before) for before in self._copied.values()])
            found[onto(device, rows)] = norms(list(moved)).to(found.dtype)
            self._copied = {}
        return found


def _add_squares(squares: Tensor, reading: Reading, group: dict[str, Any], rule: Rule, left_out: set[int]) -> None:
    state = reading.optimizer.state
    batches: dict[tuple[str, ...], list[_Whole]] = {}  # by what is held of a parameter
    sizes: dict[tuple[str, ...], int] = {}
    on_cpu = squares.device.type == "cpu"
    for index, (parameter, grad) in enumerate(zip(reading.parameters, reading.grads, strict=True)):
        if reading.groups[index] is not group or grad is None or index in left_out or not grad.numel():
            continue
        tensors: dict[str, Tensor] = {}
        step = None
        for name, value in state.get(parameter, {}).items():
            if name == "step":
                step = float(value) if isinstance(value, Tensor) and value.device.type == "cpu" else value
            elif isinstance(value, Tensor):
                tensors[name] = local(value)
        kind = tuple(tensors)
        for part in _Whole(index, reading.weights[index], grad, tensors, step).parts():
            batches.setdefault(kind, []).append(part)
            sizes[kind] = sizes.get(kind, 0) + part.weight.numel()
            if sizes[kind] >= _BATCH and on_cpu:
                _add_batch(squares, batches.pop(kind), group, rule)
                sizes[kind] = 0
    for batch in batches.values():
        _add_batch(squares, batch, group, rule)


def _add_batch(squares: Tensor, batch: list[_Whole], group: dict[str, Any], rule: Rule) -> None:
    state = {name: [part.state[name] for part in batch] for name in batch[0].state}
    taken = Batch([p.weight for p in batch], [p.grad for p in batch], state, [p.step for p in batch], group)
    rows = onto(squares.device, [part.index for part in batch])
    try:
        directions, factors = rule(taken)
    except KeyError:  # a state that the optimizer does not make, as after loading that of another
        squares[rows] = torch.nan
        return
    found = norms(directions).to(squares.dtype)
    if not isinstance(factors, list):
        found = found * factors
    elif isinstance(factors[0], float) and factors.count(factors[0]) == len(factors):
        found = found * factors[0]
    elif isinstance(factors[0], Tensor):
        found = found * torch.stack(list(factors)).to(found)
    else:
        found = found * onto(found.device, factors, found.dtype)
    squares.index_add_(0, rows, (found * _rate(group)).square())


def _rate(group: dict[str, Any]) -> Any:
    """Return the learning rate as a number, or on an accelerator as a tensor without dimensions."""
    lr = group["lr"]
    if not isinstance(lr, Tensor):
        return lr
    return float(lr) if lr.device.type == "cpu" else lr.detach().reshape(())


def local(tensor: Tensor) -> Tensor:
    """Return a tensor without a gradient, of this process alone where it is sharded, a complex one as pairs."""
    plain: Tensor = tensor.detach()
    if type(plain) is not Tensor and hasattr(plain, "to_local"):
        plain = plain.to_local()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def _widened(weight: Tensor) -> Tensor:
    return weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight


def _unsolvable(kind: type[Optimizer], group: dict[str, Any]) -> bool:
    """Whether weight decay makes the update depend on the weights before it in a way that cannot be solved for them."""
    decay = group["weight_decay"]
    if not isinstance(decay, Tensor) and not decay:
        return False
    if kind in (RMSprop, Adagrad):
        return not group.get("momentum")
    lr = _rate(group)  # what is left of the weights is 1 - lr decay, by which is divided
    return isinstance(lr, Tensor) or isinstance(decay, Tensor) or lr * decay > _LEAST_DECAY


def _rounds(parameter: Tensor) -> bool:
    return parameter.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128)


def _sparse(parameter: Tensor) -> bool:
    return parameter.grad is not None and parameter.grad.layout != torch.strided
