"""The report of an adaptation, made from what the run folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gradtape.report import FindingRow, IntervalRow, Line, Page, Points, Section
from gradtape.runs import Run

MAPS = "maps.npz"
_ANSWERS: dict[str, tuple[Literal["yes", "no", "note"], str]] = {
    "helps": ("yes", "Yes, "),
    "does not help": ("no", "No, "),
    "unknown": ("note", "Note: "),
}
_COLOURS = 10  # classes that have a colour of their own
_NAMED = 25  # classes whose shares are listed
_Result = Mapping[str, Any]


def render(run: Run) -> str:
    """Return the report of an adaptation as one self-contained HTML page; same run folder, same bytes.

    Raises:
        RunError: The run folder holds no result, or a part of it is damaged.
    """
    return run.shown(_page)


def _page(run: Run, result: _Result) -> str:
    packages, data = run.info["packages"], result["data"]
    page = Page(
        f"gradtape adapt {' + '.join(data['sources'])} to {data['target']}",
        subtitle=f"{data['source_rows']:,} labelled {_rows(data)} of the source, {data['target_rows']:,} of the target",
        footer=f"gradtape {packages['gradtape']}, torch {packages['torch']}, seed {result['seed']}",
    )
    _outcome(page, result)
    _candidates(page, result)
    _maps(page, run, result)
    _training(page, result)
    _confusion(page, result)
    _shares(page, result)
    return page.html()


def _rows(data: _Result) -> str:
    return "images" if data["kind"] == "images" else "rows"


def _outcome(page: Page, result: _Result) -> None:
    data = result["data"]
    measured = "Measured on labels of the target that nothing was chosen by." if result["gain"] is not None else ""
    section = page.section("Does adaptation help?", measured)
    kind, word = _ANSWERS[result["verdict"]["kind"]]
    section.verdict(kind, word + result["verdict"]["sentence"])
    figure, scale, places = _figure(result)
    section.table(
        ["", "method", "λ", "step", figure, "95% interval", "n"],
        [
            [
                row["name"],
                row["method"],
                _short(row["strength"]),
                row["step"],
                None if each is None else f"{each['mean'] * scale:.{places}f}",
                None if each is None else f"{each['low'] * scale:.{places}f} to {each['high'] * scale:.{places}f}",
                None if each is None else each["n"],
            ]
            for row, each in ((row, row["accuracy"]) for row in result["table"])
        ],
        highlight=next(i for i, row in enumerate(result["table"]) if row["name"] == "chosen"),
        numeric=range(2, 7),
        caption="The oracle is the best of all candidates on the target's labels: what a perfect choice would reach, "
        "and not to be had without labels."
        if result["oracle"] is not None
        else "No labels of the target were given, so nothing can be measured.",
    )
    if result["gain"] is not None:
        gain = {name: result["gain"][name] * scale for name in ("mean", "low", "high")}
        section.intervals(
            [IntervalRow("chosen minus source only", **gain, note=f"paired over {result['gain']['n']:,} rows")],
            unit="points" if scale == 100 else figure,
            caption="95% interval. What covers zero is no gain that can be told from chance.",
        )
    section.facts(
        [
            ("source", data["source_rows"]),
            ("target", data["target_rows"]),
            ("columns" if data["kind"] == "table" else "image", "x".join(map(str, data["shape"]))),
            ("candidates", len(result["candidates"])),
            ("findings", len(result["findings"])),
        ]
    )
    section.details("What was read", "\n\n".join(data["notes"]))


def _figure(result: _Result) -> tuple[str, int, int]:
    """What is measured, the factor by which it is shown, and its decimals."""
    return ("minus the error", 1, 3) if result["task"] == "regression" else ("accuracy, %", 100, 1)


def _short(strength: float | None) -> str | None:
    return None if strength is None else f"{strength:g}"


def _candidates(page: Page, result: _Result) -> None:
    by = result["select"]
    section = page.section(
        "All candidates",
        f"Chosen by {by}, without labels of the target."
        if by
        else "Nothing selected: the method as asked, at its last step.",
    )
    figure, scale, places = _figure(result)
    validators = sorted({name for each in result["candidates"] for name in each["scores"]})
    section.table(
        ["method", "λ", "step", *validators, figure],
        [
            [
                each["method"],
                _short(each["strength"]),
                each["step"],
                *(_score(each["scores"].get(name)) for name in validators),
                None if each["accuracy"] is None else f"{each['accuracy'] * scale:.{places}f}",
            ]
            for each in result["candidates"]
        ],
        highlight=result["chosen"],
        numeric=range(1, 4 + len(validators)),
        caption="Scores of validators: higher is better, and only comparable within a column. " * bool(validators)
        + "Accuracies were looked at when everything had been chosen." * (result["oracle"] is not None),
    )


def _score(score: float | None) -> float | None:
    return None if score is None else float(f"{score:.4g}")


def _maps(page: Page, run: Run, result: _Result) -> None:
    found, how = run.read_arrays(MAPS), result["projection"]
    section = page.section(
        "Features before and after",
        f"{how} of both domains together: each point is {_one(result)}. Where adaptation works, the two domains lie in "
        "the same places, and classes still lie apart.",
    )
    moved, labels = found["target"], found["labels"]
    for name, title in (("source only", "source only"), ("chosen", "after adaptation")):
        x, y = found[name].T
        groups = [Points("source", x[~moved], y[~moved]), Points("target", x[moved], y[moved], mark="cross")]
        section.scatter(groups, caption=f"Domains, {title}")
    there = set(labels.tolist())
    classes = [name for name in result["classes"] if name in there]
    classes += sorted(there.difference(classes))
    if result["task"] == "regression":
        return
    if len(classes) > _COLOURS:
        section.text(f"With {len(classes)} classes, more than can be told apart by colour, classes are not drawn.")
        return
    for name, title in (("source only", "source only"), ("chosen", "after adaptation")):
        x, y = found[name].T
        groups = [Points(each, x[labels == each], y[labels == each]) for each in classes]
        section.scatter(groups, caption=f"Classes, {title}")
    section.text("Classes are as given for the source, and as predicted for the target.")


def _one(result: _Result) -> str:
    return "an image" if result["data"]["kind"] == "images" else "a row"


def _training(page: Page, result: _Result) -> None:
    chosen = result["candidates"][result["chosen"]]
    section = page.section("Training of what was chosen", f"What was chosen is its state at step {chosen['step']:,}.")
    course, band = result["course"], result["band"]
    steps = course.get("step", [])
    names = [name for name in course if name != "step"]
    for name in (name for name in names if name.endswith("domain accuracy")):
        lines = [Line(name, steps, _numbers(course[name]))]
        if band is not None:
            low, high = band["low"], band["high"]
            flat = np.ones(len(steps))
            lines.append(Line("where it should lie", steps, flat * np.nan, flat * low, flat * high))
        section.lines(lines, y_label="share of rows", caption="How well the critic tells the domains apart")
    if "strength" in names and any(course["strength"]):
        section.lines([Line("λ", steps, _numbers(course["strength"]))], y_label="λ", caption="Strength of adaptation")
    losses = [name for name in names if name.endswith(("task", "term"))]
    for name in losses:
        title = "Task loss" if name == "task" else f"Loss of adaptation ({name})"
        section.lines([Line(name, steps, _numbers(course[name]))], y_label="loss", caption=title)
    if band is not None:
        section.text(band["sentence"])
    _balance(section, result["balance"])
    section.findings(
        [
            FindingRow(
                "error" if each["rule"] == "non-finite" else "warning",
                f"{each['rule']} in {each['player']}",
                each["where"],
                each["since_step"],
                each["evidence"],
                each["remedy"],
            )
            for each in result["findings"]
        ]
    )


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _balance(section: Section, balance: Sequence[_Result]) -> None:
    if not balance:
        return
    section.table(
        ["layer", "task gradient", "domain gradient", "domain / task", "cosine"],
        [
            [each["layer"], *(_score(each[name]) for name in ("task", "domain")), _ratio(each), _score(each["cosine"])]
            for each in balance
        ],
        numeric=range(1, 5),
        caption="Norms of the two gradients that meet in each layer of the features at the end, λ included. A ratio "
        "far below 0.01 adapts nothing, one far above 1 drowns the task; a cosine near −1 means that they disagree.",
    )


def _ratio(each: _Result) -> float | None:
    return _score(each["domain"] / each["task"]) if each["task"] and each["domain"] is not None else None


def _confusion(page: Page, result: _Result) -> None:
    found = result["confusion"]
    if found is None:
        return
    counts, classes = np.array(found["counts"], dtype=float), found["classes"]
    of = "target" if found["of"] == "target" else "part of the source that was kept from training"
    section = page.section("Which classes are confused", f"Predictions on the {of}: a row for each true class.")
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    section.heatmap(
        classes,
        np.arange(len(classes)),
        shares,
        log=False,
        unit="share of the true class",
        x_label="predicted class, in the order of the rows, from 0",
        caption="Confusion",
    )
    rows = [[name, *(int(count) for count in row)] for name, row in zip(classes, counts, strict=True)]
    section.details("The counts", rows, columns=["true class", *classes])


def _shares(page: Page, result: _Result) -> None:
    found = result["label_shift"]
    if found is None:
        return
    section = page.section("Shares of the classes", found["sentence"])
    classes = result["classes"]
    rows = [
        [name, *(f"{found[key][index]:.3f}" for key in ("source", "target", "low", "high"))]
        for index, name in enumerate(classes)
    ]
    rows.sort(key=lambda row: -abs(float(row[2]) - float(row[1])))
    section.table(
        ["class", "source", "target, estimated", "low", "high"],
        rows[:_NAMED],
        numeric=range(1, 5),
        caption="Estimated from predictions of source only, without labels of the target; largest difference first.",
    )
