"""Read images, points and tables, keep a test set sealed, and write samples back in the kind they came in."""

from gradtape.data._labels import EncodedLabels, encode_labels
from gradtape.data.arrays import from_arrays
from gradtape.data.images import ImageSet
from gradtape.data.point_files import holds_points, read_points
from gradtape.data.points import PointSet, from_points
from gradtape.data.ranges import ValueRange
from gradtape.data.reading import read, read_images
from gradtape.data.sealed import SealedTest
from gradtape.data.splits import Split, draw, split
from gradtape.data.table_files import holds_table, read_table
from gradtape.data.tables import Table, alike, from_table, labels_of
from gradtape.data.writing import write_csv, write_image_folder, write_npz

__all__ = [
    "EncodedLabels",
    "ImageSet",
    "PointSet",
    "SealedTest",
    "Split",
    "Table",
    "ValueRange",
    "alike",
    "draw",
    "encode_labels",
    "from_arrays",
    "from_points",
    "from_table",
    "holds_points",
    "holds_table",
    "labels_of",
    "read",
    "read_images",
    "read_points",
    "read_table",
    "split",
    "write_csv",
    "write_image_folder",
    "write_npz",
]
