"""Adversarial games: players with opposed losses, and the step that trains them."""

from gradtape.games.gan import GAN, GameStep
from gradtape.games.losses import LOSSES, AdversarialLoss
from gradtape.games.penalties import R1, R2, Penalty

__all__ = ["GAN", "LOSSES", "R1", "R2", "AdversarialLoss", "GameStep", "Penalty"]
