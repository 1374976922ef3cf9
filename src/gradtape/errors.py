"""The errors gradtape raises on purpose. Each says what is wrong, where, and what to do."""

from collections.abc import Sequence


class GradtapeError(Exception):
    """Base of every error that gradtape raises on purpose.

    Args:
        what: What is wrong and where: the object, its shape or value, what was expected.
        remedy: What to do about it, an imperative without a final full stop.

    The command line prints ``str(error)``, one sentence, and exits with 2.

    Examples:
        >>> print(GradtapeError("strength is -inf", remedy="give a finite number"))
        strength is -inf: give a finite number
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


class InputError(GradtapeError, ValueError):
    """An argument or a setting that cannot be used: out of range, of the wrong shape, of an unknown name."""


class DataError(GradtapeError, ValueError):
    """Data that cannot be read or used: missing, empty, corrupt, of mixed sizes, with too few samples."""


class RunError(GradtapeError, OSError):
    """A run folder that cannot be written or read: no permission, disk full, damaged, in use."""


class TapeError(GradtapeError, RuntimeError):
    """A tape that cannot do what was asked: no such node, nothing recorded, a node outside the graph."""


class GradientError(GradtapeError, ArithmeticError):
    """Gradients that a training cannot go on with: not finite for too many steps in a row."""


class LeakError(GradtapeError):
    """Labels of the target that were touched where only unlabelled data may be used."""


def listed(names: Sequence[str]) -> str:
    """Return the first three names and how many more there are, for a sentence."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
