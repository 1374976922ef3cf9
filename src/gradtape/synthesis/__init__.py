"""Makers of new samples from real ones: synthetic makers, and the controls they must beat."""

from gradtape.synthesis.adversarial import Adversarial
from gradtape.synthesis.classic import Mixup, Repeat, Shift
from gradtape.synthesis.interpolation import Interpolate
from gradtape.synthesis.maker import Maker, Real, Samples, Workplace
from gradtape.synthesis.registry import MAKERS
from gradtape.synthesis.steering import Steer

__all__ = [
    "MAKERS",
    "Adversarial",
    "Interpolate",
    "Maker",
    "Mixup",
    "Real",
    "Repeat",
    "Samples",
    "Shift",
    "Steer",
    "Workplace",
]
