"""Does a method do anything? Its gradients against slopes measured on its term."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Inputs, Method, Seen, called, rows
from gradtape.adaptation.methods.adda import ADDA
from gradtape.adaptation.methods.combined import Combined
from gradtape.adaptation.methods.dann import DANN
from gradtape.adaptation.methods.generalisation import Generalisation
from gradtape.adaptation.methods.multi_source import MultiSource, present
from gradtape.adaptation.methods.source import SourceOnly
from gradtape.transforms import Reverse
from gradtape.transforms._judged import Judged


class MethodCheck(NamedTuple):
    """What ``Method.check`` found.

    Attributes:
        problems: What is wrong, in words, each with what to do; empty when the method does what it should.
        adapted: Parameters of the features that the term moves.
    """

    problems: tuple[str, ...]
    adapted: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.passed


def check_method(method: Method, xs: Inputs, ys: Tensor, xt: Inputs | None, domains: Tensor | None) -> MethodCheck:
    """Do what ``Method.check`` says."""
    if isinstance(method, SourceOnly):
        return MethodCheck((), ())
    if isinstance(method, Combined):
        found = [(part.name, check_method(part, xs, ys, xt, domains)) for part in method.parts]
        problems = tuple(f"{name}: {problem}" for name, each in found for problem in each.problems)
        return MethodCheck(problems, tuple(sorted({name for _, each in found for name in each.adapted})))
    method = copy.deepcopy(method)
    with torch.inference_mode(False):
        with torch.no_grad():
            seen = method.see(xs, ys, xt, domains)
            method.term(seen)  # refuses what it cannot use
        with torch.enable_grad():
            if isinstance(method.gate, Reverse) and not isinstance(method, ADDA):
                return _reversals(method, method.gate, seen)
            return _slope(method, seen)


class _Wrapped(nn.Module):
    """The term as the output of a module, or the logits of one of its critics."""

    def __init__(self, method: Method, critic: nn.Module | None = None) -> None:
        super().__init__()
        self.method = method
        self.logits: list[Tensor] = []
        if critic is not None:
            critic.register_forward_hook(lambda module, inputs, output: self.logits.append(output))

    def forward(
        self, xs: Inputs, xt: Inputs | None, labels: Tensor, domains: Tensor, logits: tuple[Tensor, Tensor] | None
    ) -> Tensor | None:
        self.logits.clear()
        if isinstance(self.method, ADDA) and xt is not None:
            return self.method.fooling(self.method.gate(called(self.method.target_features, xt)))
        z, n = self.method.encoded(xs, xt), rows(xs)
        if logits is None:
            made = self.method.head(z)
            logits = made[:n], made[n:]
        term = self.method.term(Seen(z[:n], logits[0], labels, z[n:], logits[1], domains, xs, xt, z))
        return self.logits[-1] if self.logits else term


def _reversals(method: Method, gate: Reverse, seen: Seen) -> MethodCheck:
    """Check the reversal before each critic, with the predictions held, which no critic adapts through."""
    ours, theirs = (torch.full((len(z),), side, device=z.device) for z, side in ((seen.source, 1), (seen.target, 0)))
    critics: list[tuple[nn.Module | None, Tensor]] = [(None, ours)]
    if isinstance(method, DANN):
        critics = [(method.critic, torch.cat([ours, theirs]))]
    elif isinstance(method, Generalisation):
        critics = [(method.critic, seen.domains)]
    elif isinstance(method, MultiSource):
        every = present(seen.domains, len(method.critics))
        critics = [(method.critics[each], torch.cat([ours[seen.domains == each], theirs])) for each in every]
    inputs = (*_inputs(seen), (seen.source_logits, seen.target_logits))
    problems: list[str] = []
    adapted: list[str] = []
    for critic, target in critics:
        found = gate.check(_Wrapped(method, critic), (inputs, target), _itself if critic is None else None)
        problems.extend(found.problems)
        adapted.extend(_named(found.reversed, "method.features."))
    return MethodCheck(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(adapted)))


def _slope(method: Method, seen: Seen) -> MethodCheck:
    """Move the features along the term's gradient: the term must change, and more so with a larger λ."""
    setting, own = method.gate._setting, "target_features" if isinstance(method, ADDA) else "features"
    sign = -1 if isinstance(method.gate, Reverse) else 1
    with setting.held_at(1.0):
        judged = Judged(_Wrapped(method), (*_inputs(seen), None), seen.labels, _itself)
        slopes = judged.slopes()
    with setting.held_at(2.0):
        doubled = judged.gradients()
    adapted = [name for name, (grad, _) in slopes.items() if grad and name.startswith(f"method.{own}.")]
    problems = []
    if not adapted:
        what = (
            f"no gradient of {method.name}'s term reaches the features; look for detach(), outputs that are constant, "
        )
        problems.append(what + "or a batch that leaves it nothing to do")
    elif not sum(sign * grad * slope for grad, slope in (slopes[name] for name in adapted)) > 0:
        problems.append(
            f"{method.name}'s term does not fall along its gradient; look for a detach() that it does not need, or NaN"
        )
    elif not all(abs(doubled[name] / slopes[name][0] - 2) < 0.1 for name in adapted):
        problems.append(
            f"twice the strength does not double {method.name}'s gradients; let all go through the gate once"
        )
    if method.strength == 0 and method.gate.schedule is None:
        problems.append("the strength is 0, so nothing is adapted; give one above 0")
    return MethodCheck(tuple(problems), tuple(_named(adapted, "method.")))


def _inputs(seen: Seen) -> tuple[Any, ...]:
    return seen.source_inputs, seen.target_inputs, seen.labels, seen.domains


def _itself(value: Any, target: Tensor) -> Any:
    return value


def _named(names: Any, prefix: str) -> list[str]:
    kept = "method."
    return [name.removeprefix(kept) for name in names if name.startswith(prefix)]
