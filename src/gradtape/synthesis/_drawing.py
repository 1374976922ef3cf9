"""Sheets of images, scatters of points and walks through the latents, as bytes of PNG and GIF files."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_TILE = 48  # pixels that an image is enlarged to at least, by a whole factor
_GAP = 2
_GROUND = 236
_SCATTER = 560  # pixels a side
_REAL, _MADE = (150, 156, 164), (0, 121, 107)
_BINS = 40
Floats = NDArray[np.float64]


def sheet(images: Floats, columns: int) -> Image.Image:
    """Return images (n, c, h, w) in [0, 1] side by side, enlarged by a whole factor."""
    n, channels, height, width = images.shape
    scale = max(1, math.ceil(_TILE / max(height, width)))
    tiles = np.rint(images.clip(0, 1) * 255).astype(np.uint8).repeat(scale, 2).repeat(scale, 3)
    down, across = height * scale + _GAP, width * scale + _GAP
    rows = math.ceil(n / columns)
    drawn = np.full((channels, rows * down + _GAP, columns * across + _GAP), _GROUND, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * down + _GAP, index % columns * across + _GAP
        drawn[:, top : top + height * scale, left : left + width * scale] = tile
    return Image.fromarray(drawn[0] if channels == 1 else np.ascontiguousarray(drawn.transpose(1, 2, 0)))


def scatter(real: Floats, made: Floats) -> Image.Image:
    """Return samples over real points, both (n, d): two columns as dots, one column as a histogram.

    Of more than two columns the two first principal components of the real points are shown.
    """
    if real.shape[1] == 1:
        return _histogram(real[:, 0], made[:, 0])
    if real.shape[1] > 2:
        mean = real.mean(axis=0)
        axes = np.linalg.svd(real - mean, full_matrices=False)[2][:2].T
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # the same way up on every machine
        real, made = (real - mean) @ axes, (made - mean) @ axes
    low, high = real.min(axis=0), real.max(axis=0)
    room = np.where(high > low, high - low, 1.0)
    picture = Image.new("RGB", (_SCATTER, _SCATTER), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    for points, colour, radius in ((real, _REAL, 2.0), (made, _MADE, 2.0)):
        spots = (0.1 + 0.8 * (points - low) / room) * _SCATTER
        for x, y in spots[((spots > 0) & (spots < _SCATTER)).all(axis=1)].tolist():
            y = _SCATTER - y
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return _legend(picture)


def walk(frames: list[Image.Image]) -> bytes:
    """Return frames as a GIF that repeats for ever."""
    buffer = io.BytesIO()
    flat = [frame if frame.mode == "L" else frame.quantize(128, Image.Quantize.FASTOCTREE) for frame in frames]
    flat[0].save(buffer, "GIF", save_all=True, append_images=flat[1:], duration=80, loop=0, optimize=False)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """Return a picture as bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _histogram(real: Floats, made: Floats) -> Image.Image:
    edges = np.linspace(real.min(), real.max() if real.max() > real.min() else real.min() + 1, _BINS + 1)
    picture = Image.new("RGB", (_SCATTER, _SCATTER), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    shares = [np.histogram(values, edges)[0] / max(1, len(values)) for values in (real, made)]
    top = max(share.max() for share in shares) or 1.0
    step = 0.8 * _SCATTER / _BINS
    for index, heights in enumerate(zip(*shares, strict=True)):
        for height, colour, part in zip(heights, (_REAL, _MADE), (0.0, 0.5), strict=True):
            left = 0.1 * _SCATTER + (index + part) * step
            pen.rectangle((left, _SCATTER * (0.9 - 0.8 * height / top), left + step / 2, 0.9 * _SCATTER), fill=colour)
    return _legend(picture)


def _legend(picture: Image.Image) -> Image.Image:
    pen = ImageDraw.Draw(picture)
    for index, (text, colour) in enumerate((("real", _REAL), ("samples", _MADE))):
        pen.rectangle((12, 12 + 16 * index, 20, 20 + 16 * index), fill=colour)
        pen.text((26, 10 + 16 * index), text, fill=(60, 64, 70))
    return picture
