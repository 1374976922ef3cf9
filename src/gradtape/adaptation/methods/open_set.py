"""Open-set adaptation: the target has classes that the source lacks."""

from __future__ import annotations

import torch
from torch import Tensor

from gradtape.adaptation.methods._base import Method, Seen
from gradtape.adaptation.methods.mdd import log_not
from gradtape.errors import InputError


class OSBP(Method):
    """The head gives the target a chance of 1/2 to be unknown, and features make that 0 or 1.

    With p the softmax of the head's last output behind the gate, the term is the mean over the target of
    ``-(log p + log(1 - p)) / 2``, least where p is 1/2.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k + 1)``; the last output is "unknown", which no label names.

    Examples:
        >>> method = OSBP(torch.nn.Linear(2, 8), torch.nn.Linear(8, 4), strength=1.0)  # three classes
        >>> _ = method(torch.ones(6, 2), torch.arange(6) % 3, torch.zeros(4, 2))
        >>> bool(method.figures["term"] >= 0.6931)
        True

    Source: Saito et al., Open Set Domain Adaptation by Backpropagation, ECCV 2018.
    """

    name = "open-set"
    title = "unknown classes in the target (OSBP)"
    adversarial = True
    tasks = ("classification",)
    extra_outputs = 1

    def term(self, seen: Seen) -> Tensor:
        """Return the cross-entropy of the unknown's probability with 1/2."""
        unknown = seen.target_logits.shape[1] - 1
        if int(seen.labels.max()) >= unknown:
            what = (
                f"labels go up to {int(seen.labels.max())} and the head has {unknown + 1} outputs, the last for unknown"
            )
            raise InputError(what, remedy="give the head one output more than there are classes")
        logits = self.head(self.gate(seen.target))
        known = log_not(logits, torch.full_like(logits[:, 0], unknown, dtype=torch.long))
        return -(torch.log_softmax(logits, dim=1)[:, -1] + known).mean() / 2
