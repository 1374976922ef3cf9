"""The training loop: devices, progress, checkpoints, exact resume."""

from gradtape.training.classifier import evaluating, features, predict, train_classifier
from gradtape.training.device import resolve_device, single_thread
from gradtape.training.loop import Checkpoint, Loop
from gradtape.training.progress import Progress, RichProgress, Silent

__all__ = [
    "Checkpoint",
    "Loop",
    "Progress",
    "RichProgress",
    "Silent",
    "evaluating",
    "features",
    "predict",
    "resolve_device",
    "single_thread",
    "train_classifier",
]
