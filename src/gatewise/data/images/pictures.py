"""Read pictures (PNG, JPEG) as arrays of one size and with the same channels."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gatewise.kinds.captions import OtherMode, OtherSize

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}
"""Pillow's name for so many channels."""
_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True)
class Wanted:
    """What every picture is brought to, or refused if it is not so."""

    channels: int
    height: int
    width: int
    other_size: OtherSize
    other_mode: OtherMode


def read_picture(path: Path, wanted: Wanted) -> NDArray[np.uint8]:
    """The pixels [C, H, W] of a PNG or JPEG file, turned upright as the camera says.

    What is transparent becomes white. Raises ValueError, with the file, for one that cannot be read or that
    is of another size or mode where that is refused.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # of damaged remarks beside the pixels
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                return _pixels(image, wanted, path)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture of PNG or JPEG: convert it, or leave it out") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{path} has too many pixels for a picture: make it smaller") from None
    except (OSError, SyntaxError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{path} cannot be read as a picture ({reason}): get it again") from None


def _pixels(image: Image.Image, wanted: Wanted, path: Path) -> NDArray[np.uint8]:
    mode = MODES[wanted.channels]
    if image.mode not in _EIGHT_BITS:
        raise ValueError(f"{path}: mode {image.mode}, of more than 8 bits a channel: save it with 8 bits")
    if image.mode != mode and wanted.other_mode == "refuse":
        raise ValueError(
            f"{path}: mode {image.mode}, where {mode} is asked for: convert it, or set "
            f"data.other_mode=convert"
        )
    size = (wanted.width, wanted.height)
    if wanted.other_size != "refuse":
        image.draft(None, (2 * size[0], 2 * size[1]))  # a JPEG is decoded no larger than is of use
    image = ImageOps.exif_transpose(image)
    if image.size != size and wanted.other_size == "refuse":
        raise ValueError(
            f"{path}: {image.width} × {image.height} pixels, where {size[0]} × {size[1]} are asked for: "
            f"set data.other_size=resize or crop, or data.width and data.height"
        )
    if image.mode != mode:
        image = _opaque(image).convert(mode)
    if image.size != size and wanted.other_size == "crop":
        image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    elif image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _opaque(image: Image.Image) -> Image.Image:
    """A picture without transparency, over white."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [C, H, W] as the content of a PNG file."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1).copy())
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
