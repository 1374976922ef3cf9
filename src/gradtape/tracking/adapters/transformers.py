"""A tracker as a callback of the Trainer of Hugging Face transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradtape.errors import InputError
from gradtape.tracking.adapters._shared import Adapter, Folder
from gradtape.tracking.tracker import Tracker

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    try:
        from transformers import TrainerCallback
    except ImportError:
        raise InputError(
            "transformers is not installed", remedy="install it with: pip install 'gradtape[transformers]'"
        ) from None


class TrackCallback(TrainerCallback):
    """Tracks the gradients of a transformers training.

    What the Trainer logs is logged here too, ``eval_loss`` as ``val_loss``. The training itself is not changed.

    Args:
        run: Folder of a new run, an open run, or nothing to keep what is read in memory.
        budget: Share of the step time that reading may take; None for fixed intervals.
        verbose: Whether the verdict is printed to standard error when training ends.

    Attributes:
        tracker: The tracker, from the start of training; ``tracker.findings`` also afterwards.

    Raises:
        InputError: transformers is not installed.

    Examples:
        >>> trainer = transformers.Trainer(model, callbacks=[TrackCallback("runs/first")])  # doctest: +SKIP
    """

    def __init__(self, run: Folder = None, budget: float | None = 0.01, *, verbose: bool = True) -> None:
        self._adapter = Adapter(run, budget, verbose)

    @property
    def tracker(self) -> Tracker | None:
        """The tracker; None before training."""
        return self._adapter.tracker

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Begin, with the optimizer inside the one that accelerate puts around it."""
        self._adapter.begin([getattr(optimizer, "optimizer", optimizer)], first=state.is_world_process_zero)
        if self.tracker is not None:
            self.tracker.resume_at(state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Log what evaluation found."""
        self._adapter.log(metrics or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End."""
        self._adapter.end()
