"""What a game refuses, each in one sentence, before anything moves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.games.diversity import ModeSeeking
from gradtape.games.losses import LOSSES
from gradtape.games.penalties import Penalty
from gradtape.games.views import Packing, View


def check_settings(loss: object, latent: object, solver: str, unroll: int, generator_every: int) -> None:
    """Refuse settings that are unknown, out of range, or do not go together."""
    if isinstance(loss, str) and loss not in LOSSES:
        raise InputError(f"there is no loss {loss!r}", remedy=f"use one of {', '.join(LOSSES)}")
    if solver not in ("auto", "one-pass", "alternating"):
        raise InputError(f"there is no solver {solver!r}", remedy="use auto, one-pass or alternating")
    if isinstance(latent, int) and latent < 1:
        raise InputError(f"latent is {latent}", remedy="give the size of z, at least 1, or a function from n to z")
    if unroll < 0 or generator_every < 1:
        raise InputError(
            f"unroll is {unroll} and generator_every is {generator_every}",
            remedy="give unroll from 0 up and generator_every from 1 up",
        )
    if unroll and solver == "one-pass":
        raise InputError(
            f"unroll={unroll} looks ahead of the discriminator and one-pass does not",
            remedy="use solver='auto' or 'alternating'",
        )


def check_parts(
    generator: nn.Module,
    discriminator: nn.Module,
    penalties: Sequence[Penalty],
    views: Sequence[View],
    diversity: Sequence[ModeSeeking],
) -> None:
    """Refuse players that share parameters, and parts that are of another kind or in the wrong order."""
    if any(isinstance(view, Packing) for view in views[:-1]):
        raise InputError("Packing is not the last of the views", remedy="put it at the end")
    shared = {id(p) for p in generator.parameters()} & {id(p) for p in discriminator.parameters()}
    if shared:
        raise InputError(
            f"generator and discriminator share {len(shared)} parameter{'s' if len(shared) > 1 else ''}",
            remedy="give each its own",
        )
    for kind, given in ((Penalty, penalties), (View, views), (ModeSeeking, diversity)):
        if not isinstance(given, Sequence) or not all(isinstance(part, kind) for part in given):
            raise InputError(f"{given!r} is no list of {kind.__name__}", remedy="give a list, such as [gt.R1(0.1)]")


def check_batch(
    real: Tensor, condition: Tensor | None, views: Sequence[View], diversity: Sequence[ModeSeeking]
) -> None:
    """Refuse a batch that cannot be learnt from."""
    if not real.is_floating_point():
        raise InputError(f"the batch is of {real.dtype}", remedy="give floats, such as images divided by 255")
    if not len(real) or not bool(real.isfinite().all()):
        what = "is empty" if not len(real) else "holds values that are not finite"
        raise InputError(f"the batch of shape {tuple(real.shape)} {what}", remedy="leave such samples out")
    if condition is not None and len(condition) != len(real):
        raise InputError(
            f"{len(real)} samples and a condition of length {len(condition)}", remedy="give one for each sample"
        )
    if condition is not None and condition.is_floating_point() and not bool(condition.isfinite().all()):
        raise InputError("the condition holds values that are not finite", remedy="leave such samples out")
    if diversity and len(real) < 2:
        raise InputError("a batch of one has no pairs for the terms of diversity", remedy="give 2 samples or more")
    for view in views:
        if condition is not None and isinstance(view, Packing):
            raise InputError(
                "Packing judges several samples at once and each has a condition of its own",
                remedy="leave one of them out; a discriminator with MinibatchStdDev goes with conditions",
            )
        view.check(real.shape)
