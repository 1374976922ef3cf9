"""What the main job can be asked."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from gradtape.errors import InputError


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
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

        Examples:
            >>> AugmentSettings.of(quick=True, per_class=5, steps=None).steps
            100
        """
        base = {"steps": 100, "generator_steps": 150} if quick else {}
        asked = {**base, **{name: value for name, value in given.items() if value is not None}}
        try:
            return cls(**asked)
        except ValidationError as error:
            first = error.errors()[0]
            name, kind, limits = str(first["loc"][0]), first["type"], first.get("ctx", {})
            if kind == "unexpected_keyword_argument":
                raise InputError(
                    f"there is no setting {name!r}", remedy=f"use {', '.join(cls.__annotations__)}"
                ) from None
            remedy = {
                "greater_than_equal": f"give at least {limits.get('ge')}",
                "less_than_equal": f"give at most {limits.get('le')}",
            }.get(kind, "give a whole number")
            raise InputError(f"--{name.replace('_', '-')} is {first['input']!r}", remedy=remedy) from None
