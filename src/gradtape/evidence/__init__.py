"""Honest statistics about synthetic data: intervals, fidelity, nearness, groups, lineage, usefulness."""

from gradtape.evidence._fidelity import Fidelity, Figure, fidelity
from gradtape.evidence._frechet import frechet_distance
from gradtape.evidence._groups import GroupFigure, paired_per_group, per_group, worst
from gradtape.evidence._intervals import Interval, bootstrap, mean_interval, paired_gain, proportion
from gradtape.evidence._lineage import Lineage, hash_arrays, lineage_text, read_lineage, write_lineage
from gradtape.evidence._privacy import Nearness, nearest_distances
from gradtape.evidence._usefulness import Arm, Claim, Comparison, compare

__all__ = [
    "Arm",
    "Claim",
    "Comparison",
    "Fidelity",
    "Figure",
    "GroupFigure",
    "Interval",
    "Lineage",
    "Nearness",
    "bootstrap",
    "compare",
    "fidelity",
    "frechet_distance",
    "hash_arrays",
    "lineage_text",
    "mean_interval",
    "nearest_distances",
    "paired_gain",
    "paired_per_group",
    "per_group",
    "proportion",
    "read_lineage",
    "worst",
    "write_lineage",
]
