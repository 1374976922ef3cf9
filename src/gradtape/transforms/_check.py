"""Is a reversal doing anything? The gradients that autograd reports against slopes measured on the loss itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gradtape.errors import InputError, listed
from gradtape.transforms._judged import STEPS, Judged, Loss, domain_loss, kept, logits_of, squashed

if TYPE_CHECKING:
    from gradtape.transforms._linear import Reverse

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
    with torch.inference_mode(False), torch.enable_grad(), kept(model):
        return _check(reversal, model, batch, loss)


def _check(reversal: Reverse, model: nn.Module, batch: tuple[Any, Tensor], loss: Loss | None) -> ReversalCheck:
    inputs, target = _read(batch, own_loss=loss is not None)
    now = float(reversal.strength)
    setting = reversal._setting
    sign = -1.0 if now < 0 else 1.0
    with setting.held_at(sign):  # a strength of its own could be too small to see
        judged = Judged(model, inputs, target, loss or domain_loss)
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
        if squashed(trained):
            problems.append(
                "the critic's outputs look like probabilities, and the loss takes logits; leave out its last sigmoid "
                "or softmax, or give check a loss(output, target)"
            )
        elif not critic_loss < _BEATS * chance:
            problems.append(
                f"trained alone for {STEPS} steps at strength 0, the critic's loss is {critic_loss:.3g} and that of a "
                f"constant guess {chance:.3g}; look at its output layer, or give it more units: a critic that cannot "
                "tell the domains apart, or domains that do not differ, leave the reversal nothing to do"
            )
    measured = ratios[len(ratios) // 2] * (abs(now) or 1.0) if ratios else math.nan
    return ReversalCheck(tuple(problems), reversed_, plain, cut, now, measured, critic_loss, chance)


def _cut(names: tuple[str, ...]) -> str:
    return (
        f"no gradient reaches {listed(names)}, though the critic's loss depends on it; look for detach(), .data, "
        "no_grad() or .item() between the features and the critic"
    )


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
    own = [f"{path} ({type(model.get_submodule(path)).__name__})" for path in inert_layers(model)]
    if own:
        return (
            f"the model never calls {reversal!r}, and {listed(own)} defines backward, which autograd never calls on a "
            f"Module, so it reverses nothing; put {reversal!r} in its place"
        )
    return f"the model never calls {reversal!r}; apply it to the features on their way to the critic"


def inert_layers(model: nn.Module) -> list[str]:
    """Return the paths of submodules that define ``backward`` as if autograd would call it, which it never does.

    One with weights of its own is left out, since there the method has some other meaning.
    """
    return [
        path
        for path, module in model.named_modules()
        if path and hasattr(type(module), "backward") and not any(p.requires_grad for p in module.parameters())
    ]


def _constant(judged: Judged) -> str:
    with torch.no_grad():
        output = judged.output(judged.parameters)
    one = ""
    if judged.loss is domain_loss:
        logits = logits_of(output)
        if logits.dim() == 2 and logits.shape[1] == 1 and bool((logits == logits[0]).all()):
            one = f": it is always {logits[0].item():g}, as that of a softmax over one unit is; return the logit itself"
    return f"the critic's output does not depend on its input or its weights, so no gradient comes back{one}"
