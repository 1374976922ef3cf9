"""Gradient transformations: identity on the way forward, a changed gradient on the way back."""

from gradtape.transforms import schedules
from gradtape.transforms._base import Transform
from gradtape.transforms._centralize import Centralize, centralize
from gradtape.transforms._chain import chain
from gradtape.transforms._check import ReversalCheck, inert_layers
from gradtape.transforms._clip import Clip, Normalize, clip, normalize
from gradtape.transforms._combine import AGGREGATORS, combine
from gradtape.transforms._conflict import Combined
from gradtape.transforms._linear import Reverse, Scale, Stop, reverse, scale, stop
from gradtape.transforms._mask import Mask, mask
from gradtape.transforms._memory import EMA, Accumulate
from gradtape.transforms._noise import Noise, noise
from gradtape.transforms._places import Attachment, before_step, on_gradients
from gradtape.transforms._project import Project, project
from gradtape.transforms._skip import SkipNonfinite

__all__ = [
    "AGGREGATORS",
    "EMA",
    "Accumulate",
    "Attachment",
    "Centralize",
    "Clip",
    "Combined",
    "Mask",
    "Noise",
    "Normalize",
    "Project",
    "ReversalCheck",
    "Reverse",
    "Scale",
    "SkipNonfinite",
    "Stop",
    "Transform",
    "before_step",
    "centralize",
    "chain",
    "clip",
    "combine",
    "inert_layers",
    "mask",
    "noise",
    "normalize",
    "on_gradients",
    "project",
    "reverse",
    "scale",
    "schedules",
    "stop",
]
