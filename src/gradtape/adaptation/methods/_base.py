"""What every method of adaptation is: a loss of a source, a target, and the networks between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from gradtape.errors import InputError
from gradtape.transforms import Reverse, Scale, schedules
from gradtape.transforms._setting import Value

if TYPE_CHECKING:
    from gradtape.adaptation.methods._check import MethodCheck

Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
"""A batch as the features take it: one tensor, several by place, or several by name."""
Task = Literal["classification", "regression"]
STEPS = 1000
STRENGTH = 0.5  # λ at the end of the default ramp
UNKNOWN = -1  # a class that is not known


class Seen(NamedTuple):
    """What a method may make its term of: one batch as the networks see it.

    Attributes:
        source: Features of the source, shape (n, d).
        source_logits: What the head makes of them, (n, k).
        labels: Classes (n,), or numbers (n,) for regression.
        target: Features of the target, (m, d); empty where there is none.
        target_logits: What the head makes of them, (m, k).
        domains: Which source each row of the source is from, (n,), from 0 up; all 0 with one source.
        source_inputs: The source as it was given.
        target_inputs: The target as it was given.
        both: Features of source and target in one, (n + m, d).
    """

    source: Tensor
    source_logits: Tensor
    labels: Tensor
    target: Tensor
    target_logits: Tensor
    domains: Tensor
    source_inputs: Inputs
    target_inputs: Inputs | None
    both: Tensor


class Method(nn.Module):
    """Features and a head, and the loss that adapts them; one call is one step's loss.

    ``loss = task(head(features(xs)), ys) + term``, and the gradient of the term reaches the features times λ.

    λ has one meaning in all methods. A term is a mean: over the rows of a domain, then over the domains. Between the
    features and the term stands a gate of ``gradtape.transforms``: ``Reverse(λ)`` where a critic learns from the same
    term, ``Scale(λ)`` elsewhere. So the value of the loss has the term in full, and what the features feel is λ times
    its gradient, with the sign that the method needs.

    Args:
        features: ``features(x) -> (n, d)``; of several inputs, called with a tuple's or a mapping's members.
        head: ``(n, d) -> (n, k)`` logits; for regression (n, 1).
        strength: λ: a number, a tensor, or a schedule; None is ``slow_ramp(steps)``.
        steps: Length of the ramp, in calls.
        task: ``classification`` or ``regression``.

    Attributes:
        figures: What the last call found, name -> number as a tensor: the parts of the loss, and a critic's accuracy.

    Source: λ as in Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    adversarial: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    needs_target: ClassVar[bool] = True
    needs_domains: ClassVar[bool] = False
    extra_outputs: ClassVar[int] = 0  # of the head, beyond the known classes

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        strength: Value | None = None,
        steps: int = STEPS,
        task: Task = "classification",
    ) -> None:
        super().__init__()
        if task not in self.tasks:
            raise InputError(f"{self.name} is no method for {task}", remedy=f"use it for {self.tasks[0]}")
        self.features = features
        self.head = head
        self.task: Task = task
        value = slow_ramp(steps) if strength is None else strength
        self.gate: Reverse | Scale = Reverse(value) if self.adversarial else Scale(value)
        self.figures: dict[str, Tensor] = {}

    @property
    def strength(self) -> float:
        """λ as it is now."""
        return float(self.gate.strength if isinstance(self.gate, Reverse) else self.gate.factor)

    def forward(
        self, xs: Inputs, ys: Tensor, xt: Inputs | None = None, yt: Tensor | None = None, domains: Tensor | None = None
    ) -> Tensor:
        """Return the loss of one step; in training, λ's schedule moves on by one.

        Args:
            xs: A batch of the source, n rows.
            ys: Its classes (n,), integers from 0 up, or its numbers (n,) for regression.
            xt: A batch of the target, m rows; m may differ from n.
            yt: What is known of the target's labels, (m,): -1, or NaN for regression, where nothing is.
            domains: Which source each row of the source is from, integers (n,).

        Raises:
            InputError: No target where the method needs one, or numbers of rows that do not fit.
        """
        if not self.needs_target:
            xt = yt = None  # not looked at, not even by batch normalisation
        seen = self.see(xs, ys, xt, domains)
        task = self.supervised(seen)
        if yt is not None:
            task = task + self.of_known_target(seen, yt)
        self.figures = {"task": task.detach()}
        term = self.term(seen) if self.needs_target <= (xt is not None) else None
        if self.training and torch.is_grad_enabled():
            self.advance()
        if term is None:
            return task
        self.figures["term"] = term.detach()
        return task + term

    def see(self, xs: Inputs, ys: Tensor, xt: Inputs | None, domains: Tensor | None) -> Seen:
        """Run features and head on source and target, as one batch where both are tensors."""
        n = rows(xs)
        if len(ys) != n:
            raise InputError(f"{n} rows of the source and {len(ys)} labels", remedy="give one label per row")
        if xt is None and self.needs_target:
            raise InputError(f"{self.name} was given no target", remedy="give xt, a batch of the target's inputs")
        if domains is None and self.needs_domains:
            raise InputError(f"{self.name} was given no domains", remedy="give domains=, the source of each row")
        if xt is not None and not rows(xt):
            raise InputError("the batch of the target is empty", remedy="give one row at least")
        if domains is None:
            domains = torch.zeros(n, dtype=torch.long, device=ys.device)
        z = self.encoded(xs, xt)
        if z.dim() != 2:
            raise InputError(
                f"the features have shape {tuple(z.shape)}", remedy="let them end in (n, d), as by Flatten"
            )
        logits = self.head(z)
        return Seen(z[:n], logits[:n], ys, z[n:], logits[n:], domains, xs, xt, z)

    def encoded(self, xs: Inputs, xt: Inputs | None) -> Tensor:
        """Return the features of source and target, (n + m, d)."""
        return self.features_of(xs if xt is None else joined(xs, xt))

    def features_of(self, x: Inputs) -> Tensor:
        """Return the features of a batch."""
        return cast(Tensor, called(self.features, x))

    def term(self, seen: Seen) -> Tensor | None:
        """Return what adapts, a mean over domains; None is nothing to add."""
        raise NotImplementedError

    def supervised(self, seen: Seen) -> Tensor:
        """Return the loss of the source's labels."""
        return self.loss_of(seen.source_logits, seen.labels)

    def of_known_target(self, seen: Seen, labels: Tensor) -> Tensor:
        """Return the mean loss of the target's rows whose label is known; 0 where none is."""
        if len(labels) != len(seen.target_logits):
            what = f"{len(seen.target_logits)} rows of the target and {len(labels)} labels"
            raise InputError(what, remedy="give one per row, -1 or NaN where it is not known")
        known = labels.isfinite() & ((labels != UNKNOWN) | (self.task == "regression"))
        if not bool(known.any()):
            return seen.target_logits.sum() * 0
        return self.loss_of(seen.target_logits[known], labels[known])

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of outputs."""
        if self.task == "regression":
            return mse_loss(logits.squeeze(1), labels)
        return cross_entropy(logits, labels)

    def predict(self, x: Inputs) -> Tensor:
        """Return logits (n, k) for inputs of the target; without gradients, and in eval mode if the module is."""
        with torch.no_grad():
            return self.answer(self.features_of(x))

    def answer(self, z: Tensor) -> Tensor:
        """Return the logits of features, for predictions."""
        return cast(Tensor, self.head(z))

    def advance(self) -> None:
        """Move on by one step."""
        self.gate.step()

    def check(self, xs: Inputs, ys: Tensor, xt: Inputs | None = None, domains: Tensor | None = None) -> MethodCheck:
        """Find out whether the method does anything to its features; it is left as it is.

        Gradients are compared with slopes measured by moving parameters, as in ``Reverse.check``, which also trains a
        critic alone for a moment. A λ of 0 at the start of a schedule is no problem; the check is made at 1.

        Args:
            xs: A batch as for a call.
            ys: Likewise.
            xt: Likewise.
            domains: Likewise.

        Returns:
            What was found: ``check.passed``, ``check.problems``.
        """
        from gradtape.adaptation.methods._check import check_method

        return check_method(self, xs, ys, xt, domains)

    def __add__(self, other: Method) -> Method:
        from gradtape.adaptation.methods.combined import Combined

        return Combined([self, other])


def slow_ramp(steps: int, end: float = STRENGTH) -> schedules.Schedule:
    """Return the ramp of DANN at a tenth of its steepness: λ rises over the whole training and stays at its end.

    A steep ramp has the features play against a critic before they mean anything.

    Examples:
        >>> [round(slow_ramp(100)(step), 2) for step in (0, 50, 100, 500)]
        [0.0, 0.26, 0.5, 0.5]
    """
    return schedules.dann(steps, gamma=1.0, strength=end / (2 / (1 + math.exp(-1.0)) - 1))


def called(module: nn.Module, x: Inputs) -> Any:
    """Call a module with one input or several."""
    if isinstance(x, Tensor):
        return module(x)
    return module(**x) if isinstance(x, Mapping) else module(*x)


def rows(x: Inputs) -> int:
    """Return the number of rows of a batch."""
    if isinstance(x, Tensor):
        return len(x)
    return len(next(iter(x.values() if isinstance(x, Mapping) else x)))


def joined(a: Inputs, b: Inputs) -> Inputs:
    """Return both batches as one."""
    try:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.cat([a, b])
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return {name: torch.cat([a[name], b[name]]) for name in a}
        return tuple(torch.cat(pair) for pair in zip(cast(Any, a), cast(Any, b), strict=True))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        what = f"a batch of the source and one of the target do not fit together ({str(error).splitlines()[0]})"
        raise InputError(
            what, remedy="give both the same inputs, of the same shape but for the number of rows"
        ) from None
