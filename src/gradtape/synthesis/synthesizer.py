"""Fit to data, sample more of the kind: scikit-learn's habits over the game."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from gradtape import seeding
from gradtape.data import holds_points, read_images, read_points
from gradtape.errors import GradientError, InputError
from gradtape.evidence import hash_arrays
from gradtape.games import GAN
from gradtape.runs import Run
from gradtape.synthesis import _saved
from gradtape.synthesis._conditions import Conditions
from gradtape.synthesis._gallery import Gallery
from gradtape.synthesis._plan import Plan
from gradtape.synthesis._samples import Images, Points, kind_of
from gradtape.synthesis._weighed import Quality, weigh
from gradtape.tracking import Finding
from gradtape.training import Checkpoint, Played, Progress, RichProgress, Silent, play, resolve_device, single_thread

_HELD_OUT = (0.1, 1000)  # share of the data, and the most samples, kept from training
_CHUNK = 512


class Read(NamedTuple):
    """Data as they were read.

    Attributes:
        kind: How samples look to the user.
        samples: As the networks see them.
        conditions: How conditions look to the user.
        condition: As the networks see them, or None.
    """

    kind: Images | Points
    samples: Tensor
    conditions: Conditions
    condition: Tensor | None


class Data(NamedTuple):
    """Samples and conditions as the networks see them, divided.

    Attributes:
        train: What is trained on, (n, ...).
        train_condition: Its conditions, (n,) or (n, k), or None.
        held_out: Real samples kept from training.
        held_out_condition: Their conditions, or None.
    """

    train: Tensor
    train_condition: Tensor | None
    held_out: Tensor
    held_out_condition: Tensor | None


class Synthesizer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learns what samples look like and makes new ones of the same kind, range, type and layout.

    A generator and a discriminator play against each other; a tenth of the data is held out and tells when the samples
    are best, and whether they come nearer to the training data than fresh real ones do.

    Args:
        seed: Seed of everything random; the same seed gives the same samples on a CPU.
        steps: Steps of training; None chooses by the kind and size of the data.
        quick: Train a sixth of that, for a first look.
        batch_size: Samples in a batch; None chooses.
        width: Width of the networks; None chooses.
        device: ``auto``, ``cpu``, ``cuda``, ...
        run: A run folder to make, or an open run, with sheets of samples, series and a report; None keeps nothing.
        resume: Go on with an interrupted ``run``; the result is that of one never interrupted.
        on_failure: ``rollback``: a game that fails is taken back and played on with one setting changed; ``report``:
            it is only said.
        data_dir: Folder of data sets known by name.
        progress: Show a progress bar.

    Attributes:
        game_: The trained game; None after ``load``.
        played_: How the training went.
        quality_: How near samples are to held-out data, beside what real data score.
        findings_: What is wrong, with what to do.
        classes_: The classes in the user's own words; empty without.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> points = rng.normal([0.0, 1e6], [1e-3, 50.0], size=(60, 2))
        >>> made = Synthesizer(steps=20, width=8).fit(points).sample(5)
        >>> made.shape, made.dtype
        ((5, 2), dtype('float64'))
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        steps: int | None = None,
        quick: bool = False,
        batch_size: int | None = None,
        width: int | None = None,
        device: str = "auto",
        run: str | os.PathLike[str] | Run | None = None,
        resume: bool = False,
        on_failure: str = "rollback",
        data_dir: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> None:
        self.seed = seed
        self.steps = steps
        self.quick = quick
        self.batch_size = batch_size
        self.width = width
        self.device = device
        self.run = run
        self.resume = resume
        self.on_failure = on_failure
        self.data_dir = data_dir
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from data.

        Args:
            X: Images (n, h, w), (n, c, h, w) or (n, h, w, c) of any range and type; points (n, d), of any units; a data
                frame of numbers; numpy or torch; or the name or path of data that ``gradtape.data.read_images`` or
                ``read_points`` reads.
            y: Classes (n,), of any type, or attributes: floats (n, k), or (n,) with fractional parts. Samples can then
                be asked for by them.

        Returns:
            This object.

        Raises:
            InputError: A setting out of range, or an array of a shape that is not read.
            DataError: Data that cannot be used; the sentence names row and column.
            RunError: A run folder that cannot be used.
        """
        return self.fit_read(self.read(X, y))

    def sample(self, n: int, y: Any = None, *, seed: int = 0, return_y: bool = False) -> Any:
        """Make new samples.

        Args:
            n: How many.
            y: Their class or attributes, one for all or one per sample; None takes the proportions of the data.
            seed: Same seed, same samples; give another for others.
            return_y: Return ``(samples, y)``.

        Returns:
            Samples in the kind, range, type and layout of what ``fit`` was given.

        Raises:
            InputError: Not fitted, ``n`` below 1, or a ``y`` that cannot be asked for.
        """
        self._check_fitted()
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n is {n!r}", remedy="give a number of samples, at least 1")
        samples, condition = self.draw(int(n), y, seed)
        made = self._kind.decode(samples)
        return (made, self._conditions.given_back(condition)) if return_y else made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what sampling needs to one file, whole or not at all: safetensors with JSON inside, no pickle.

        Raises:
            InputError: Not fitted.
            RunError: The file cannot be written.
        """
        self._check_fitted()
        about = {
            "settings": {name: getattr(self, name) for name in ("seed", "steps", "quick", "batch_size", "width")},
            "quality": self.quality_._asdict(),
            "findings": [finding._asdict() for finding in self.findings_],
        }
        _saved.save(Path(path), _saved.Trained(self._plan, self._kind, self._conditions, self._generator, about))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return a synthesizer that samples as the saved one did.

        Raises:
            RunError: The file is missing, damaged, or of another kind.
        """
        trained = _saved.load(Path(path))
        made = cls(**trained.about["settings"])
        made._plan, made._kind, made._conditions = trained.plan, trained.kind, trained.conditions
        made._generator = trained.generator
        made.game_ = made.played_ = None
        made.classes_ = trained.conditions.vocabulary
        made.quality_ = Quality(**trained.about["quality"])
        made.findings_ = [Finding(**finding) for finding in trained.about["findings"]]
        return made

    def read(self, X: Any, y: Any = None) -> Read:
        """Read data as ``fit`` does, without training."""
        kind: Images | Points
        if isinstance(X, str | os.PathLike):
            if y is not None:
                what = "labels were given beside the name of a data set"
                raise InputError(what, remedy="give arrays, or the name alone")
            if not holds_points(X):
                data = read_images(X, data_dir=self.data_dir)
                pictures, samples = Images.of(data)
                conditions = Conditions.of_labels(data.labels, data.classes, data.vocabulary)
                condition = torch.from_numpy(data.labels) if conditions.classes else None
                return Read(pictures, samples, conditions, condition)
            table, y = read_points(X)
            kind, samples = Points.of(table)
        else:
            kind, samples = kind_of(X)
        conditions, condition = (Conditions(), None) if y is None else Conditions.of(y, len(samples))
        return Read(kind, samples, conditions, condition)

    def fit_read(
        self, read: Read, settings: Mapping[str, Any] | None = None, deliver: Callable[[Run], object] | None = None
    ) -> Self:
        """Learn from data that ``read`` returned.

        Args:
            read: The data.
            settings: Further plain values that a resumed run must have been made with.
            deliver: Called with the run when all is trained, before the run counts as finished.
        """
        self._check()
        device = resolve_device(self.device)
        plan = Plan.of(
            "images" if isinstance(read.kind, Images) else "points",
            read.kind.shape,
            classes=len(read.conditions.classes),
            attributes=read.conditions.attributes,
            steps=self.steps,
            quick=self.quick,
            batch_size=self.batch_size,
            width=self.width,
        )
        data = _divide(read.samples, read.condition, self.seed, device)
        with ExitStack() as stack:
            stack.enter_context(single_thread())
            run = self._open(stack, plan, read, settings or {})
            progress: Progress = Silent()
            if self.progress:
                progress = stack.enter_context(RichProgress.show(plan.steps))
            self._train(read, plan, data, run, device, progress)
            if deliver is not None and run is not None:
                deliver(run)
        if run is not None and not isinstance(self.run, Run):
            shutil.rmtree(
                run.path / "checkpoints", ignore_errors=True
            )  # once finished: a run stopped before needs them
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "quality_")

    def _check(self) -> None:
        for name, least in (("steps", 2), ("batch_size", 2), ("width", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InputError(f"{name} is {value!r}", remedy=f"give a whole number from {least} up, or None")
        if self.on_failure not in ("rollback", "report"):
            raise InputError(f"on_failure is {self.on_failure!r}", remedy="use 'rollback' or 'report'")
        if self.resume and self.run is None:
            raise InputError("resume needs a run", remedy="name the run folder to go on with")

    def _check_fitted(self) -> None:
        if not hasattr(self, "quality_"):
            raise InputError("this Synthesizer is not fitted", remedy="call fit(X) first, or Synthesizer.load(path)")

    def _open(self, stack: ExitStack, plan: Plan, read: Read, more: Mapping[str, Any]) -> Run | None:
        """Return the run, made or opened here unless it was given open."""
        if self.run is None or isinstance(self.run, Run):
            return self.run
        arrays = {"samples": read.samples.numpy()}
        if read.condition is not None:
            arrays["condition"] = read.condition.numpy()
        settings = {
            "data": {"name": read.kind.pattern.name, "sha256": hash_arrays(arrays)},
            "plan": plan.to_json(),
            "seed": self.seed,
            "on_failure": self.on_failure,
            **more,
        }
        if self.resume:
            return stack.enter_context(Run.open(self.run, resume=True, settings=settings))
        return stack.enter_context(Run.create(self.run, command="synthesize", settings=settings))

    def _train(
        self,
        read: Read,
        plan: Plan,
        data: Data,
        run: Run | None,
        device: torch.device,
        progress: Progress,
    ) -> None:
        game = plan.game(self.seed, device)
        every = max(1, plan.steps // 20)
        kind, conditions = read.kind, read.conditions
        gallery = None if run is None else Gallery(run, kind, conditions, data, self.seed)
        progress.stage("training")
        played = play(
            game,
            data.train,
            data.train_condition,
            steps=plan.steps,
            batch_size=plan.batch_size,
            seed=self.seed,
            held_out=data.held_out,
            held_condition=data.held_out_condition,
            store=None if run is None else run.series,
            checkpoint=None if run is None else Checkpoint(run.path / "checkpoints" / "game", every=every),
            every=every,
            on_failure="rollback" if self.on_failure == "rollback" else "report",
            look=None if gallery is None else gallery.hang,
            progress=progress,
        )
        self._plan, self._kind, self._conditions = plan, kind, conditions
        self._generator: nn.Module = game.average
        self.game_: GAN | None = game
        self.played_: Played | None = played
        self.classes_ = conditions.vocabulary
        progress.stage("evidence")
        made, condition = self.draw(max(len(data.held_out), 200), None, seeding.derive(self.seed, "evidence") % 2**31)
        if not bool(made.isfinite().all()):
            raise GradientError(
                "the samples are not finite", remedy="look at extreme values in the data, or set another seed"
            )
        weighed = weigh(played, data, made, condition, self.seed)
        self.quality_, self.findings_ = weighed.quality, weighed.findings
        if gallery is not None:
            gallery.finish(game, played, weighed, made, plan)
            assert run is not None
            self.save(run.path / "synthesizer.safetensors")

    @torch.no_grad()
    def draw(self, n: int, y: Any, seed: int) -> tuple[Tensor, Tensor | None]:
        """Return samples as the networks see them, and their conditions."""
        conditions = self._conditions
        if y is None:
            condition = conditions.drawn(n, seeding.generator(seed, self.seed, "conditions"))
        else:
            condition = conditions.asked(y, n)
        z = torch.randn(n, self._plan.latent, generator=seeding.generator(seed, self.seed, "samples"))
        device = next(self._generator.parameters()).device
        parts = [z.to(device)] if condition is None else [z.to(device), condition.to(device)]
        made = [self._generator(*chunk) for chunk in zip(*(part.split(_CHUNK) for part in parts), strict=True)]
        return torch.cat(made).cpu(), condition


def _divide(samples: Tensor, condition: Tensor | None, seed: int, device: torch.device) -> Data:
    """Divide data into what is trained on and what is held out."""
    order = torch.randperm(len(samples), generator=seeding.generator(seed, "held out"))
    share, most = _HELD_OUT
    size = min(max(2, round(share * len(samples))), most)
    held, kept = order[:size].sort().values, order[size:].sort().values
    told = None if condition is None else (condition[kept].to(device), condition[held].to(device))
    return Data(
        samples[kept].to(device),
        None if told is None else told[0],
        samples[held].to(device),
        None if told is None else told[1],
    )
