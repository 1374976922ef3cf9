"""Terms that keep the discriminator in bounds, each in a file of its own."""

from gradtape.games.penalties._base import Judged, Penalty
from gradtape.games.penalties.consistency import Consistency
from gradtape.games.penalties.dragan import DRAGAN
from gradtape.games.penalties.gradient_penalty import GradientPenalty
from gradtape.games.penalties.lecam import LeCam
from gradtape.games.penalties.spectral import spectral_norm
from gradtape.games.penalties.zero_centred import R1, R2

PENALTIES: dict[str, type[Penalty]] = {
    "r1": R1,
    "r2": R2,
    "gradient_penalty": GradientPenalty,
    "dragan": DRAGAN,
    "lecam": LeCam,
    "consistency": Consistency,
}
"""Penalty's name -> its class."""

__all__ = [
    "DRAGAN",
    "PENALTIES",
    "R1",
    "R2",
    "Consistency",
    "GradientPenalty",
    "Judged",
    "LeCam",
    "Penalty",
    "spectral_norm",
]
