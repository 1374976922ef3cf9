"""New samples from real ones: the synthesizer, the main job's makers, and the controls that these must beat."""

from gradtape.synthesis.adversarial import Adversarial
from gradtape.synthesis.classic import Mixup, Repeat, Shift
from gradtape.synthesis.interpolation import Interpolate
from gradtape.synthesis.job import SynthesisResult, synthesize
from gradtape.synthesis.maker import Maker, Real, Samples, Workplace
from gradtape.synthesis.page import FIGURES, render
from gradtape.synthesis.registry import MAKERS
from gradtape.synthesis.steering import Steer
from gradtape.synthesis.synthesizer import Synthesizer

__all__ = [
    "FIGURES",
    "MAKERS",
    "Adversarial",
    "Interpolate",
    "Maker",
    "Mixup",
    "Real",
    "Repeat",
    "Samples",
    "Shift",
    "Steer",
    "SynthesisResult",
    "Synthesizer",
    "Workplace",
    "render",
    "synthesize",
]
