"""Small reference networks, per kind of data, and layers for them."""

from gradtape.nets.convolutional import ConvDiscriminator, ConvGenerator
from gradtape.nets.features import ImageFeatures, TableFeatures
from gradtape.nets.images import ImageClassifier, ImageDiscriminator, ImageGenerator
from gradtape.nets.layers import Condition, FourierFeatures, MinibatchDiscrimination, MinibatchStdDev
from gradtape.nets.points import PointDiscriminator, PointGenerator

__all__ = [
    "Condition",
    "ConvDiscriminator",
    "ConvGenerator",
    "FourierFeatures",
    "ImageClassifier",
    "ImageDiscriminator",
    "ImageFeatures",
    "ImageGenerator",
    "MinibatchDiscrimination",
    "MinibatchStdDev",
    "PointDiscriminator",
    "PointGenerator",
    "TableFeatures",
]
