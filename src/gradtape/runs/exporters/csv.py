"""A CSV file per channel, a row per step and column."""

from __future__ import annotations

import csv
from pathlib import Path

from gradtape.runs.exporters._source import Source, about, file_names


def write(source: Source, folder: Path) -> None:
    """Write ``step,column,value`` with the fewest digits that give the same float32; NaN is ``nan``."""
    files = file_names(source.series.names(), ".csv")
    for channel, file in files.items():
        with open(folder / file, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerow(("step", "column", "value"))
            for column, series in source.columns(channel):
                rows = zip(series.steps.tolist(), map(str, series.values[:, 0]), strict=True)
                lines.writerows((step, column, value) for step, value in rows)
    about(source, files, folder)
