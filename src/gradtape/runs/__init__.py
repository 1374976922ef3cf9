"""The run folder: what was asked, what was measured at every step, what came out."""

from gradtape.runs.catalogue import RunSummary, list_runs, next_path
from gradtape.runs.run import Run, Status
from gradtape.runs.store import Channel, Series, SeriesStore

__all__ = ["Channel", "Run", "RunSummary", "Series", "SeriesStore", "Status", "list_runs", "next_path"]
