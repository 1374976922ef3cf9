"""Adversarial discriminative adaptation: an encoder of its own for the target."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from gradtape.adaptation.methods._base import STEPS, Inputs, Method, Seen, called
from gradtape.adaptation.methods._critic import Critic, domain_accuracy, domain_loss, feature_size
from gradtape.games import LOSSES


class ADDA(Method):
    """Train on the source, then a copy of the features on the target, against a critic; the source's stay as they are.

    ``term = D - G``: the critic descends on its loss D; across the gate, the target's features descend on
    ``G = mean softplus(-critic(z)) / 2``, the loss of inverted labels, which does not vanish when the critic is sure.

    The first ``pretrain`` calls are training on the source alone, and λ's ramp begins after them. Then features and
    head get no gradient any more, and ``predict`` uses ``target_features``. One optimizer of all parameters will do.

    Args:
        features: ``features(x) -> (n, d)``, the source's.
        head: ``(n, d) -> (n, k)``.
        critic: ``(n, d) -> (n, 1)`` or (n,) logits, above 0 for the source; None makes one of two hidden layers.
        pretrain: Calls before the adaptation begins; None is half of ``steps``.
        steps: Of pretraining and adaptation together.
        settings: Those of ``Method``.

    Examples:
        >>> import torch
        >>> method = ADDA(nn.Linear(2, 8), nn.Linear(8, 3), pretrain=1, strength=1.0)
        >>> batch = torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2)
        >>> for call in range(2):
        ...     _ = method(*batch)
        ...     print(method.adapts, sorted(method.figures))
        False ['task']
        True ['domain accuracy', 'task', 'term']

    Source: Tzeng et al., Adversarial Discriminative Domain Adaptation, CVPR 2017.
    """

    name = "adda"
    title = "an encoder for the target (ADDA)"
    adversarial = True
    calls: Tensor

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        critic: nn.Module | None = None,
        pretrain: int | None = None,
        steps: int = STEPS,
        **settings: Any,
    ) -> None:
        self.pretrain = steps // 2 if pretrain is None else pretrain
        super().__init__(features, head, steps=max(1, steps - self.pretrain), **settings)
        self.critic = Critic(feature_size(head)) if critic is None else critic
        self.target_features = copy.deepcopy(features)
        self.register_buffer("calls", torch.tensor(0))

    @property
    def adapts(self) -> bool:
        """Whether the pretraining is over, and the target has features of its own."""
        return int(self.calls) > self.pretrain

    def see(self, xs: Inputs, ys: Tensor, xt: Inputs | None, domains: Tensor | None) -> Seen:
        """Run each domain through its own features, the source's and the head as they are now fixed."""
        starts = int(self.calls) == self.pretrain and self.training and torch.is_grad_enabled()
        if starts:
            self.target_features.load_state_dict(self.features.state_dict())
        self._apart = starts or self.adapts
        seen = super().see(xs, ys, xt, domains)
        if not self._apart:
            return seen
        return seen._replace(source_logits=seen.source_logits.detach(), target_logits=_frozen(self.head, seen.target))

    def encoded(self, xs: Inputs, xt: Inputs | None) -> Tensor:
        """Return the features of both domains, each from its own once the pretraining is over."""
        if not self._apart or xt is None:
            return super().encoded(xs, xt)
        with torch.no_grad():
            source = called(self.features, xs)
        return torch.cat([source, called(self.target_features, xt)])

    def features_of(self, x: Inputs) -> Tensor:
        """Return the features of a batch of the target."""
        return cast(Tensor, called(self.target_features if self.adapts else self.features, x))

    def term(self, seen: Seen) -> Tensor | None:
        """Return the critic's loss less what the target's features lose; nothing in the pretraining."""
        if not self._apart:
            return None
        logits = self.critic(torch.cat([seen.source, seen.target.detach()])).reshape(-1)
        real, fake = logits[: len(seen.source)], logits[len(seen.source) :]
        self.figures["domain accuracy"] = domain_accuracy(logits.detach(), len(real))
        return domain_loss(real, fake) - self.fooling(self.gate(seen.target))

    def fooling(self, target: Tensor) -> Tensor:
        """Return what features of the target lose that the critic, left as it is, does not take for the source's."""
        fake = _frozen(self.critic, target).reshape(-1)
        return LOSSES["nonsaturating"].generator(fake, fake).mean() / 2

    def advance(self) -> None:
        """Move on by one step; λ's schedule only once the pretraining is over."""
        if self._apart:
            super().advance()
        self.calls += 1


def _frozen(module: nn.Module, x: Tensor) -> Tensor:
    """Call a module that gets no gradient itself."""
    fixed = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return cast(Tensor, torch.func.functional_call(module, fixed, (x,)))
