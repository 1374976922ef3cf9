"""Adversarial games: players with opposed losses, and the step that trains them."""

from gradtape.games._solver import Solver
from gradtape.games.diversity import ModeSeeking
from gradtape.games.gan import GAN, GameStep
from gradtape.games.losses import LOSSES, AdversarialLoss
from gradtape.games.penalties import (
    DRAGAN,
    PENALTIES,
    R1,
    R2,
    Consistency,
    GradientPenalty,
    Judged,
    LeCam,
    Penalty,
    spectral_norm,
)
from gradtape.games.views import ADA, VIEWS, DiffAugment, InstanceNoise, Packing, Resolution, View

__all__ = [
    "ADA",
    "DRAGAN",
    "GAN",
    "LOSSES",
    "PENALTIES",
    "R1",
    "R2",
    "VIEWS",
    "AdversarialLoss",
    "Consistency",
    "DiffAugment",
    "GameStep",
    "GradientPenalty",
    "InstanceNoise",
    "Judged",
    "LeCam",
    "ModeSeeking",
    "Packing",
    "Penalty",
    "Resolution",
    "Solver",
    "View",
    "spectral_norm",
]
