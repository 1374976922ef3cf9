"""What is read of activations: one small class per measure, the registry of all, and the hooks."""

from gradtape.tracking.activations._base import ActivationMeasure
from gradtape.tracking.activations._shape import Kurtosis, Rank, Spread
from gradtape.tracking.activations._units import DeadUnits, Saturation
from gradtape.tracking.activations._watch import ActivationWatch

ACTIVATIONS: tuple[type[ActivationMeasure], ...] = (DeadUnits, Saturation, Kurtosis, Rank, Spread)

__all__ = ["ACTIVATIONS", "ActivationMeasure", "ActivationWatch"]
