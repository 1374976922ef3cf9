"""The makers that the main job compares."""

from __future__ import annotations

from gradtape.synthesis.adversarial import Adversarial
from gradtape.synthesis.classic import Mixup, Repeat, Shift
from gradtape.synthesis.interpolation import Interpolate
from gradtape.synthesis.maker import Maker
from gradtape.synthesis.steering import Steer

MAKERS: dict[str, Maker] = {
    maker.name: maker for maker in (Adversarial(), Steer(), Interpolate(), Repeat(), Shift(), Mixup())
}
"""Maker's name -> maker."""
