"""The training loop: devices, progress, checkpoints, exact resume."""

from gradtape.training._rollback import Rollback
from gradtape.training.classifier import evaluating, features, predict, train_classifier
from gradtape.training.device import resolve_device, single_thread
from gradtape.training.loop import Checkpoint, Loop
from gradtape.training.play import Played, play
from gradtape.training.progress import Progress, RichProgress, Silent

__all__ = [
    "Checkpoint",
    "Loop",
    "Played",
    "Progress",
    "RichProgress",
    "Rollback",
    "Silent",
    "evaluating",
    "features",
    "play",
    "predict",
    "resolve_device",
    "single_thread",
    "train_classifier",
]
