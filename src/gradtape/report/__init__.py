"""Building blocks for one self-contained HTML page: opens offline by double click, prints, reads well on a phone."""

from gradtape.report._numbers import Cell
from gradtape.report.findings import FindingRow
from gradtape.report.images import ImageGroup
from gradtape.report.intervals import IntervalRow
from gradtape.report.lines import Line
from gradtape.report.page import Page
from gradtape.report.scatter import Points
from gradtape.report.section import Section

__all__ = ["Cell", "FindingRow", "ImageGroup", "IntervalRow", "Line", "Page", "Points", "Section"]
