"""Pictures for media_goldens.py, and how they are saved."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Soft gradients, one hard edge and some noise."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    row, column, channel = np.ogrid[:height, :width, :channels]
    noise = np.random.default_rng(width * 1000 + height).integers(0, 24, (height, width, channels))
    values = row * (3 + channel) * 200 // height + column * (5 - channel) * 150 // width + noise
    values = values + 90 * ((row + 2 * column) % 40 > 19)
    pixels = np.where(values // 256 % 2, 255 - values % 256, values % 256).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif
