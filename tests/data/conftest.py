"""Fixtures of the room `data`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_images(tmp_path):
    """Write ``{"class/file.png": array or PIL image}`` below a new folder and return it."""

    def write(files: dict[str, object], root: str = "pets") -> Path:
        folder = tmp_path / root
        for name, picture in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
            image.save(path)
        return folder

    return write


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real data that others published; see the README of that folder."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("GRADTAPE_DATA") or beside)
    if not (folder / "mnist").is_dir():
        pytest.skip("no MNIST: set GRADTAPE_DATA to a folder that holds mnist/")
    return folder
