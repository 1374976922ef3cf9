"""Gradient tracking: what to read at every step, how to judge it, and what to do about it."""

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import Activations, History, Settings, players, read_history
from gradtape.tracking.measures import MEASURES, Measure, Reading
from gradtape.tracking.rules import RULES, judge
from gradtape.tracking.tracker import Tracker, track

__all__ = [
    "MEASURES",
    "RULES",
    "Activations",
    "Finding",
    "History",
    "Measure",
    "Reading",
    "Settings",
    "Tracker",
    "judge",
    "players",
    "read_history",
    "track",
]
