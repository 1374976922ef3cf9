"""The report of the main job, made from what the run folder holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gradtape.augmentation.deliver import PICTURES
from gradtape.augmentation.experiment import ARMS, BASELINE, SYNTHETIC, TITLES
from gradtape.augmentation.outcome import points
from gradtape.report import FindingRow, ImageGroup, IntervalRow, Line, Page
from gradtape.runs import Run
from gradtape.synthesis import MAKERS
from gradtape.tracking import History, players, read_history

_FIGURES = {"precision": "precision", "recall": "recall", "density": "density", "coverage": "coverage"}
_ROWS_SHOWN = 20
_SHOWN_PIXELS = 20
_SMOOTHED = 15
_Result = Mapping[str, Any]


def render(run: Run) -> str:
    """Return the report of a finished experiment as one self-contained HTML page; same run folder, same bytes.

    Raises:
        RunError: The run folder holds no result, or a part of it is damaged.
    """
    return run.shown(_page)


def _page(run: Run, result: _Result) -> str:
    pictures = run.read_arrays(PICTURES)
    histories = {name: read_history(run.series, name) for name in players(run.series)}
    packages = run.info["packages"]
    data, settings = result["data"], result["settings"]
    page = Page(
        f"gradtape augment {data['name']}",
        subtitle=f"{data['train']:,} real labelled images, {settings['per_class']} of each of {len(data['classes'])} "
        f"classes, and {settings['added'] * data['train']:,} new ones made from them",
        footer=f"gradtape {packages['gradtape']}, torch {packages['torch']}, seed {settings['seed']}",
    )
    _verdict(page, result)
    _arms(page, result)
    _samples(page, result, pictures)
    _evidence(page, result)
    _learning(page, run, histories)
    _gradients(page, result, histories)
    _protocol(page, result)
    return page.html()


def _verdict(page: Page, result: _Result) -> None:
    section = page.section("Did the synthetic data help?")
    verdict, data = result["verdict"], result["data"]
    kind: Literal["yes", "no", "note"] = {"yes": "yes", "no": "no", "hurts": "no"}.get(verdict["helped"], "note")  # type: ignore[assignment]
    section.verdict(kind, _minus(verdict["sentence"]))
    section.text(_minus(f"{verdict['beyond_control']['sentence']}\n\n**What to do.** {verdict['advice']}"))
    arms = result["arms"]
    section.facts(
        [
            ("training images", data["train"]),
            ("validation", data["validation"]),
            ("test, opened once", data["test"]),
            ("paired repeats", result["settings"]["repeats"]),
            ("accuracy, real alone", _percent(np.mean(arms[BASELINE]["test"]))),
            (f"with {result['best_synthetic']}", _percent(np.mean(arms[result["best_synthetic"]]["test"]))),
        ]
    )


def _arms(page: Page, result: _Result) -> None:
    arms, n = result["arms"], result["settings"]["repeats"]
    section = page.section(
        "Every arm, equal counts and equal steps",
        "Paired gain in test accuracy over the real images alone; the arm was chosen on validation before.",
    )
    marked = {result["chosen"], result["best_synthetic"]}
    section.intervals(
        [
            IntervalRow(name, *_ends(arms[name]["gain"]), note=arms[name]["kind"], highlight=name in marked)
            for name in ARMS
            if name != BASELINE
        ],
        caption=f"95% intervals over {n} paired repeats. Highlighted: the best synthetic arm and the best of all arms, "
        "both by validation. The others are shown for comparison; of so many, one may stray from 0 by chance.",
    )
    section.table(
        ["arm", "what is added", "kind", "validation %", "test %", "gain, points", "95% interval"],
        [
            [
                name,
                TITLES[name],
                arm["kind"],
                round(100 * float(np.mean(arm["validation"])), 1),
                round(100 * float(np.mean(arm["test"])), 1),
                None if arm["gain"] is None else round(arm["gain"]["mean"], 1),
                None if arm["gain"] is None else _range(arm["gain"]),
            ]
            for name, arm in ((name, arms[name]) for name in ARMS)
        ],
        highlight=ARMS.index(result["chosen"]),
        caption=f"Means over {n} repeats. The row in focus was chosen on validation.",
    )
    section.table(
        ["class", "test images", "real alone %", f"with {result['best_synthetic']} %", "gain, points", "95% interval"],
        [
            [
                row["name"],
                row["n"],
                _points(row["real"]),
                _points(row["best_synthetic"]),
                None if row["gain"] is None else round(row["gain"]["mean"], 1),
                None if row["gain"] is None else _range(row["gain"]),
            ]
            for row in result["per_class"]
        ],
        caption="The same by class: a gain on average can hide a loss for one.",
    )


def _samples(page: Page, result: _Result, pictures: Mapping[str, npt.NDArray[Any]]) -> None:
    section = page.section(
        "Real beside synthetic", "The first repeat's real images, and what each maker made of them; a row per class."
    )
    classes = result["data"]["classes"][:_ROWS_SHOWN]
    groups = []
    for name in (BASELINE, *MAKERS):
        images, labels = pictures[f"{name}_images"], pictures[f"{name}_labels"]
        rows = [np.flatnonzero(labels == label) for label in range(len(classes))]
        width = max(1, *(len(row) for row in rows))
        sheet = np.zeros((len(classes) * width, *images.shape[1:]), dtype=np.float32)
        for index, row in enumerate(rows):
            sheet[index * width : index * width + len(row)] = images[row]
        groups.append((width, ImageGroup(name, sheet, row_labels=classes)))
    columns = groups[0][0]
    section.images([group for width, group in groups if width == columns], columns=columns, pixels=_SHOWN_PIXELS)
    for width, group in groups:
        if width != columns:
            section.images([group], columns=width, pixels=_SHOWN_PIXELS)


def _evidence(page: Page, result: _Result) -> None:
    evidence = result["evidence"]
    section = page.section(
        "Evidence",
        f"Samples of the first repeat against {evidence['fresh']:,} real images that nothing was made from, in the "
        f"space of {evidence['space']}.",
    )
    columns, rows = ["figure", "real against real"], []
    makers = {name: evidence["makers"][name] for name in SYNTHETIC}
    for figure in _FIGURES:
        of_makers = [None if m["fidelity"] is None else m["fidelity"][figure] for m in makers.values()]
        floor = next((one["floor"] for one in of_makers if one is not None), None)
        rows.append([figure, floor, *(None if one is None else round(one["synthetic"], 3) for one in of_makers)])
    frechet = [None if m["fidelity"] is None else m["fidelity"]["frechet"] for m in makers.values()]
    floor = next((one["floor"] for one in frechet if one is not None), None)
    rows.append(["Fréchet distance", floor, *(None if one is None else one["synthetic"] for one in frechet)])
    ceiling = evidence["agreement_of_real"]
    agreed = [None if m["agreement"] is None else m["agreement"]["all"]["mean"] for m in makers.values()]
    rows.append(["label agreed by a judge", None if ceiling is None else ceiling["mean"], *agreed])
    near = [m["nearness"] for m in makers.values()]
    rows.append(["closer than real (AUC)", 0.5, *(one["closer_than_real"]["mean"] for one in near)])
    rows.append(["exact copies", near[0]["control_copies"]["mean"], *(one["copies"]["mean"] for one in near)])
    rows = [[row[0], *(None if cell is None else f"{cell:.3g}" for cell in row[1:])] for row in rows]
    section.table(
        [*columns, *makers],
        rows,
        numeric=range(1, 2 + len(makers)),
        caption="Half of the fresh images are the reference, the other half stand where synthetic images stand, at the "
        "same n: read each figure beside theirs. Precision: synthetic samples that "
        "look real. Recall and coverage: how much of the real variety is there. Closer than real: the chance that a "
        "synthetic image lies nearer to a training image than a fresh real one does; .5 is no nearer.",
    )
    section.text(
        "\n\n".join(
            f"**{name}.** {_agreed(maker, ceiling)}{maker['nearness_sentence']}" for name, maker in makers.items()
        )
    )
    lines = [_density(name, maker["nearness"], "synthetic") for name, maker in makers.items()]
    section.lines(
        [*lines, _density("fresh real", next(iter(makers.values()))["nearness"], "control")],
        x_label="distance to the nearest training image",
        y_label="density",
        caption="How near the training images",
    )
    per_class = [[name, *(_points(_agreement(m, name)) for m in makers.values())] for name in result["data"]["classes"]]
    section.details("Label agreement by class, in %", per_class, columns=["class", *makers])


def _learning(page: Page, run: Run, histories: Mapping[str, History]) -> None:
    section = page.section("Learning curves", "The first repeat; all arms start from the same weights.")
    names = run.series.names()
    accuracy, losses = [], []
    for arm in ARMS:
        player = f"{arm} 1"
        if f"{player}/accuracy" in names:
            series = run.series.read(f"{player}/accuracy")
            accuracy.append(Line(arm, series.steps, series.values[:, 0]))
        if player in histories:
            losses.append(Line(arm, histories[player].steps, _smooth(histories[player].loss)))
    section.lines(accuracy, y_label="accuracy", caption="Validation accuracy")
    section.lines(losses, y_label="loss", log_y=True, caption=f"Training loss, mean of {_SMOOTHED} steps")
    game = [name for name in histories if "/" in name]
    if game:
        norms = [
            Line(name.split("/")[1], histories[name].steps, _smooth(_total_norm(histories[name]))) for name in game
        ]
        section.lines(norms, y_label="gradient norm", log_y=True, caption="The game: both players' gradients")


def _gradients(page: Page, result: _Result, histories: Mapping[str, History]) -> None:
    section = page.section(
        "Gradients", "The 2-norm of every parameter's gradient at every step; from the input at the top to the output."
    )
    shown = [BASELINE, result["best_synthetic"], result["chosen"]]
    names = [name for name in histories if "/" in name or name.removesuffix(" 1") in shown]
    choices = {
        name: (histories[name].parameters, histories[name].steps, histories[name].measures["grad_norm"].T)
        for name in names
    }
    section.heatmap(choices=choices, unit="gradient norm", caption="Gradient norm per parameter and step")
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


def _protocol(page: Page, result: _Result) -> None:
    data, settings, outputs = result["data"], result["settings"], result["outputs"]
    section = page.section("How it was done", data["note"])
    drawn = (
        "Each repeat draws its own real images from the pool, so the intervals count the luck of that draw."
        if data["redrawn"]
        else "The pool holds no more than these images, so all repeats share them: the intervals count the luck of "
        "weights, batches and makers only."
    )
    section.text(
        f"Test ({data['test']:,}) and validation ({data['validation']:,}) were split off, by class, before anything "
        f"was made. {drawn} Within a repeat all arms share the real images and the initial weights, "
        f"train {settings['steps']:,} steps of 64 images, and get {settings['added']} added images per real one. The "
        "choice among arms used validation accuracy alone; then the test set was opened, once, for every arm. "
        f"The evidence uses images of the {result['evidence']['fresh_from']} that no maker saw. {_copies(data)}\n\n"
        f"Delivered: {outputs['synthetic']['n']:,} images by **{outputs['synthetic']['maker']}** in "
        f"`{outputs['synthetic']['folder']}/` and `{outputs['synthetic']['array']}`, one line of lineage for each in "
        f"`{outputs['synthetic']['lineage']}` (parents, node, objective, seed, model hash), and the classifier of "
        f"**{outputs['model']['arm']}** in `{outputs['model']['file']}`."
    )
    section.details("Settings", [(name, value) for name, value in settings.items()])
    section.details("SHA-256 of what was written", list(outputs["sha256"].items()))


def _agreed(maker: _Result, ceiling: _Result | None) -> str:
    """Say how many of a maker's labels the judge agrees with, beside how many of fresh real images."""
    if maker["agreement"] is None or ceiling is None:
        return ""
    found = maker["agreement"]["all"]
    below = " Some of its labels are wrong." if found["high"] < ceiling["low"] else ""
    return f"A judge agrees with {found['mean']:.0%} of its labels, with {ceiling['mean']:.0%} of real ones.{below} "


