"""The main job: synthesise, train with and without, compare, recommend."""

from gradtape.augmentation.job import AugmentResult, Synthetic, augment
from gradtape.augmentation.outcome import points
from gradtape.augmentation.page import render
from gradtape.augmentation.settings import AugmentSettings

__all__ = ["AugmentResult", "AugmentSettings", "Synthetic", "augment", "points", "render"]
