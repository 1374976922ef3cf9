"""Looks at a game on its way: the quality of samples, and what the discriminator says of rows that it never saw."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradtape.games import GAN
from gradtape.seeding import generator as random_stream
from gradtape.training._likeness import Likeness

Quality = Callable[[Tensor], float]

_JUDGED = 256  # rows of each kind that the discriminator is asked about


class Looks:
    """Measures a game without changing it; the same latents and rows at every look, so that looks can be compared.

    Args:
        game: The game.
        real: What is trained on, shape (n, ...).
        condition: Its conditions.
        held_out: Real samples that are not trained on.
        held_condition: Their conditions.
        quality: ``quality(samples)`` in place of the distance from the reference.
        seed: Seed of the choice of rows, and of the latents.

    Attributes:
        floor: What real rows score; NaN with another quality.
    """

    def __init__(
        self,
        game: GAN,
        real: Tensor,
        condition: Tensor | None,
        held_out: Tensor | None,
        held_condition: Tensor | None,
        quality: Quality | None,
        seed: int,
    ) -> None:
        self._game, self._seed, self._quality = game, seed, quality
        self._likeness = Likeness(real, condition, held_out, held_condition, seed)
        self.floor = self._likeness.floor if quality is None else math.nan
        self._rows: dict[str, tuple[Tensor, Tensor | None]] = {}
        if held_out is not None and game.judges_singly:  # else logits of batches of other sizes cannot be compared
            random = random_stream(seed, "judged")
            for name, rows, told in (("training", real, condition), ("held_out", held_out, held_condition)):
                chosen = torch.randperm(len(rows), generator=random)[:_JUDGED].to(rows.device)
                self._rows[name] = rows[chosen], None if told is None else told[chosen]

    def measure(self) -> tuple[float, dict[tuple[str, str], float]]:
        """Return the quality, and (player, name) -> a reading to be logged."""
        condition = self._likeness.condition
        n = len(self._likeness.reference)
        samples = self._game.sample(n, condition, random_stream(self._seed, "looks"))
        measured = self._likeness(samples)
        value = measured.value if self._quality is None else float(self._quality(samples))
        readings = {("generator", "quality"): value, ("generator", "coverage"): measured.coverage}
        if self._rows:
            made = samples[:_JUDGED], None if condition is None else condition[:_JUDGED]
            logits = {
                name: self._game.judge(*rows).double() for name, rows in (*self._rows.items(), ("generated", made))
            }
            readings |= {("discriminator", name): float(values.mean()) for name, values in logits.items()}
            errors = [float(logits[name].var(correction=0)) / len(logits[name]) for name in ("training", "held_out")]
            readings["discriminator", "logit_error"] = math.sqrt(sum(errors))
        return value, readings
