"""One image file to an array of grey values or of red, green and blue."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradtape.data._assemble import check_size
from gradtape.data._files import readable
from gradtape.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


def read_picture(path: Path) -> NDArray[Any]:
    """Decode an image file: (h, w) for grey, (h, w, 3) for colour; uint8, or uint16 and float32 for deep grey.

    Palettes become colour, transparency is laid over white, a camera's rotation is applied, and of an animation the
    first frame is taken.
    """
    from PIL import Image, UnidentifiedImageError

    with readable(path):
        content = path.read_bytes()
    if not content:
        raise DataError(f"{path} is empty (0 bytes)", remedy="replace or remove this file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; the next one is no oddity
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                check_size(*image.size, f"{path} is")
                image.verify()  # checksums, which decoding alone does not look at
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                return _pixels(image)
    except (DataError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(
            f"{path} claims to hold an image too large to decode safely", remedy="resize or remove this file"
        ) from None
    except Exception as error:  # decoders raise nearly every kind on damaged files
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else _short(error)
        raise DataError(f"{path} cannot be decoded ({reason})", remedy="replace or remove this file") from None


def to_colour(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(h, w) or (h, w, 3) as (h, w, 3) of 8 bits."""
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def _pixels(image: Image.Image) -> NDArray[Any]:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode.startswith("I"):  # 16 bits of grey; "I" is what Pillow makes of some of them
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("grey values outside 0..65535")
        return deep.astype(np.uint16)
    if mode == "F":
        return np.asarray(image, dtype=np.float32)
    grey = mode in ("1", "L", "LA", "La")
    if "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _over_white(np.asarray(image.convert("RGBA")), grey)
    return np.asarray(image.convert("L" if grey else "RGB"))


def _over_white(rgba: NDArray[np.uint8], grey: bool) -> NDArray[np.uint8]:
    alpha = rgba[:, :, 3:].astype(np.float64) / 255.0
    colour = np.rint(rgba[:, :, :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return colour[:, :, 0] if grey else colour


def _short(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return text[:100] or type(error).__name__
