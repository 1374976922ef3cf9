"""How series are judged: pure functions from a history to findings, so that they run again over a stored run."""

from __future__ import annotations

from collections.abc import Sequence

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import WINDOW, Remembering, Rule
from gradtape.tracking.rules.adversary import no_op_adversary
from gradtape.tracking.rules.clipped import clipped
from gradtape.tracking.rules.conflicts import conflicting_losses
from gradtape.tracking.rules.dead import dead_layer, saturated
from gradtape.tracking.rules.divergence import diverging_game
from gradtape.tracking.rules.exploding import exploding
from gradtape.tracking.rules.games import mode_collapse, player_too_strong
from gradtape.tracking.rules.initialisation import initialisation, unnormalised_inputs
from gradtape.tracking.rules.memorisation import memorisation
from gradtape.tracking.rules.missing import frozen_parameter, no_gradient
from gradtape.tracking.rules.noisy import noisy_gradient
from gradtape.tracking.rules.nonfinite import nonfinite
from gradtape.tracking.rules.overfit import overfit
from gradtape.tracking.rules.rates import learning_rate_too_high, learning_rate_too_low
from gradtape.tracking.rules.spike import loss_spike_ahead
from gradtape.tracking.rules.underflow import underflow
from gradtape.tracking.rules.updates import stalled, update_too_large, update_too_small
from gradtape.tracking.rules.vanishing import vanishing

__all__ = ["RULES", "WINDOW", "Rule", "judge"]

RULES: dict[str, Rule] = {  # causes before consequences: the order of findings that began at the same step
    "non-finite": nonfinite,
    "no gradient": no_gradient,
    "frozen parameter": frozen_parameter,
    "no-op adversary": no_op_adversary,
    "initialisation": initialisation,
    "unnormalised inputs": unnormalised_inputs,
    "underflow": underflow,
    "dead layer": dead_layer,
    "saturated": saturated,
    "clipped": clipped,
    "learning rate too high": learning_rate_too_high,
    "update too large": update_too_large,
    "loss spike ahead": loss_spike_ahead,
    "exploding": exploding,
    "vanishing": vanishing,
    "update too small": update_too_small,
    "learning rate too low": learning_rate_too_low,
    "stalled": stalled,
    "conflicting losses": conflicting_losses,
    "noisy gradient": noisy_gradient,
    "diverging game": diverging_game,
    "player too strong": player_too_strong,
    "mode collapse": mode_collapse,
    "memorisation": memorisation,
    "overfit": overfit,
}


def _together(history: History, other: History) -> bool:
    beside = history.settings.beside
    return beside is None or other.player in beside


def judge(histories: Sequence[History]) -> list[Finding]:
    """Apply every rule to every history; findings come in the order in which they began, causes before consequences.

    Args:
        histories: One per player of the same run; each is judged knowing the others.

    Returns:
        The findings, ordered by ``since_step`` and then by the order of ``RULES``.
    """
    known = [
        history._replace(
            rivals=tuple(other for other in histories if other is not history and _together(history, other)),
            measures=Remembering(history.measures),
        )
        for history in histories
    ]
    found = [
        (finding.since_step, order, finding)
        for history in known
        for order, rule in enumerate(RULES.values())
        for finding in rule(history)
    ]
    return [finding for _, _, finding in sorted(found, key=lambda entry: entry[:2])]
