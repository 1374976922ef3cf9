"""Gradient transformations: identity on the way forward, a changed gradient on the way back."""

from gradtape.transforms._base import Transform, chain
from gradtape.transforms._linear import Reverse, Scale, Stop, reverse, scale, stop

__all__ = ["Reverse", "Scale", "Stop", "Transform", "chain", "reverse", "scale", "stop"]