def _copies(data: _Result) -> str:
    copies = data["copies_in_test"]
    if not copies:
        return "No test image is a copy of one outside the test set."
    return f"**{copies:,} test images are exact copies of images outside the test set**: remove them and run again."


def _agreement(maker: _Result, name: str) -> float | None:
    value: float | None = None if maker["agreement"] is None else maker["agreement"]["per_class"][name]
    return value


def _density(name: str, nearness: _Result, which: str) -> Line:
    edges, counts = np.array(nearness["edges"]), np.array(nearness["counts"][which], dtype=float)
    return Line(name, (edges[1:] + edges[:-1]) / 2, counts / max(1.0, counts.sum()) / np.diff(edges))


def _range(interval: _Result) -> str:
    return _minus(f"{points(interval['low'])} to {points(interval['high'])}")


def _minus(text: str) -> str:
    """Return the text with a minus sign, not a hyphen, before numbers."""
    return re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", text)


def _ends(gain: _Result) -> tuple[float, float, float]:
    return gain["mean"], gain["low"], gain["high"]


def _points(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _percent(share: Any) -> str:
    return f"{100 * float(share):.1f}%"


def _total_norm(history: History) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = np.sqrt(np.nansum(np.square(history.measures["grad_norm"]), axis=1))
    return total


def _smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean of the last few values at every step."""
    width = min(_SMOOTHED, len(values))
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    counts = np.minimum(np.arange(1, len(values) + 1), width)
    means: npt.NDArray[np.float64] = (sums[1:] - sums[np.arange(1, len(values) + 1) - counts]) / counts
    return means
