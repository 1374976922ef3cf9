"""The training loop: devices, progress, checkpoints, exact resume."""

from gradtape.training._rollback import Rollback
from gradtape.training.classifier import evaluating, features, predict, train_classifier
from gradtape.training.device import resolve_device, single_thread
from gradtape.training.loop import Checkpoint, Loop
from gradtape.training.play import Played, play
from gradtape.training.progress import Progress, RichProgress, Silent
from gradtape.training.saved import load_weights, save_weights

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
    "load_weights",
    "play",
    "predict",
    "resolve_device",
    "save_weights",
    "single_thread",
    "train_classifier",
]
