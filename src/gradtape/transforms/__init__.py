"""Gradient transformations: identity on the way forward, a changed gradient on the way back."""

from gradtape.transforms._base import Transform, before_step, chain
from gradtape.transforms._linear import Reverse, Scale, Stop, reverse, scale, stop

__all__ = ["Reverse", "Scale", "Stop", "Transform", "before_step", "chain", "reverse", "scale", "stop"]
