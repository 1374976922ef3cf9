"""Small pairs of domains in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROWS = 60


def table(path: Path, seed: int, shift: float = 0.0, *, label: str | None = "state", rows: int = ROWS) -> Path:
    """A .csv with numbers, text and gaps; without ``label`` the same rows, and no column for it."""
    draws = np.random.default_rng(seed)
    sick = draws.random(rows) < 0.5
    age = draws.normal(50, 10, rows) + 6 * sick + 8 * shift
    city = np.where(draws.random(rows) < 0.3 + 0.4 * sick, "rome", "oslo")
    dose = draws.normal(size=rows) + 3 * sick - shift
    gaps = draws.random((2, rows)) < 0.1
    lines = ["age,city,dose" + (f",{label}" if label else "")]
    for i in range(rows):
        cells = ["" if gaps[0, i] else f"{age[i]:.1f}", "?" if gaps[1, i] else city[i], f"{dose[i]:.3f}"]
        lines.append(",".join([*cells, *(["sick" if sick[i] else "well"] if label else [])]))
    path.write_text("\n".join(lines) + "\n")
    return path


def images(path: Path, seed: int, *, side: int = 8, channels: int = 1, labels: bool = True) -> Path:
    """An .npz of two classes that differ in which half is bright; other sides show the same."""
    draws = np.random.default_rng(seed)
    classes = np.arange(40) % 2
    half = draws.integers(0, 90, (40, 8, 8))
    half[classes == 0, :4] += 150
    half[classes == 1, 4:] += 150
    grown = np.kron(half, np.ones((side // 8, side // 8), dtype=np.int64)).astype(np.uint8)
    pixels = grown if channels == 1 else np.stack([grown] * channels, axis=-1)
    np.savez(path, images=pixels, **({"labels": classes} if labels else {}))
    return path
