"""Histories made by hand: a healthy one in which things can be changed, and one for each rule that makes it speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradtape.tracking import Activations, Finding, History, Settings
from gradtape.tracking.rules.underflow import BINS

NAMES = ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias")
SHAPES = ((8, 4), (8,), (8, 8), (8,), (4, 8), (4,))


def settings(optimizer: str = "SGD", **changes: Any) -> Settings:
    """Settings of six parameters."""
    given: dict[str, Any] = {
        "eps": (1e-8 if optimizer == "Adam" else np.nan,) * 6,
        "weight_decay": (0.0,) * 6,
        "dtypes": ("float32",) * 6,
        "shapes": SHAPES,
    }
    return Settings(optimizer, **{**given, **changes})


def history(steps: int = 100, first: int = 0, **changes: Any) -> History:
    """A healthy history in which single measures and fields can be replaced."""
    shape = (steps, len(NAMES))
    fields = {name: changes.pop(name) for name in list(changes) if name in History._fields}
    measures = {
        "grad_norm": np.full(shape, 0.3),
        "weight_norm": np.full(shape, 2.0),
        "update_ratio": np.full(shape, 1e-3),
        "nonfinite_count": np.zeros(shape),
        **changes,
    }
    measures.setdefault("raw_grad_norm", measures["grad_norm"])
    measures.setdefault("update_norm", measures["update_ratio"] * measures["weight_norm"])
    given = {"settings": settings(), "lr": np.full(shape, 0.1), "loss": np.linspace(2.0, 1.0, steps), **fields}
    return History("net", NAMES, np.arange(first, first + steps), measures, **given)


def column(values: object, index: int, rest: float = 0.3, steps: int = 100) -> np.ndarray:
    """A matrix that is ``rest`` but for one column."""
    matrix = np.full((steps, len(NAMES)), rest)
    matrix[:, index] = values
    return matrix


def growing(growth: float, at: int, steps: int = 100) -> np.ndarray:
    """Gradient norms that are ``growth`` times as large from a step on."""
    return np.where(np.arange(steps) < at, 1.0, growth)[:, None] * np.full((steps, len(NAMES)), 0.3)


def from_step(at: int, before: float, after: float, steps: int = 100) -> np.ndarray:
    """A matrix that changes at a step."""
    return np.where(np.arange(steps) < at, before, after)[:, None] * np.ones((1, len(NAMES)))


def read_every(every: int, matrix: np.ndarray) -> np.ndarray:
    """What a dear measure reads: rows in between are NaN."""
    read = np.full(matrix.shape, np.nan)
    read[every - 1 :: every] = matrix[every - 1 :: every]
    return read


def only(found: list[Finding]) -> Finding:
    """The one finding."""
    (finding,) = found
    return finding


def histogram(zero: float, shares: Mapping[str, float], steps: int = 100) -> dict[str, np.ndarray]:
    """A gradient histogram that is the same for all parameters, read at every 8th step."""
    full = {"zero": zero, **{name: shares.get(name, 0.0) for name in BINS}}
    return {f"grad_histogram / {name}": read_every(8, np.full((steps, 6), value)) for name, value in full.items()}


def noise(steps: int, size: float, seed: int = 0) -> np.ndarray:
    """Normal noise, shape (steps,)."""
    return size * np.random.default_rng(seed).standard_normal(steps)


def game(own: float | np.ndarray, others: float | np.ndarray, **changes: Any) -> History:
    """A discriminator of 100 steps and its rival, with gradients that are so many times 0.3 after step 40."""
    rival = history(grad_norm=growing(others, 40) if np.isscalar(others) else others)._replace(player="generator")  # type: ignore[arg-type]
    mine = history(grad_norm=growing(own, 40) if np.isscalar(own) else own, **changes)  # type: ignore[arg-type]
    return mine._replace(player="discriminator", rivals=(rival,))


def generator(spread: np.ndarray) -> History:
    """A generator whose outputs have this spread at each 16th step."""
    read = np.full((16 * len(spread), 1), np.nan)
    read[15::16, 0] = spread
    made = history(16 * len(spread), activations={"spread": Activations(("(output)",), read)})
    return made._replace(player="generator", rivals=(history()._replace(player="discriminator"),))


def judging(**logged: np.ndarray) -> History:
    """A discriminator of 300 steps that says 0 of real and generated samples at each step, or what is given."""
    said = {"real": np.zeros(300), "fake": np.zeros(300), **logged}
    return history(300, logged=said)._replace(player="discriminator")


def runaway(power: float, at_100: float = 8.0, steps: int = 300) -> np.ndarray:
    """Logits that grow as a power of the step."""
    return at_100 * (np.arange(steps) / 100) ** power


def looked_at(values: float | np.ndarray, every: int = 15, steps: int = 300) -> np.ndarray:
    """Numbers that are logged at every so-manieth step only."""
    read = np.full(steps, np.nan)
    read[every - 1 :: every] = values
    return read


def _rising_again() -> np.ndarray:
    return np.concatenate([np.linspace(2, 1, 60), np.full(60, 1.9)]) + noise(120, 0.01)


EXAMPLES: dict[str, Callable[[], History]] = {
    "non-finite": lambda: history(nonfinite_count=column(np.arange(100) == 30, 2, rest=0.0)),
    "no gradient": lambda: history(grad_norm=column(np.nan, 2)),
    "frozen parameter": lambda: history(update_ratio=column(0.0, 2, rest=1e-3)),
    "no-op adversary": lambda: history(
        reversals={
            "reversal": {
                "calls": np.ones(100),
                "attached": np.ones(100),
                "arriving": np.full(100, 1e-12),
                "strength": np.ones(100),
            }
        }
    ),
    "initialisation": lambda: history(weight_norm=column(200.0, 2, rest=2.0)),
    "unnormalised inputs": lambda: history(grad_norm=column(0.3 * 200, 0)),
    "underflow": lambda: history(settings=settings("Adam"), grad_norm=np.full((100, 6), 1e-10)),
    "dead layer": lambda: history(zero_units=read_every(8, column(0.9, 3, rest=0.0))),
    "saturated": lambda: history(
        activations={"saturation": Activations(("1", "3"), read_every(8, np.tile([0.95, 0.1], (100, 1))))}
    ),
    "clipped": lambda: history(raw_grad_norm=np.full((100, 6), 300.0)),
    "learning rate too high": lambda: history(120, loss=_rising_again()),
    "update too large": lambda: history(update_ratio=column(0.06, 2, rest=1e-3)),
    "loss spike ahead": lambda: history(grad_norm=column(np.where(np.arange(100) == 70, 30.0, 0.3), 0)),
    "exploding": lambda: history(grad_norm=growing(101.0, 40)),
    "vanishing": lambda: history(grad_norm=column(1e-5, 0)),
    "update too small": lambda: history(update_ratio=column(5e-7, 2, rest=1e-3)),
    "learning rate too low": lambda: history(
        200, update_ratio=np.full((200, 6), 5e-7), loss=2 + noise(200, 0.1), lr=np.full((200, 6), 1e-6)
    ),
    "stalled": lambda: history(update_ratio=np.full((100, 6), 1e-9)),
    "conflicting losses": lambda: history(conflicts={"a | b": read_every(8, column(-0.5, 2, rest=0.1))}),
    "noisy gradient": lambda: history(
        400, loss=2 + noise(400, 0.1), previous_cosine=read_every(16, noise(2400, 0.02).reshape(400, 6))
    ),
    "diverging game": lambda: judging(real=runaway(3.0)),
    "player too strong": lambda: game(0.1, 100.0),
    "mode collapse": lambda: generator(np.r_[np.full(10, 1.0), 0.5]),
    "memorisation": lambda: judging(training=looked_at(2.0), held_out=looked_at(1.0), generated=looked_at(0.0)),
    "overfit": lambda: history(
        logged={"val_loss": read_every(5, np.r_[np.linspace(2, 1, 50), np.linspace(1, 1.8, 50)][:, None])[:, 0]}
    ),
}
