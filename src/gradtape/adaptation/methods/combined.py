"""Several methods at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.errors import InputError


class Combined(Method):
    """The terms of several methods on the same features and head, and the task's loss once; what ``+`` returns.

    ``DANN(f, h) + MCC(f, h)`` runs the networks once; each part keeps its own λ. A part with a task loss of its own,
    such as MCD, brings it, and its predictions.

    Args:
        parts: Methods with the same features, head and task; a combined one among them is taken apart.

    Attributes:
        figures: Those of the parts under the part's name, as in ``dann term``, and the sums ``task`` and ``term``.

    Raises:
        InputError: Parts of other networks or tasks, with a forward pass of their own, or two with a task loss of
            their own.

    Examples:
        >>> from gradtape.adaptation.methods import DANN, MCC
        >>> features, head = nn.Linear(2, 8), nn.Linear(8, 3)
        >>> both = DANN(features, head, strength=1.0) + MCC(features, head, strength=0.1)
        >>> _ = both(torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2))
        >>> both.name, sorted(both.figures)
        ('dann+mcc', ['dann domain accuracy', 'dann term', 'mcc term', 'task', 'term'])
    """

    def __init__(self, parts: Sequence[Method]) -> None:
        flat = [one for part in parts for one in (part.parts if isinstance(part, Combined) else [part])]
        first = flat[0]
        for part in flat:
            if part.features is not first.features or part.head is not first.head or part.task != first.task:
                what = f"{first.name} and {part.name} have not the same features, head and task"
                raise InputError(what, remedy="make all parts with the same two modules")
            if type(part).see is not Method.see:
                what = f"{part.name} runs the networks in its own way"
                raise InputError(what, remedy="use it alone, or combine others")
        owners = [part for part in flat if type(part).supervised is not Method.supervised]
        if len(owners) > 1:
            what = f"{owners[0].name} and {owners[1].name} each have a task loss of their own"
            raise InputError(what, remedy="combine only one of them")
        super().__init__(first.features, first.head, task=first.task, strength=0.0)
        self.owner_of_task = flat.index(owners[0]) if owners else 0
        self._parts = nn.ModuleList(flat)
        self.gate = first.gate
        self.name = "+".join(part.name for part in flat)  # type: ignore[misc]
        self.title = ", ".join(part.title for part in flat)  # type: ignore[misc]
        self.needs_target = any(part.needs_target for part in flat)  # type: ignore[misc]
        self.needs_domains = any(part.needs_domains for part in flat)  # type: ignore[misc]
        self.adversarial = any(part.adversarial for part in flat)  # type: ignore[misc]
        self.extra_outputs = max(part.extra_outputs for part in flat)  # type: ignore[misc]

    @property
    def parts(self) -> list[Method]:
        """The methods that it is made of."""
        return [part for part in self._parts if isinstance(part, Method)]

    def supervised(self, seen: Seen) -> Tensor:
        """Return the task's loss, once."""
        return self.parts[self.owner_of_task].supervised(seen)

    def term(self, seen: Seen) -> Tensor | None:
        """Return the sum of the parts' terms."""
        terms = []
        for part in self.parts:
            part.figures = {}
            term = part.term(seen)
            if term is not None:
                terms.append(term)
                part.figures["term"] = term.detach()
            self.figures.update({f"{part.name} {name}": value for name, value in part.figures.items()})
        return torch.stack(terms).sum() if terms else None

    def answer(self, z: Tensor) -> Tensor:
        """Return logits (n, k) as the part does that has the task's loss."""
        return self.parts[self.owner_of_task].answer(z)

    def advance(self) -> None:
        """Move all parts on by one step."""
        for part in self.parts:
            part.advance()
