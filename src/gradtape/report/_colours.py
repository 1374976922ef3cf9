"""The heat map's colours: a path through Oklab from dark violet to pale yellow, even to the eye."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

# (lightness, chroma, hue in degrees) that the path runs through
_KNOTS = ((0.24, 0.10, 302.0), (0.40, 0.115, 272.0), (0.56, 0.105, 215.0), (0.72, 0.13, 160.0), (0.93, 0.16, 104.0))


def oklab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Oklab (n, 3) to sRGB (n, 3); outside [0, 1] where the colour cannot be shown (Ottosson 2020)."""
    l_, a, b = lab[:, 0], lab[:, 1], lab[:, 2]
    long = (l_ + 0.3963377774 * a + 0.2158037573 * b) ** 3
    mid = (l_ - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (l_ - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * mid + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * mid - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * mid + 1.7076147010 * short
    linear = np.stack([red, green, blue], axis=1)
    size = np.abs(linear)
    curved = np.where(size <= 0.0031308, 12.92 * size, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.asarray(np.sign(linear) * curved)


@cache
def colour_map(count: int = 64) -> tuple[str, ...]:
    """Hex colours from low to high, equally far apart in Oklab.

    >>> colour_map(64)[0], colour_map(64)[-1], len(colour_map(64))
    ('#290d45', '#faed5f', 64)
    """
    lab = np.array([(k[0], k[1] * math.cos(math.radians(k[2])), k[1] * math.sin(math.radians(k[2]))) for k in _KNOTS])
    place = np.linspace(0.0, len(_KNOTS) - 1.0, 2001)
    path = np.stack([_smooth(place, lab[:, i]) for i in range(3)], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    even = np.linspace(0.0, length[-1], count)
    lab_even = np.stack([np.interp(even, length, path[:, i]) for i in range(3)], axis=1)
    for _ in range(40):  # pull what the screen cannot show towards grey
        rgb = oklab_to_srgb(lab_even)
        outside = ((rgb < 0) | (rgb > 1)).any(axis=1)
        lab_even[outside, 1:] *= 0.97
    whole = np.rint(np.clip(oklab_to_srgb(lab_even), 0, 1) * 255).astype(int)
    return tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in whole)


def _smooth(place: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Catmull-Rom curve through equally spaced knots."""
    padded = np.concatenate([[2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]])
    start = np.minimum(place.astype(int), len(knots) - 2)
    t = place - start
    p0, p1, p2, p3 = (padded[start + i] for i in range(4))
    out = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.asarray(out)
