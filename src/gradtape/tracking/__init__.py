"""Gradient tracking: what to read at every step, how to judge it, and what to do about it."""

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, players, read_history
from gradtape.tracking.measures import MEASURES, Measure
from gradtape.tracking.rules import RULES, judge
from gradtape.tracking.tracker import Tracker, track

__all__ = ["MEASURES", "RULES", "Finding", "History", "Measure", "Tracker", "judge", "players", "read_history", "track"]
