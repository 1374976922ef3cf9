"""The run folder: what was asked, what was measured at every step, what came out."""

from gradtape.runs._out import check_out
from gradtape.runs.catalogue import RunSummary, list_runs, next_path
from gradtape.runs.channel import Channel
from gradtape.runs.exporters import EXPORTERS, Exporter, export
from gradtape.runs.run import Run, Status
from gradtape.runs.series import Envelope, Series
from gradtape.runs.store import SeriesStore

__all__ = [
    "EXPORTERS",
    "Channel",
    "Envelope",
    "Exporter",
    "Run",
    "RunSummary",
    "Series",
    "SeriesStore",
    "Status",
    "check_out",
    "export",
    "list_runs",
    "next_path",
]
