"""Schedules: a setting as a function of the position, counted in steps from 0.

A schedule is a callable from an integer to a number; any other callable will do in its place. It has no state: the
position belongs to the transformation that follows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gradtape.errors import InputError

__all__ = ["Schedule", "constant", "cosine", "dann", "linear", "piecewise", "power", "warmup"]


class Schedule:
    """A function from a position to a number that prints as it was made.

    Args:
        name: What it is called.
        function: From the position, an integer from 0 up, to the number.
        settings: What it was made with, for printing.

    Examples:
        >>> linear(0, 1, total_steps=4)
        linear(start=0, end=1, total_steps=4)
        >>> [linear(0, 1, total_steps=4)(position) for position in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, name: str, function: Callable[[int], float], **settings: Any) -> None:
        self._name = name
        self._function = function
        self._settings = settings

    def __call__(self, position: int) -> float:
        """Return the number at a position."""
        return self._function(position)

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{name}={value!r}' for name, value in self._settings.items())})"


def constant(value: float) -> Schedule:
    """Return the schedule that stays at ``value``."""
    return Schedule("constant", partial(_constant, value), value=value)


def linear(start: float, end: float, total_steps: int) -> Schedule:
    """Return the schedule that goes from ``start`` to ``end`` in a straight line, and stays there."""
    _steps("linear", total_steps)
    return Schedule("linear", partial(_linear, start, end, total_steps), start=start, end=end, total_steps=total_steps)


def cosine(start: float, end: float, total_steps: int) -> Schedule:
    """Return the schedule that goes from ``start`` to ``end`` along half a cosine, and stays there.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017.
    """
    _steps("cosine", total_steps)
    return Schedule("cosine", partial(_cosine, start, end, total_steps), start=start, end=end, total_steps=total_steps)


def dann(total_steps: int, gamma: float = 10.0, strength: float = 1.0) -> Schedule:
    """Return the slow ramp of domain-adversarial training, from 0 to nearly ``strength``.

    ``λ = strength · (2 / (1 + exp(-gamma · p)) - 1)``, where p goes from 0 to 1 over ``total_steps``

    Args:
        total_steps: Steps of the whole training, at least 1; afterwards it stays where it is.
        gamma: How steep the ramp is.
        strength: What it approaches; it reaches 0.9999 of it with the default gamma.

    Examples:
        >>> [round(dann(100)(position), 4) for position in (0, 10, 50, 100, 500)]
        [0.0, 0.4621, 0.9866, 0.9999, 0.9999]

    Source: Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016.
    """
    _steps("dann", total_steps)
    if not 0 < gamma < 500:
        raise InputError(f"gamma is {gamma}", remedy="give a number above 0 and below 500; 10 is usual")
    return Schedule(
        "dann", partial(_dann, total_steps, gamma, strength), total_steps=total_steps, gamma=gamma, strength=strength
    )


def warmup(steps: int, after: float | Callable[[int], float] = 1.0) -> Schedule:
    """Return the schedule that climbs from 0 in a straight line over ``steps``, then does as ``after`` says.

    Args:
        steps: Length of the climb, at least 1.
        after: A number, or a schedule that starts at its own position 0 when the climb ends, and whose first value the
            climb leads to.

    Examples:
        >>> [warmup(2, linear(1, 0, total_steps=4))(position) for position in range(5)]
        [0.0, 0.5, 1.0, 0.75, 0.5]
    """
    _steps("warmup", steps)
    return Schedule("warmup", partial(_warmup, steps, after), steps=steps, after=after)


def piecewise(values: Mapping[int, float]) -> Schedule:
    """Return the schedule that jumps to a value at each given position and keeps it until the next.

    Args:
        values: First position of a piece -> its value; position 0 must be among them.

    Examples:
        >>> [piecewise({0: 0.0, 2: 0.5, 3: 1.0})(position) for position in range(5)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if 0 not in values or min(values) < 0:
        raise InputError(f"piecewise begins at {min(values, default=None)}", remedy="give a value from position 0 on")
    return Schedule("piecewise", partial(_piecewise, dict(values)), values=dict(values))


def power(start: float, exponent: float) -> Schedule:
    """Return the schedule ``start / (1 + position) ** exponent``, which decays and never reaches 0.

    With ``exponent=0.275`` as the standard deviation of ``Noise``, this is annealed gradient noise.

    Source: Neelakantan et al., Adding Gradient Noise Improves Learning for Very Deep Networks, 2015 (its variance
    decays with exponent 0.55).
    """
    return Schedule("power", partial(_power, start, exponent), start=start, exponent=exponent)


def _steps(name: str, steps: int) -> None:
    if steps < 1:
        raise InputError(f"{name} was given {steps} steps", remedy="give at least 1")


# Functions of the module, so that a schedule can be pickled.


def _constant(value: float, position: int) -> float:
    return value


def _linear(start: float, end: float, steps: int, position: int) -> float:
    return start + (end - start) * min(position / steps, 1.0)


def _cosine(start: float, end: float, steps: int, position: int) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(position / steps, 1.0))) / 2


def _dann(steps: int, gamma: float, strength: float, position: int) -> float:
    return strength * (2 / (1 + math.exp(-gamma * min(position / steps, 1.0))) - 1)


def _warmup(steps: int, after: float | Callable[[int], float], position: int) -> float:
    if position < steps:
        return (after(0) if callable(after) else after) * position / steps
    return after(position - steps) if callable(after) else after


def _piecewise(values: Mapping[int, float], position: int) -> float:
    return values[max(first for first in values if first <= position)]


def _power(start: float, exponent: float, position: int) -> float:
    return float(start / (1 + position) ** exponent)
