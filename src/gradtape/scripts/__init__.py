"""Programs of other people: run them as they are, and see what they train."""

from gradtape.scripts.program import Ending, Program
from gradtape.scripts.session import Session

__all__ = ["Ending", "Program", "Session"]
