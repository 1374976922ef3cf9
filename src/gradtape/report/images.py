"""Sheets of images side by side, each sheet one PNG inside the page."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradtape.errors import InputError
from gradtape.report._markup import caption_of, escape, inline, need
from gradtape.report._numbers import number

WIDTH = 960  # CSS pixels that the sheets of one figure share on a wide screen
BUDGET = 56_000  # bytes of one PNG; a larger one loses colours first, then resolution
LOUD = (255, 0, 170)  # where a pixel is nan or infinite


@dataclass(frozen=True)
class ImageGroup:
    """Images that become one sheet, filled row by row.

    Args:
        caption: Name of the sheet, such as "real".
        images: (n, h, w) or (n, c, h, w) with c of 1 or 3, values in [0, 1]; nan and inf are drawn in magenta.
        labels: A short caption under every image, n of them.
        row_labels: A short name at the left of every row of the sheet, such as its class.

    Examples:
        >>> import numpy as np
        >>> ImageGroup("real", np.zeros((20, 8, 8))).caption
        'real'
    """

    caption: str
    images: ArrayLike
    labels: Sequence[str] | None = None
    row_labels: Sequence[str] | None = None


def pixels_of(group: ImageGroup) -> NDArray[np.uint8]:
    """The images as bytes: (n, h, w) in grey or (n, h, w, 3) in colour.

    >>> pixels_of(ImageGroup("a", [[[0.0, 1.0]]])).tolist()
    [[[0, 255]]]
    """
    raw = np.asarray(group.images, dtype=np.float64)
    name = f"the images of {group.caption!r} have the shape {raw.shape}"
    if raw.ndim == 4 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim not in (3, 4) or (raw.ndim == 4 and raw.shape[1] != 3) or 0 in raw.shape:
        raise InputError(name, remedy="give (n, h, w), (n, 1, h, w) or (n, 3, h, w) with n of at least 1")
    if raw.ndim == 4:
        raw = raw.transpose(0, 2, 3, 1)
    good = np.isfinite(raw)
    seen = raw[good]
    if seen.size and (seen.min() < -0.01 or seen.max() > 1.01):
        raise InputError(
            f"the images of {group.caption!r} run from {seen.min():.4g} to {seen.max():.4g}",
            remedy="scale them to [0, 1]",
        )
    out: NDArray[np.uint8] = np.rint(np.clip(np.where(good, raw, 0.0), 0, 1) * 255).astype(np.uint8)
    if not good.all():
        if out.ndim == 3:
            out, good = np.repeat(out[..., None], 3, axis=3), np.repeat(good[..., None], 3, axis=3)
        out[~good.all(axis=3)] = LOUD
    return out


def reduced(tiles: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Tiles averaged over blocks of factor by factor pixels, for a page that shows them far smaller than they are.

    >>> reduced(np.array([[[0, 10], [20, 30]]], np.uint8), 2).tolist()
    [[[15]]]
    """
    n, h, w = tiles.shape[:3]
    factor = min(factor, h, w)
    if factor < 2:
        return tiles
    cut = tiles[:, : h // factor * factor, : w // factor * factor]
    blocks = cut.reshape(n, h // factor, factor, w // factor, factor, *tiles.shape[3:])
    out: NDArray[np.uint8] = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return out


def sheet(tiles: NDArray[np.uint8], columns: int, *, gap: int = 1, strip: int = 0) -> NDArray[np.uint8]:
    """Tiles in reading order on a transparent ground: (rows*(h+gap+strip) - gap, columns*(w+gap) - gap, 2 or 4).

    ``strip`` is room under every tile, in pixels of the sheet.

    >>> sheet(np.full((3, 1, 1), 7, np.uint8), 2)[:, :, 0].tolist()
    [[7, 0, 7], [0, 0, 0], [7, 0, 0]]
    """
    n, h, w = tiles.shape[:3]
    colour = tiles.reshape(n, h, w, -1)
    rows = math.ceil(n / columns)
    step_y, step_x = h + gap + strip, w + gap
    out = np.zeros((rows * step_y - gap, columns * step_x - gap, colour.shape[3] + 1), np.uint8)
    for index in range(n):
        y, x = index // columns * step_y, index % columns * step_x
        out[y : y + h, x : x + w, :-1] = colour[index]
        out[y : y + h, x : x + w, -1] = 255
    return out


def png(pixels: NDArray[np.uint8], budget: int = BUDGET) -> bytes:
    """The sheet as PNG bytes, with fewer colours and then at half the size if it is over the budget."""
    from PIL import Image

    full = Image.fromarray(pixels, "LA" if pixels.shape[2] == 2 else "RGBA")
    image = full
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        if len(buffer.getvalue()) <= budget or min(full.size) < 16:
            return buffer.getvalue()
        if image.mode in ("LA", "RGBA"):
            image = full.convert("RGBA").quantize(128 if pixels.shape[2] == 4 else 32, Image.Quantize.FASTOCTREE)
        else:
            full = full.resize((full.width // 2, full.height // 2), Image.Resampling.BOX)
            image = full


def _tile_size(shapes: Sequence[tuple[int, int]], across: Sequence[int]) -> int:
    """CSS pixels of a tile: the largest whole multiple at which the sheets share the width, from 20 to 64."""
    side = max(w for _, w in shapes)
    room = (WIDTH - 36 * (len(across) - 1)) / sum(across)
    if room < 20:
        room = (WIDTH - 40) / max(across)
    room = max(room, 20.0)
    return min(int(room) // (side + 1), 64 // side) * side or min(int(room), 64)


def images_html(
    groups: Sequence[ImageGroup], *, columns: int = 20, pixels: int | None = None, caption: str = ""
) -> str:
    """The sheets side by side; see Section.images."""
    if not groups:
        raise InputError("images() got no groups", remedy="give at least one ImageGroup")
    if columns < 1 or (pixels is not None and pixels < 4):
        raise InputError(f"columns is {columns}, pixels is {pixels}", remedy="give columns >= 1 and pixels >= 4")
    tiles = [pixels_of(group) for group in groups]
    across = [min(columns, len(t)) for t in tiles]
    size = pixels or _tile_size([(t.shape[1], t.shape[2]) for t in tiles], across)
    sheets = [_sheet_html(g, t, a, size) for g, t, a in zip(groups, tiles, across, strict=True)]
    return f'<figure class="images"><div class="sheets">{"".join(sheets)}</div>{caption_of(caption)}</figure>'


def _sheet_html(group: ImageGroup, tiles: NDArray[np.uint8], columns: int, size: int) -> str:
    need(group.caption, "the caption of an image group")
    full_h, full_w = tiles.shape[1:3]
    tiles = reduced(tiles, full_w // (2 * size))
    n, h, w = tiles.shape[:3]
    if group.labels is not None and len(group.labels) != n:
        raise InputError(f"{group.caption!r} has {n} images and {len(group.labels)} labels", remedy="give one for each")
    rows = math.ceil(n / columns)
    if group.row_labels is not None and len(group.row_labels) != rows:
        raise InputError(
            f"{group.caption!r} has {rows} rows and {len(group.row_labels)} row labels", remedy="give one for each row"
        )
    scale = size / w
    strip = math.ceil(16 / scale) if group.labels is not None else 0
    gap = max(1, round(2 / scale))
    drawn = sheet(tiles, columns, gap=gap, strip=strip)
    height, width = drawn.shape[:2]
    source = base64.b64encode(png(drawn)).decode()
    many, lines = "s" * (n != 1), "s" * (rows != 1)
    alt = f"{group.caption}: {number(n)} image{many} of {full_w} by {full_h} pixels in {rows} row{lines}"
    crisp = " pixelated" if scale > 1 else ""
    picture = (
        f'<img class="sheet{crisp}" src="data:image/png;base64,{source}" alt="{escape(alt)}" '
        f'width="{round(width * scale)}" height="{round(height * scale)}">'
    )
    if group.labels is not None:
        cells = []
        for index, text in enumerate(group.labels):
            top = (index // columns * (h + gap + strip) + h) / height
            left = index % columns * (w + gap) / width
            place = f"top:{100 * top:.2f}%;left:{100 * left:.2f}%;width:{100 * w / width:.2f}%"
            cells.append(f'<span style="{place}">{escape(text)}</span>')
        picture = f'<div class="labelled" style="width:{round(width * scale)}px">{picture}{"".join(cells)}</div>'
    if group.row_labels is not None:
        names = "".join(f"<span>{escape(text)}</span>" for text in group.row_labels)
        picture = f'<div class="rowed"><div class="rows" aria-hidden="true">{names}</div>{picture}</div>'
    return f'<div class="group"><h3>{inline(group.caption)}</h3><div class="scroll">{picture}</div></div>'
