"""Is a reversal doing anything? The gradients that autograd reports against slopes measured on the loss itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

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
_STEPS = 200  # of the critic's training, at most, at each of these rates until one will do
_RATES = (0.01, 0.1, 1.0, 0.001)
_NUDGE = 1e-6  # of a parameter's root mean square, each way, in double precision
_FLAT = 3e-8  # a slope below this share of the loss is none
_BEATS = 0.9  # a critic's loss below this share of the best constant guess's beats chance


class ReversalCheck(NamedTuple):
    """What ``Reverse.check`` found.

    Attributes:
        problems: What is wrong, in words, each with what to do; empty when the reversal does what it should.
        reversed: Parameters that autograd moves against the slope of the critic's loss: the reversed player.
        plain: Parameters that it moves along the slope: the critic.
        cut: Parameters that the critic's loss depends on and that get no gradient from it.
        strength: The strength as it is now.
        measured: Minus the median ratio of gradient and slope over the reversed parameters; it should be the strength
            (1 where the strength is 0: then the check is made at 1). NaN where nothing is reversed.
        critic_loss: The critic's loss after training it alone on this batch at strength 0, until it beats a constant
            guess by a tenth, for at most 200 steps at each of four learning rates; NaN with a loss of your own, or
            without a critic.
        chance_loss: The loss of the best constant guess; NaN likewise.
    """

    problems: tuple[str, ...]
    reversed: tuple[str, ...]
    plain: tuple[str, ...]
    cut: tuple[str, ...]
    strength: float
    measured: float
    critic_loss: float
    chance_loss: float

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        if self.problems:
            return "\n".join(["the reversal does not work:", *(f"- {problem}" for problem in self.problems)])
        critic = ""
        if not math.isnan(self.critic_loss):
            critic = f"; trained alone, the critic's loss falls to {self.critic_loss:.3g}, that of a constant guess is "
            critic += f"{self.chance_loss:.3g}"
        share = self.measured / (self.strength or 1.0)
        aside = "" if 0.9 < share < 1.1 else f" (the strength is {self.strength:g}: something else scales as well)"
        return (
            f"the reversal works: {len(self.reversed)} parameters are reversed at {self.measured:.3g} times their slope"
            f"{aside}, {len(self.plain)} are not{critic}"
        )


def check_reversal(reversal: Reverse, model: nn.Module, batch: tuple[Any, Tensor], loss: Loss | None) -> ReversalCheck:
    """Do what ``Reverse.check`` says."""
    with torch.inference_mode(False), torch.enable_grad(), _kept(model):
        return _check(reversal, model, batch, loss)


def _check(reversal: Reverse, model: nn.Module, batch: tuple[Any, Tensor], loss: Loss | None) -> ReversalCheck:
    inputs, target = _read(batch, own_loss=loss is not None)
    now = float(reversal.strength)
    setting = reversal._setting
    sign = -1.0 if now < 0 else 1.0
    with setting.held_at(sign):  # a strength of its own could be too small to see
        judged = _Judged(model, inputs, target, loss or _domain_loss)
        calls = judged.calls_of(reversal)
        slopes = judged.slopes()
    with setting.held_at(2 * sign):
        doubled = judged.gradients()
    matters = any(not math.isclose(slopes[name][0], along, rel_tol=1e-6) for name, along in doubled.items())
    reversed_ = tuple(name for name, (grad, slope) in slopes.items() if grad and slope and grad * slope < 0)
    plain = tuple(name for name, (grad, slope) in slopes.items() if grad and slope and grad * slope > 0)
    cut = tuple(name for name, (grad, slope) in slopes.items() if slope and not grad)
    ratios = sorted(-slopes[name][0] / slopes[name][1] for name in reversed_)
    growth = sorted(doubled[name] / slopes[name][0] for name in reversed_)
    critic_loss = chance = math.nan
    problems = []
    if not calls:
        problems.append(_never_called(reversal, model))
    elif not (reversed_ or plain or cut):
        problems.append(_constant(judged))
    elif not matters and cut:
        problems.append(_cut(cut))
    elif not matters:
        problems.append(
            f"the model calls {reversal!r}, and no gradient of the loss that was judged depends on its strength; "
            f"look for detach() before it, and see to it that its critic is {judged.where}"
        )
    elif not reversed_:
        problems.append(
            f"{reversal!r} was called {calls} time{'s' * (calls > 1)} and turns the sign of no gradient of "
            f"{judged.where}; "
            + ("give a strength above 0" if now < 0 else "apply it once on the way from the features to the critic")
        )
    elif now < 0:
        problems.append(f"the strength is {now:g}, below 0; give one above 0")
    elif cut:
        problems.append(_cut(cut))
    elif abs(growth[len(growth) // 2] - 2) > 0.1:
        problems.append(
            f"twice the strength makes the reversed gradients {growth[len(growth) // 2]:.3g} times as long; the "
            "reversal is applied more than once on the way to the critic, or part of the features goes round it"
        )
    elif not plain:
        problems.append("no parameter learns to tell the domains apart; put a critic with weights behind the reversal")
    if now == 0 and reversal.schedule is None:
        problems.append("the strength is 0, so no gradient of the critic passes; give one above 0")
    if plain and loss is None:
        chance = judged.chance()
        with setting.held_at(0.0):
            critic_loss, trained = judged.train(plain, enough=_BEATS * chance)
        if _squashed(trained):
            problems.append(
                "the critic's outputs look like probabilities, and the loss takes logits; leave out its last sigmoid "
                "or softmax, or give check a loss(output, target)"
            )
        elif not critic_loss < _BEATS * chance:
            problems.append(
                f"trained alone for {_STEPS} steps at strength 0, the critic's loss is {critic_loss:.3g} and that of a "
                f"constant guess {chance:.3g}; look at its output layer, or give it more units: a critic that cannot "
                "tell the domains apart, or domains that do not differ, leave the reversal nothing to do"
            )
    measured = ratios[len(ratios) // 2] * (abs(now) or 1.0) if ratios else math.nan
    return ReversalCheck(tuple(problems), reversed_, plain, cut, now, measured, critic_loss, chance)


def _cut(names: tuple[str, ...]) -> str:
    return (
        f"no gradient reaches {_listed(names)}, though the critic's loss depends on it; look for detach(), .data, "
        "no_grad() or .item() between the features and the critic"
    )


class _Judged:
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
        if self.loss is _domain_loss:
            self.where += f", of which the last tensor is taken for its logits, of shape {tuple(_logits(output).shape)}"
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
            for _ in range(_STEPS):
                optimizer.zero_grad()
                output = self.output({**self.parameters, **leaves})
                value = self.loss(output, self.target)
                if value.item() < lowest:
                    lowest, logits = value.item(), _logits(output).detach()
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
def _kept(model: nn.Module) -> Iterator[None]:
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


def _domain_loss(output: Any, domain: Tensor) -> Tensor:
    """Return the cross-entropy of the critic's logits, the last tensor of the output."""
    logits, largest = _logits(output), int(domain.max())
    if logits.shape in ((len(domain),), (len(domain), 1)) and largest == 1:
        return binary_cross_entropy_with_logits(logits.reshape(-1), domain.to(logits.dtype))
    if logits.dim() == 2 and len(logits) == len(domain) and logits.shape[1] > max(largest, 1):
        return cross_entropy(logits, domain.long())
    raise InputError(
        f"the critic's output has shape {tuple(logits.shape)} for {len(domain)} samples of domains 0 to {largest}",
        remedy="return logits of shape (n,), (n, 1) or (n, domains) last, or give check a loss(output, target)",
    )


