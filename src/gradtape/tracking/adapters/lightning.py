"""A tracker as a callback of Lightning's Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradtape.errors import InputError
from gradtape.tracking.adapters._shared import Adapter, Folder
from gradtape.tracking.tracker import Tracker

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError:
            raise InputError(
                "Lightning is not installed", remedy="install it with: pip install 'gradtape[lightning]'"
            ) from None


class TrackCallback(Callback):
    """Tracks the gradients of a Lightning training, one player per optimizer.

    A player is named by the attribute that holds its module (``self.generator``) or, where an optimizer holds the whole
    ``LightningModule``, by the variable that does. Numbers logged in validation are logged here too, the loss as
    ``val_loss``. The training itself is not changed.

    Args:
        run: Folder of a new run, an open run, or nothing to keep what is read in memory.
        budget: Share of the step time that reading may take; None for fixed intervals.
        verbose: Whether the verdict is printed to standard error when training ends.

    Attributes:
        tracker: The tracker, from the start of training; ``tracker.findings`` also afterwards.

    Raises:
        InputError: Lightning is not installed.

    Examples:
        >>> trainer = lightning.Trainer(callbacks=[TrackCallback("runs/first")])  # doctest: +SKIP
    """

    def __init__(self, run: Folder = None, budget: float | None = 0.01, *, verbose: bool = True) -> None:
        self._adapter = Adapter(run, budget, verbose)

    @property
    def tracker(self) -> Tracker | None:
        """The tracker; None before training."""
        return self._adapter.tracker

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, with the optimizers as they are after a checkpoint was loaded."""
        self._adapter.begin(trainer.optimizers, first=trainer.is_global_zero)
        if self.tracker is not None and len(trainer.optimizers) == 1:
            self.tracker.resume_at(trainer.global_step)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Log what validation logged."""
        self._adapter.log(trainer.callback_metrics)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        self._adapter.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End, with what was read so far."""
        self._adapter.end()
