"""What a run of ``gradtape synthesize`` keeps: sheets on the way, a walk through the latents, pictures and figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradtape import seeding
from gradtape.atomic import write_atomically
from gradtape.data import write_npz
from gradtape.games import GAN
from gradtape.runs import Run
from gradtape.synthesis import _drawing
from gradtape.synthesis._conditions import Conditions
from gradtape.synthesis._plan import Plan
from gradtape.synthesis._samples import Images, Points
from gradtape.synthesis._weighed import Weighed, nearness_in_words
from gradtape.synthesis.page import PICTURES, render
from gradtape.training import Played

_FAR, _FAR_AT_LEAST = 3.0, 0.05  # times the floor, and beyond it, from which samples are called far from the data
_ACROSS = 10  # images in a row of a sheet
_ROWS = 10  # rows of a sheet, and classes that are shown
_DOTS = 1000  # points of a sheet
_LEGS, _FRAMES = 4, 12  # of a walk: places that it visits, and frames from one to the next
_WALKERS = 16


class Gallery:
    """Writes a run's pictures; every file appears whole, and again the same when a run is resumed.

    Args:
        run: The open run.
        kind: Kind of data.
        conditions: What samples can be asked for.
        data: The data, divided.
        seed: Seed of the latents; all sheets have the same.
    """

    def __init__(self, run: Run, kind: Images | Points, conditions: Conditions, data: Any, seed: int) -> None:
        self._run, self._kind, self._conditions, self._data = run, kind, conditions, data
        self._seed = seed
        classes = len(conditions.classes)
        self._rows = min(classes, _ROWS) if classes else 8
        self._n = self._rows * _ACROSS if isinstance(kind, Images) else _DOTS
        self._condition: Tensor | None = None
        if classes and isinstance(kind, Images):
            self._condition = torch.arange(self._rows).repeat_interleave(_ACROSS)
        else:
            self._condition = conditions.drawn(self._n, seeding.generator(seed, "sheets", "conditions"))

    def hang(self, step: int, game: GAN) -> None:
        """Write the sheet of a step."""
        samples = game.sample(self._n, self._told(game), seeding.generator(self._seed, "sheets"))
        path = self._run.path / "sheets" / _sheet(step)
        write_atomically(path, _drawing.png(self._drawn(samples)))

    def finish(self, game: GAN, played: Played, weighed: Weighed, made: Tensor, plan: Plan) -> None:
        """Write the walk, the pictures, the figures and the report."""
        if isinstance(self._kind, Images):
            write_atomically(self._run.path / "walk.gif", _drawing.walk(self._walked(game)))
        write_npz(self._run.path / PICTURES, **self._pictures(game, weighed, made))
        self._run.write_json("result.json", self._figures(played, weighed, plan))
        write_atomically(self._run.path / "report.html", render(self._run))

    def _told(self, game: GAN) -> Tensor | None:
        device = next(game.average.parameters()).device
        return None if self._condition is None else self._condition.to(device)

    def _drawn(self, samples: Tensor) -> Any:
        if isinstance(self._kind, Images):
            return _drawing.sheet(self._kind.shown(samples), _ACROSS)
        rows = [x.cpu().double().numpy() for x in (self._data.train[:_DOTS], samples)]
        return _drawing.scatter(*rows)

    @torch.no_grad()
    def _walked(self, game: GAN) -> list[Any]:
        """Return the frames of a walk from place to place and back to the first."""
        device = next(game.average.parameters()).device
        classes = len(self._conditions.classes)
        walkers = min(classes, _WALKERS) if classes else _WALKERS
        condition = (
            torch.arange(walkers)
            if classes
            else self._conditions.drawn(walkers, seeding.generator(self._seed, "walk", "conditions"))
        )
        told = () if condition is None else (condition.to(device),)
        random = seeding.generator(self._seed, "walk")
        places = [game.latent(walkers, random, torch.device("cpu")) for _ in range(_LEGS)]
        frames = []
        for start, end in zip(places, [*places[1:], places[0]], strict=True):
            for share in torch.arange(_FRAMES) / _FRAMES:
                z = _between(start, end, float(share))
                frames.append(
                    _drawing.sheet(self._kind.shown(game.average(z.to(device), *told)), math.ceil(walkers**0.5))
                )
        return frames

    def _pictures(self, game: GAN, weighed: Weighed, made: Tensor) -> dict[str, NDArray[Any]]:
        """Return what the report shows: in [0, 1] for images, in the user's units for points."""
        kind, data = self._kind, self._data
        if isinstance(kind, Points):
            real = kind.shown(data.train)
            return {"real": real[: 2 * _DOTS], "samples": kind.shown(made)[: 2 * _DOTS]}
        chosen = torch.tensor(self._real_rows())
        shown: dict[str, NDArray[Any]] = {
            "samples": kind.shown(game.sample(self._n, self._told(game), seeding.generator(self._seed, "sheets"))),
            "real": kind.shown(data.train[chosen.clamp(min=0)]) * (chosen >= 0).numpy()[:, None, None, None],
        }
        for name, source in (("samples", made), ("held out", data.held_out)):
            rows, found, _ = weighed.nearest[name]
            shown[f"{name} nearest"] = kind.shown(torch.cat([source[rows].cpu(), data.train[found].cpu()]))
        return {name: images.astype(np.float32) for name, images in shown.items()}

    def _real_rows(self) -> list[int]:
        """Return rows of real images that are laid out as the sheets are; -1 where a class has none to show."""
        if not self._conditions.classes:
            return list(range(min(self._n, len(self._data.train))))
        labels = self._data.train_condition.cpu()
        rows: list[int] = []
        for label in range(self._rows):
            found = torch.where(labels == label)[0].tolist() or [-1]
            rows += [found[index % len(found)] for index in range(_ACROSS)]
        return rows

    def _figures(self, played: Played, weighed: Weighed, plan: Plan) -> dict[str, Any]:
        kind, data, quality = self._kind, self._data, weighed.quality
        near = weighed.nearness
        what = "images" if isinstance(kind, Images) else "points"
        sentence = (
            f"After {quality.step:,} steps samples score {_figure(quality.value)} against {quality.n:,} held-out "
            f"{what}, where real {what} score {_figure(quality.floor)}; lower is better."
        )
        if quality.value > _FAR * quality.floor + _FAR_AT_LEAST:
            sentence += f" They are far from real {what}: train longer, or see the findings."
        if played.rollbacks and played.steps < plan.steps:
            sentence += f" Training stopped at step {played.steps:,} of {plan.steps:,}: {played.stopped}."
        figures: dict[str, Any] = _finite(
            {
                "data": {
                    "name": kind.pattern.name,
                    "kind": what,
                    "shape": list(kind.shape),
                    "columns": list(kind.pattern.columns) if isinstance(kind, Points) else [],
                    "train": len(data.train),
                    "held_out": len(data.held_out),
                    "classes": list(self._conditions.classes),
                    "attributes": self._conditions.attributes,
                },
                "plan": plan.to_json(),
                "seed": self._seed,
                "verdict": {"sentence": sentence},
                "quality": {**quality._asdict(), "curve": [[step, value] for step, value in played.quality]},
                "played": {
                    "steps": played.steps,
                    "best_step": played.best_step,
                    "stopped": str(played.stopped),
                    "rollbacks": [str(rollback) for rollback in played.rollbacks],
                },
                "findings": [finding._asdict() for finding in weighed.findings],
                "fidelity": None if weighed.fidelity is None else weighed.fidelity.to_dict(),
                "nearness": near.to_dict(),
                "nearness_sentence": nearness_in_words(near, what),
                "nearest": {name: found[2].tolist() for name, found in weighed.nearest.items()},
                "agreement": None
                if weighed.agreement is None
                else dict(zip(("samples", "held_out"), (one.to_dict() for one in weighed.agreement), strict=True)),
                "sheets": [_sheet(step) for step, _ in played.quality],
            }
        )
        return figures


def _sheet(step: int) -> str:
    return f"step-{step:05d}.png"


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return latents on the arc from one to the other, where Gaussian latents are likely; a chord passes inside it."""
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1).clamp(-0.9999, 0.9999)
    angle = cosine.acos()[:, None]
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _finite(content: Any) -> Any:
    """Return plain values with None in place of what JSON cannot hold."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
