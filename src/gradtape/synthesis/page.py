"""The report of a synthesis, made from what the run folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gradtape.errors import RunError
from gradtape.report import FindingRow, ImageGroup, Line, Page
from gradtape.runs import Run

PICTURES = "pictures.npz"
FIGURES = ("precision", "recall", "density", "coverage", "frechet")
"""Figures of fidelity, in the order in which they are shown."""
_ACROSS = 10
_SHEETS = 4  # sheets of training that are shown
_COLUMNS = 12  # columns of points whose figures are shown
_CHARTS = 6  # of them drawn
_BINS = 40
_Result = Mapping[str, Any]
_Pictures = Mapping[str, npt.NDArray[Any]]


def render(run: Run) -> str:
    """Return the report of a synthesis as one self-contained HTML page; same run folder, same bytes.

    Raises:
        RunError: The run folder holds no result, or a part of it is damaged.
    """
    return run.shown(_page)


def _page(run: Run, result: _Result) -> str:
    pictures = run.read_arrays(PICTURES)
    packages, data = run.info["packages"], result["data"]
    page = Page(
        f"gradtape synthesize {data['name']}",
        subtitle=f"{data['train']:,} real {data['kind']} to learn from, {data['held_out']:,} held out",
        footer=f"gradtape {packages['gradtape']}, torch {packages['torch']}, seed {result['seed']}",
    )
    _outcome(page, result)
    if data["kind"] == "images":
        _images(page, run, result, pictures)
    else:
        _points(page, run, result, pictures)
    _training(page, result)
    _evidence(page, result, pictures)
    return page.html()


def _outcome(page: Page, result: _Result) -> None:
    section = page.section("What came out")
    found = result["findings"]
    section.verdict("note", result["verdict"]["sentence"])
    section.facts(
        [
            ("steps", result["played"]["steps"]),
            ("best step", result["played"]["best_step"]),
            ("training samples", result["data"]["train"]),
            ("held out", result["data"]["held_out"]),
            ("findings", len(found)),
        ]
    )


def _images(page: Page, run: Run, result: _Result, pictures: _Pictures) -> None:
    classes = result["data"]["classes"]
    by_class = " A row per class." if classes else ""
    section = page.section("Samples", f"Real training images beside samples of the averaged generator.{by_class}")
    rows = classes[: len(pictures["samples"]) // _ACROSS] if classes else None
    groups = []
    for name in ("real", "samples"):
        images = pictures[name]
        groups.append(ImageGroup(name, images, row_labels=rows))
    section.images(groups, columns=_ACROSS)
    section.text("`walk.gif` in the run folder walks through the latents, from place to place and back to the first.")
    _sheets(page, run, result)


def _points(page: Page, run: Run, result: _Result, pictures: _Pictures) -> None:
    section = page.section("Samples", "Each column of the real points beside the same column of samples.")
    real, made = pictures["real"], pictures["samples"]
    names = result["data"]["columns"]
    section.table(
        ["column", "mean, real", "mean, samples", "deviation, real", "deviation, samples"],
        [
            [name, *(f"{float(value):.4g}" for pair in zip(real_, made_, strict=True) for value in pair)]
            for name, real_, made_ in (
                (name, (real[:, i].mean(), real[:, i].std()), (made[:, i].mean(), made[:, i].std()))
                for i, name in enumerate(names[:_COLUMNS])
            )
        ],
        numeric=range(1, 5),
        caption="" if len(names) <= _COLUMNS else f"The first {_COLUMNS} of {len(names)} columns.",
    )
    for index, name in [(i, name) for i, name in enumerate(names) if np.ptp(real[:, i])][:_CHARTS]:
        edges = np.linspace(real[:, index].min(), real[:, index].max(), _BINS + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        lines = [
            Line(label, middle, np.histogram(values[:, index], edges)[0] / len(values))
            for label, values in (("real", real), ("samples", made))
        ]
        section.lines(lines, x_label=name, y_label="share of points", caption=name)
    _sheets(page, run, result)


def _sheets(page: Page, run: Run, result: _Result) -> None:
    """Show a few of the sheets that were written while it trained."""
    names = result["sheets"]
    section = page.section("On the way", "The same latents at several steps of training.")
    if not names:
        section.text("No sheets were written.")
        return
    chosen = sorted({round(i * (len(names) - 1) / (_SHEETS - 1)) for i in range(_SHEETS)})
    groups = []
    for index in chosen:
        path = run.path / "sheets" / names[index]
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture) / 255
        except OSError as error:
            raise RunError(f"{path} is missing or damaged", remedy="start a new run") from error
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        step = int(names[index].removesuffix(".png").rpartition("-")[2])
        groups.append(ImageGroup(f"step {step:,}", pixels[None]))
    section.images(groups, columns=1, pixels=220)


def _training(page: Page, result: _Result) -> None:
    quality = result["quality"]
    section = page.section(
        "Quality while training",
        "Distance of samples from held-out data: lower is better, and real data score the floor.",
    )
    curve = [(step, value) for step, value in quality["curve"] if value is not None]
    if curve:
        steps = [step for step, _ in curve]
        lines = [Line("samples", steps, [value for _, value in curve])]
        if quality["floor"] is not None:
            lines.append(Line("floor: real data", steps, [quality["floor"]] * len(steps)))
        section.lines(lines, y_label="distance", log_y=True, caption="Distance from held-out data")
    section.text(f"It ended so: {result['played']['stopped']}. The samples are those of step {quality['step']:,}.")
    for said in result["played"]["rollbacks"]:
        section.text(f"**Taken back.** {said}")
    section.findings(
        [
            FindingRow(
                "error" if finding["rule"] == "non-finite" else "warning",
                f"{finding['rule']} in {finding['player']}",
                finding["where"],
                finding["since_step"],
                finding["evidence"],
                finding["remedy"],
            )
            for finding in result["findings"]
        ]
    )


def _evidence(page: Page, result: _Result, pictures: _Pictures) -> None:
    near = result["nearness"]
    section = page.section("Nearest real neighbours", result["nearness_sentence"])
    if result["data"]["kind"] == "images":
        for name, title in (
            ("samples", "samples over their nearest training images"),
            ("held out", "held-out images over theirs"),
        ):
            distances = [f"{value:.3f}" for value in result["nearest"][name]]
            section.images(
                [ImageGroup(title, pictures[f"{name} nearest"], labels=[*[""] * len(distances), *distances])],
                columns=len(distances),
            )
        section.text(
            "Shown are the ten that come nearest, of each. Distances are root mean squares over pixels in [0, 1]. "
            "Where samples come much nearer than held-out images do, training images show through."
        )
    edges = np.array(near["edges"])
    middle = (edges[1:] + edges[:-1]) / 2
    lines = []
    for name, label in (("synthetic", "samples"), ("control", "held out")):
        counts = np.array(near["counts"][name], dtype=float)
        lines.append(Line(label, middle, counts / max(1.0, counts.sum())))
    section.lines(
        lines,
        x_label="distance to the nearest training sample",
        y_label="share of samples",
        caption="How near the training data",
    )
    section = page.section("Fidelity", "Held-out data stand where samples stand: what a perfect generator would score.")
    rows: list[list[Any]] = []
    for name in FIGURES if result["fidelity"] else ():
        figure = result["fidelity"][name]
        cells = (figure["synthetic"], figure["floor"], figure["ceiling"])
        rows.append([figure["name"], *(None if cell is None else f"{cell:.3g}" for cell in cells)])
    if result["agreement"] is not None:
        cells = (result["agreement"]["samples"]["mean"], result["agreement"]["held_out"]["mean"], 1.0)
        rows.append(["class of the nearest real one", *(f"{cell:.3g}" for cell in cells)])
    rows.append(["closer than real (AUC)", f"{near['closer_than_real']['mean']:.3g}", "0.5", None])
    rows.append(["exact copies", f"{near['copies']['mean']:.3g}", f"{near['control_copies']['mean']:.3g}", "0"])
    section.table(
        ["figure", "samples", "held-out data", "best possible"],
        rows,
        numeric=range(1, 4),
        caption="Precision: samples that look real. Recall and coverage: how much of the real variety is there. Closer "
        "than real: the chance that a sample lies nearer to the training data than a held-out one; .5 is no nearer.",
    )
