"""A test set that can be opened once."""

from __future__ import annotations

from typing import NoReturn

from gradtape.data.images import ImageSet
from gradtape.errors import GradtapeError

__all__ = ["SealedTest"]


class SealedTest:
    """A test set behind a seal: its size and classes are known, its images are not, and it opens once.

    What is chosen while looking at the test set is no longer measured by it. So training and choosing get this object,
    and the report opens it at the end. It is a guard against mistakes, not against intent.

    Args:
        test: The images to seal.

    Examples:
        >>> from gradtape.data import read
        >>> sealed = SealedTest(read("digits").take([0, 1, 2]))
        >>> sealed, len(sealed)
        (SealedTest(3 images, sealed), 3)
        >>> len(sealed.open().images)
        3
        >>> sealed
        SealedTest(3 images, opened)
    """

    __slots__ = ("_classes", "_length", "_sealed")

    def __init__(self, test: ImageSet) -> None:
        self._sealed: ImageSet | None = test
        self._length = len(test)
        self._classes = test.classes

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self._classes

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"SealedTest({self._length:,} images, {'sealed' if self._sealed is not None else 'opened'})"

    def open(self) -> ImageSet:
        """Break the seal and return the images.

        Raises:
            GradtapeError: The seal was broken before.
        """
        test, self._sealed = self._sealed, None
        if test is None:
            raise GradtapeError(
                f"the test set of {self._length:,} images was opened before",
                remedy="measure on it once, after everything is chosen, and keep the result",
            )
        return test

    def __reduce__(self) -> NoReturn:
        raise GradtapeError(
            "a sealed test set cannot be copied or pickled, since each copy could be opened",
            remedy="pass this object on, or open it and pass its images on",
        )
