"""The controls: the real samples again, shifted, or mixed."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import pad

from gradtape import seeding
from gradtape.synthesis.maker import Descent, Maker, Real, Samples, Workplace, one_hot, parents_of

_MIXUP_ALPHA = 0.4


class Repeat(Maker):
    """The real samples once more: what equal counts alone do."""

    name = "repeat"
    title = "the real images repeated"
    control = True

    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return the real samples in turn."""
        rows = parents_of(real, n)
        descent = [Descent((parent,)) for parent in rows.tolist()]
        return Samples(real.images[rows], one_hot(real.labels[rows], real.classes), descent, None)


class Shift(Maker):
    """The real samples moved by a pixel or so; what comes in from outside is empty.

    The largest shift is a fourteenth of the shorter side, at least one pixel; no sample stays where it was.
    """

    name = "shift"
    title = "pixel shifts"
    control = True

    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return ``n`` shifted samples."""
        random = seeding.generator(seed, "shifts")
        rows = parents_of(real, n)
        height, width = real.images.shape[-2:]
        reach = max(1, round(min(height, width) / 14))
        moves = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1) if dy or dx]
        chosen = torch.randint(len(moves), (n,), generator=random).tolist()
        padded = pad(real.images[rows], (reach, reach, reach, reach))
        images = torch.empty_like(real.images[rows])
        for index, (dy, dx) in enumerate(moves):
            hit = torch.tensor([choice == index for choice in chosen], device=rows.device)
            top, left = reach - dy, reach - dx
            images[hit] = padded[hit, :, top : top + height, left : left + width]
        descent = [
            Descent((parent,), settings={"down": moves[choice][0], "right": moves[choice][1]})
            for parent, choice in zip(rows.tolist(), chosen, strict=True)
        ]
        return Samples(images, one_hot(real.labels[rows], real.classes), descent, None)


class Mixup(Maker):
    """Convex combinations of two real samples and of their labels, with a share from Beta(0.4, 0.4).

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """

    name = "mixup"
    title = "mixup of images and labels"
    control = True

    def make(self, real: Real, n: int, seed: int, workplace: Workplace) -> Samples:
        """Return ``n`` mixed samples, with soft labels."""
        draws = np.random.default_rng(seeding.derive(seed, "mixup"))
        first = parents_of(real, n)
        second = torch.from_numpy(draws.integers(len(real.labels), size=n)).to(first.device)
        share = torch.from_numpy(draws.beta(_MIXUP_ALPHA, _MIXUP_ALPHA, size=n).astype(np.float32)).to(first.device)
        targets = one_hot(real.labels, real.classes)
        images = torch.lerp(real.images[first], real.images[second], share.view(-1, 1, 1, 1))
        mixed = torch.lerp(targets[first], targets[second], share.view(-1, 1))
        descent = [
            Descent((i, j), settings={"share": round(u, 6)})
            for i, j, u in zip(first.tolist(), second.tolist(), share.tolist(), strict=True)
        ]
        return Samples(images, mixed, descent, None)
