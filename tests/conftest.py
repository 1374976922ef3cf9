"""Finished and half-finished jobs, made once for all rooms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.augmentation import jobs


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the jobs of this session are kept."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def digits(base: Path) -> jobs.Digits:
    return jobs.digits(base)


@pytest.fixture(scope="session")
def finished(base: Path) -> Path:
    return jobs.finished(base)[0]


@pytest.fixture
def ready(base: Path, tmp_path: Path) -> Path:
    """A copy of the run in which everything is trained and nothing delivered."""
    return jobs.copy(jobs.ready(base)[0], tmp_path / "ready")
