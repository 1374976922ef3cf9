"""The experiment: every arm trained in every repeat, each unit kept, so that a stopped job goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gradtape.atomic import write_atomically
from gradtape.augmentation.settings import AugmentSettings
from gradtape.data import ImageSet, Split, draw, write_npz
from gradtape.errors import InputError, RunError
from gradtape.runs import Run
from gradtape.seeding import derive
from gradtape.synthesis import MAKERS, Maker, Real, Samples, Workplace
from gradtape.synthesis.maker import Descent, one_hot
from gradtape.training import Checkpoint, Progress, predict, train_classifier

BASELINE = "real"
MIX = "mix"
SYNTHETIC = tuple(name for name, maker in MAKERS.items() if not maker.control)
CONTROLS = tuple(name for name, maker in MAKERS.items() if maker.control)
ARMS = (BASELINE, *SYNTHETIC, MIX, *CONTROLS)
TITLES = {
    BASELINE: "the real images alone",
    MIX: "an equal share of each synthetic maker",
    **{name: maker.title for name, maker in MAKERS.items()},
}
_VALIDATION_LIMIT = 2000


class Experiment:
    """All arms over all repeats.

    Within a repeat the arms share the real images and the initial weights. Each draws its own batches, so the control
    that repeats the real images shows how much batches alone change. Each repeat draws its own real images from the
    pool.

    Args:
        data: The images.
        split: Its parts.
        settings: What was asked.
        run: Where everything is kept.
        new_model: Makes a fresh, randomly initialised classifier.
        device: Where to compute.
        progress: Told of the work.
    """

    def __init__(
        self,
        data: ImageSet,
        split: Split,
        settings: AugmentSettings,
        run: Run,
        new_model: Callable[[], nn.Module],
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.data = data
        self.settings = settings
        self.split = split
        self._run = run
        self._new_model = new_model
        self._device = device
        self._progress = progress
        self._last: nn.Module | None = None
        self._folder = run.path / "checkpoints"
        self._folder.mkdir(exist_ok=True)
        rows = np.random.default_rng(derive(settings.seed, "validation")).permutation(split.validation)
        self.validation = np.sort(rows[:_VALIDATION_LIMIT])
        self._validation = self._tensors(self.validation)

    @staticmethod
    def work(settings: AugmentSettings) -> float:
        """Return the total work, in steps of a classifier."""
        making = sum(maker.work(settings.generator_steps) for maker in MAKERS.values())
        return settings.repeats * (len(ARMS) * settings.steps + making)

    def rows(self, repeat: int) -> np.ndarray:
        """Return the rows of the real images that a repeat trains on."""
        return draw(self.data, self.split.pool, self.settings.per_class, derive(self.settings.seed, "draw", repeat))

    def train(self) -> dict[str, list[float]]:
        """Train what is not trained yet; return each arm's validation accuracies, one per repeat."""
        for repeat in range(self.settings.repeats):
            for arm in ARMS:
                self._train_arm(repeat, arm)
        done = self._done()
        return {arm: [done[f"{repeat}/{arm}"] for repeat in range(self.settings.repeats)] for arm in ARMS}

    def model(self, repeat: int, arm: str) -> nn.Module:
        """Return the trained model of an arm."""
        model = self._fresh_model(repeat)
        path = self._path(repeat, arm, "safetensors")
        try:
            model.load_state_dict(load(path.read_bytes()))
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise RunError(f"{path} is missing or damaged", remedy="start a new run") from error
        return model.eval()

    def samples(self, repeat: int, maker: str) -> Samples:
        """Return what a maker made in a repeat, made now if it is not kept yet."""
        path = self._path(repeat, maker, "npz")
        if not path.exists():
            real = self._real(repeat)
            self._progress.stage(self._stage(repeat, f"making: {maker}"))
            count = self.settings.added * len(real.labels)
            seed = derive(self.settings.seed, "maker", maker, repeat)
            _keep(path, MAKERS[maker].make(real, count, seed, self._workplace(repeat, MAKERS[maker])))
            self._path(repeat, maker, "generator").unlink(missing_ok=True)
        return _kept(self._run.read_arrays(f"{self._folder.name}/{path.name}"), self._device)

    def player(self, repeat: int, arm: str) -> str:
        """Return the name under which an arm's training is tracked."""
        return f"{arm} {repeat + 1}"

    def _train_arm(self, repeat: int, arm: str) -> None:
        done = self._done()
        if f"{repeat}/{arm}" in done:
            self._progress.advance(
                self.settings.steps + (MAKERS[arm].work(self.settings.generator_steps) if arm in MAKERS else 0)
            )
            return
        images, targets = self._training_set(repeat, arm)
        self._progress.stage(self._stage(repeat, f"training: {arm}"))
        model = self._fresh_model(repeat)
        part = self._path(repeat, arm, "part")
        train_classifier(
            model,
            images,
            targets,
            steps=self.settings.steps,
            seed=derive(self.settings.seed, "batches", arm, repeat),
            validation=self._validation,
            series=self._run.series if repeat == 0 else None,
            player=self.player(repeat, arm),
            checkpoint=Checkpoint(part),
            progress=self._progress,
        )
        weights = plain_weights(model)
        write_atomically(self._path(repeat, arm, "safetensors"), save(weights))
        accuracy = float((predict(model, self._validation[0]) == self._validation[1]).double().mean())
        write_atomically(self._folder / "done.json", json.dumps({**done, f"{repeat}/{arm}": accuracy}))
        part.unlink(missing_ok=True)

    def _training_set(self, repeat: int, arm: str) -> tuple[Tensor, Tensor]:
        images, labels = self._tensors(self.rows(repeat))
        targets = one_hot(labels, len(self.data.classes))
        if arm == BASELINE:
            return images, targets
        if arm == MIX:
            made = [self.samples(repeat, name) for name in SYNTHETIC]
            share = [slice(index, None, len(SYNTHETIC)) for index in range(len(SYNTHETIC))]
            added = torch.cat([m.images[s] for m, s in zip(made, share, strict=True)])
            soft = torch.cat([m.targets[s] for m, s in zip(made, share, strict=True)])
        else:
            one = self.samples(repeat, arm)
            added, soft = one.images, one.targets
        return torch.cat([images, added]), torch.cat([targets, soft])

    def _real(self, repeat: int) -> Real:
        images, labels = self._tensors(self.rows(repeat))
        return Real(images, labels, len(self.data.classes), self.model(repeat, BASELINE))

    def _workplace(self, repeat: int, maker: Maker) -> Workplace:
        return Workplace(
            steps=self.settings.generator_steps,
            series=self._run.series if repeat == 0 else None,
            player=self.player(repeat, maker.name),
            checkpoint=Checkpoint(self._path(repeat, maker.name, "generator")),
            progress=self._progress,
        )

    def _fresh_model(self, repeat: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.settings.seed, "weights", repeat))
            model = self._new_model()
            if model is self._last:
                raise InputError(
                    "the model function returned the same network twice", remedy="make a new network at every call"
                )
            self._last = model
            return model.to(self._device)

    def _tensors(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.data.images[rows]).to(self._device)
        return images, torch.from_numpy(self.data.labels[rows]).to(self._device)

    def _stage(self, repeat: int, what: str) -> str:
        return f"repeat {repeat + 1} of {self.settings.repeats}, {what}"

    def _path(self, repeat: int, arm: str, ending: str) -> Path:
        return self._folder / f"{repeat}-{arm}.{ending}"

    def _done(self) -> dict[str, float]:
        path = self._folder / "done.json"
        if not path.exists():
            return {}
        try:
            done: dict[str, float] = json.loads(path.read_text())
        except ValueError as error:
            raise RunError(f"{path} is damaged", remedy="start a new run") from error
        return done


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's weights and buffers on the CPU, none sharing memory with another, as a file holds them."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}


