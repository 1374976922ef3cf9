"""What the main job can be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from gradtape.errors import InputError


@dataclass(frozen=True)
class AugmentSettings:
    """Settings of ``gradtape augment``.

    Attributes:
        per_class: Real labelled images of each class to train on, at least 2.
        added: New images per real one, at least 1; every arm gets as many.
        repeats: Paired repeats, at least 5; each draws its own real images, weights and batches.
        steps: Training steps of every classifier, at least 20.
        generator_steps: Training steps of the adversarial generator, at least 20.
        seed: Seed of everything random.
    """

    per_class: Annotated[int, Field(ge=2, le=100_000)] = 10
    added: Annotated[int, Field(ge=1, le=1000)] = 4
    repeats: Annotated[int, Field(ge=5, le=1000)] = 5
    steps: Annotated[int, Field(ge=20, le=10_000_000)] = 400
    generator_steps: Annotated[int, Field(ge=20, le=10_000_000)] = 800
    seed: int = 0

    @classmethod
    def of(cls, *, quick: bool = False, **given: Any) -> Self:
        """Return settings from those given; None leaves a default, ``quick`` makes the training defaults shorter.

        Raises:
            InputError: A setting is out of range or unknown.

        Example:
            >>> AugmentSettings.of(quick=True, per_class=5, steps=None).steps
            120
        """
        base = {"steps": 120, "generator_steps": 200} if quick else {}
        try:
            return replace(cls(), **{**base, **{name: value for name, value in given.items() if value is not None}})
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0]).replace("_", "-")
            reason = str(first["msg"]).replace("Input should be", "give a number")
            raise InputError(f"{option} is {first['input']!r}", remedy=reason) from None
        except TypeError as error:
            raise InputError(str(error).split(") ")[-1], remedy=f"use {', '.join(cls.__annotations__)}") from None
