"""Read labelled images, keep a test set sealed, and write images back in the kind they came in."""

from gradtape.data.arrays import from_arrays
from gradtape.data.images import ImageSet
from gradtape.data.ranges import ValueRange
from gradtape.data.reading import read
from gradtape.data.sealed import SealedTest
from gradtape.data.splits import Split, draw, split
from gradtape.data.writing import write_image_folder, write_npz

__all__ = [
    "ImageSet",
    "SealedTest",
    "Split",
    "ValueRange",
    "draw",
    "from_arrays",
    "read",
    "split",
    "write_image_folder",
    "write_npz",
]
