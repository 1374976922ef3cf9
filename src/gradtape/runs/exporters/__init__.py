"""Writers of a run's series in other programs' formats, one file for each."""

from gradtape.runs.exporters.registry import EXPORTERS, Exporter, export

__all__ = ["EXPORTERS", "Exporter", "export"]
