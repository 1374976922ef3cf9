"""Reversals that change nothing."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import WINDOW, gradient_norm, lasting

NO_GRADIENT_SHARE = 1e-9  # of the player's gradient norm: less arrives at a reversal from a critic that is constant


def no_op_adversary(history: History) -> list[Finding]:
    """Find reversals that change nothing, and layers that only look like one.

    For the last ``WINDOW`` steps a reversal was not called, or was given something without a gradient, or no gradient
    came back to it from the critic, or its strength was 0 from the start to the end; or a module defines ``backward``.
    """
    found = [
        Finding(
            "no-op adversary",
            history.player,
            name,
            int(history.steps[0]),
            "it is a Module that defines backward, which autograd never calls: gradients pass it unchanged",
            "put gt.Reverse(strength) in its place",
        )
        for name in history.inert[: len(history.steps)]
    ]
    if len(history.steps) < WINDOW or not history.reversals:
        return found
    strength = gradient_norm(history)
    for name, passed in history.reversals.items():
        calls, attached, arriving = passed["calls"], passed["attached"], passed["arriving"]
        reasons = (
            (
                np.full(len(calls), bool((calls == 0).all())),  # in phases, a training may well do without it
                "it was not called in training",
                "apply it to the features on their way to the critic, and train on that; a model that was compiled and "
                "run before gt.track is not seen, so track it first",
            ),
            (
                (calls > 0) & (attached == 0),
                "what it was given has no gradient to reverse",
                "look for detach(), .data, no_grad() or .item() between the features and it",
            ),
            (
                (attached > 0) & (arriving <= NO_GRADIENT_SHARE * strength),
                f"no gradient comes back from the critic (norm {arriving[-1]:.1g})",
                "see that the critic's loss is part of what backward is called on, and look at its output: a softmax "
                "over one unit is constant; return logits",
            ),
            (
                np.full(len(calls), bool((passed["strength"] == 0).all())),
                "its strength was 0 at every step",
                "give a strength above 0, such as 1; a schedule moves with step(), or follow(optimizer)",
            ),
        )
        for holds, evidence, remedy in reasons:
            stretch = lasting(holds[:, None], np.ones((len(holds), 1), dtype=bool))
            if stretch:
                since = int(history.steps[stretch[0].first])
                evidence = f"{evidence} for {len(stretch[0].rows)} steps"
                found.append(Finding("no-op adversary", history.player, name, since, evidence, remedy))
                break
    return found
