"""Small reference networks, per kind of data."""

from gradtape.nets.images import ImageClassifier, ImageDiscriminator, ImageGenerator

__all__ = ["ImageClassifier", "ImageDiscriminator", "ImageGenerator"]
