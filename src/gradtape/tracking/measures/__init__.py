"""What is read of parameters: one small class per measure, and the registry of all."""

from gradtape.tracking.measures._base import Combine, Measure, Reading, norms, onto
from gradtape.tracking.measures._cosines import MomentumCosine, PreviousCosine
from gradtape.tracking.measures._distance import Distance
from gradtape.tracking.measures._extent import GradMax, GradMean
from gradtape.tracking.measures._histogram import GradHistogram
from gradtape.tracking.measures._noise import NoiseScale
from gradtape.tracking.measures._norms import GradNorm, NonfiniteCount, RawGradNorm, WeightNorm
from gradtape.tracking.measures._surprise import AdamSurprise
from gradtape.tracking.measures._updates import UPDATES, UpdateNorm, local
from gradtape.tracking.measures._zeros import ZeroShare, ZeroUnits

MEASURES: tuple[type[Measure], ...] = (
    GradNorm,
    RawGradNorm,
    NonfiniteCount,
    WeightNorm,
    UpdateNorm,
    GradMax,
    GradMean,
    ZeroShare,
    ZeroUnits,
    GradHistogram,
    PreviousCosine,
    MomentumCosine,
    NoiseScale,
    Distance,
    AdamSurprise,
)

__all__ = ["MEASURES", "UPDATES", "Combine", "Measure", "Reading", "local", "norms", "onto"]
