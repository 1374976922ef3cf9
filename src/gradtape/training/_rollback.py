"""What is changed in a game that went wrong, before it is played again."""

from __future__ import annotations

from typing import NamedTuple

from gradtape.games import GAN
from gradtape.games.penalties import Penalty
from gradtape.tracking import Finding

MOST = 3  # times that a game is taken back: what three changes do not heal needs a person
RATE, WEIGHTS = "rate", "weights"
CHANGES: dict[str, str] = {  # rules that say that the game itself fails -> what is changed; where the discriminator
    # knows few samples by heart, going back does not help, and the quality on held-out ones says when to stop
    "non-finite": RATE,
    "learning rate too high": RATE,
    "update too large": RATE,
    "exploding": RATE,
    "diverging game": RATE,
    "player too strong": RATE,
    "mode collapse": WEIGHTS,
}


class Rollback(NamedTuple):
    """A game taken back to where it was healthy.

    Attributes:
        step: The number of steps after which the failure was found.
        back_to: The number of steps it was taken back to.
        rule: The rule that spoke.
        finding: The whole finding, in words.
        changed: What was changed there, in words.
    """

    step: int
    back_to: int
    rule: str
    finding: str
    changed: str

    def __str__(self) -> str:
        return f"{self.rule} at step {self.step}: back to step {self.back_to}, {self.changed}"


def failing(findings: list[Finding]) -> Finding | None:
    """Return the first finding of a game that fails; a frozen layer, say, does not get better by going back."""
    return next((finding for finding in findings if finding.rule in CHANGES), None)


class Weights:
    """The weights of a game's penalties times a factor, which a checkpoint has to hold."""

    def __init__(self, game: GAN) -> None:
        self._known = [
            (penalty, penalty.weight) for penalty in game.penalties if callable(penalty.weight) or penalty.weight
        ]
        self.factor = 1.0

    def __bool__(self) -> bool:
        return bool(self._known)

    def set(self, factor: float) -> None:
        """Multiply the weights that the game began with."""
        self.factor = factor
        for penalty, weight in self._known:
            _weigh(penalty, weight, factor)


def _weigh(penalty: Penalty, weight: object, factor: float) -> None:
    if callable(weight):
        penalty.weight = lambda position: factor * weight(position)
    else:
        assert isinstance(weight, int | float)
        penalty.weight = factor * weight


def change(game: GAN, weights: Weights, finding: Finding) -> str:
    """Change the one setting that the finding asks for; return what, in words."""
    name = finding.player.rpartition("/")[2]
    if CHANGES[finding.rule] == WEIGHTS and weights:
        weights.set(2 * weights.factor)
        return f"penalties weigh {weights.factor:g} times as much"
    for group in game.optimizers[name].param_groups:
        group["lr"] *= 0.5
    return f"the {name}'s learning rate halved"
