"""How samples are shown to the discriminator, each view in a file of its own."""

from gradtape.games.views._base import View
from gradtape.games.views.ada import ADA
from gradtape.games.views.diff_augment import DiffAugment
from gradtape.games.views.instance_noise import InstanceNoise
from gradtape.games.views.packing import Packing
from gradtape.games.views.resolution import Resolution

VIEWS: dict[str, type[View]] = {
    "instance_noise": InstanceNoise,
    "diff_augment": DiffAugment,
    "ada": ADA,
    "resolution": Resolution,
    "packing": Packing,
}
"""View's name -> its class."""

__all__ = ["ADA", "VIEWS", "DiffAugment", "InstanceNoise", "Packing", "Resolution", "View"]