def _squashed(logits: Tensor) -> bool:
    """Whether these are probabilities, after training, rather than logits."""
    rows = logits.reshape(len(logits), -1)
    if rows.shape[1] > 1:
        return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-5).all())
    return bool(((rows >= 0) & (rows <= 1)).all()) and bool(rows.std() > 0)


def _logits(output: Any) -> Tensor:
    values = list(output.values()) if isinstance(output, Mapping) else output
    last = values if isinstance(values, Tensor) else values[-1]
    if not isinstance(last, Tensor):
        raise InputError(
            f"the model returns {type(last).__name__} last, not the critic's logits",
            remedy="return them last, or give check a loss(output, target)",
        )
    return last


def _read(batch: tuple[Any, Tensor], *, own_loss: bool) -> tuple[tuple[Any, ...], Tensor]:
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor)):
        raise InputError("the batch is no pair", remedy="give (inputs, domain): what the model takes, whose it is")
    inputs, target = batch
    if not own_loss:
        target = target.reshape(-1) if target.shape[1:] == (1,) else target
        if target.dim() != 1 or bool((target != target.long()).any()) or int(target.min()) < 0:
            raise InputError(
                f"the domains have shape {tuple(target.shape)} and go from {target.min().item()} to "
                f"{target.max().item()}",
                remedy="give integers from 0 up, of shape (n,), or check a loss(output, target) of your own",
            )
        if len(target.unique()) < 2:
            raise InputError("the batch holds one domain only", remedy="give samples of both, with their labels")
    return (inputs if isinstance(inputs, tuple) else (inputs,)), target


def _never_called(reversal: Reverse, model: nn.Module) -> str:
    own = [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if name and hasattr(type(module), "backward")
    ]
    if own:
        return (
            f"the model never calls {reversal!r}, and {_listed(own)} defines backward, which autograd never calls on a "
            f"Module, so it reverses nothing; put {reversal!r} in its place"
        )
    return f"the model never calls {reversal!r}; apply it to the features on their way to the critic"


def _constant(judged: _Judged) -> str:
    with torch.no_grad():
        output = judged.output(judged.parameters)
    one = ""
    if judged.loss is _domain_loss:
        logits = _logits(output)
        if logits.dim() == 2 and logits.shape[1] == 1 and bool((logits == logits[0]).all()):
            one = f": it is always {logits[0].item():g}, as that of a softmax over one unit is; return the logit itself"
    return f"the critic's output does not depend on its input or its weights, so no gradient comes back{one}"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
