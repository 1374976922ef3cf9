"""Domain adaptation by gradient reversal and its kin, choosing without target labels, unlearning."""

from gradtape.adaptation._label_shift import LabelShift, corrected, label_shift
from gradtape.adaptation._unlearning_figures import TradeOff
from gradtape.adaptation.choosing import Choice, choose, ensemble
from gradtape.adaptation.estimator import DomainAdapter
from gradtape.adaptation.job import Adapted, adapt
from gradtape.adaptation.labels import TargetLabels
from gradtape.adaptation.methods import (
    ADDA,
    AFN,
    BSP,
    CDAN,
    CDANE,
    DANN,
    JAN,
    MCC,
    MCD,
    MDD,
    METHODS,
    MMD,
    OSBP,
    PADA,
    Combined,
    Critic,
    DeepCORAL,
    Generalisation,
    Method,
    MethodCheck,
    MultiSource,
    SelfTraining,
    SourceOnly,
    make,
    slow_ramp,
)
from gradtape.adaptation.outcome import Candidate, Outcome, Row, Verdict
from gradtape.adaptation.page import render
from gradtape.adaptation.unlearning import Unlearner
from gradtape.adaptation.validators import VALIDATORS, Outputs

__all__ = [
    "ADDA",
    "AFN",
    "BSP",
    "CDAN",
    "CDANE",
    "DANN",
    "JAN",
    "MCC",
    "MCD",
    "MDD",
    "METHODS",
    "MMD",
    "OSBP",
    "PADA",
    "VALIDATORS",
    "Adapted",
    "Candidate",
    "Choice",
    "Combined",
    "Critic",
    "DeepCORAL",
    "DomainAdapter",
    "Generalisation",
    "LabelShift",
    "Method",
    "MethodCheck",
    "MultiSource",
    "Outcome",
    "Outputs",
    "Row",
    "SelfTraining",
    "SourceOnly",
    "TargetLabels",
    "TradeOff",
    "Unlearner",
    "Verdict",
    "adapt",
    "choose",
    "corrected",
    "ensemble",
    "label_shift",
    "make",
    "render",
    "slow_ramp",
]