def check_model(make: Callable[[], nn.Module], data: ImageSet) -> nn.Module:
    """Return a model made to try it, after seeing that it classifies these images.

    Raises:
        InputError: It is no module, has nothing to train, cannot take the images, or gives no logits of the classes.
    """
    with torch.random.fork_rng(devices=[]):
        model: Any = make()
        if not isinstance(model, nn.Module):
            raise InputError(f"the model function returned a {type(model).__name__}", remedy="return a torch.nn.Module")
        images, classes = torch.from_numpy(data.images[:2]), len(data.classes)
        try:
            with torch.no_grad():
                logits = model.eval()(images)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the model cannot take images of shape {tuple(images.shape)} and type float32 ({reason})",
                remedy="make one for this shape",
            ) from error
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("the model has no parameter to train", remedy="make one that has")
    if not isinstance(logits, Tensor) or logits.shape != (2, classes) or logits.dtype != torch.float32:
        what = f"{tuple(logits.shape)} {logits.dtype}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the model returns {what} for two images", remedy=f"return float32 logits (2, {classes})")
    return model


def _keep(path: Path, samples: Samples) -> None:
    descent = json.dumps([asdict(one) for one in samples.descent])
    write_npz(
        path,
        images=samples.images.cpu().numpy(),
        targets=samples.targets.cpu().numpy(),
        descent=np.array(descent),
        model=np.array(samples.model or ""),
    )


def _kept(arrays: Mapping[str, npt.NDArray[Any]], device: torch.device) -> Samples:
    descent = [Descent(**{**one, "parents": tuple(one["parents"])}) for one in json.loads(str(arrays["descent"]))]
    images, targets = (torch.from_numpy(arrays[name]).to(device) for name in ("images", "targets"))
    return Samples(images, targets, descent, str(arrays["model"]) or None)
