"""Writes image_goldens.json: SHA-256 of CLIP's inputs as Pillow makes them, for pictures that tests/model/image makes likewise.

Run: python image_goldens.py   (needs numpy and Pillow below 13)

Pillow up to 12, and so the published model's code, always resizes along rows first. Pillow 13 goes along columns first when that
makes the smaller picture in between, which changes low bits of pictures that are not padded to a square.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image, __version__

PAD_COLOUR = (122, 116, 104)
STYLES = ("noise", "black and white", "waves")


def mixed(values: np.ndarray) -> np.ndarray:
    """A 32-bit integer hash (multiply and shift), element by element."""
    values = values.astype(np.uint32)
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x7FEB352D)
    values ^= values >> np.uint32(15)
    values *= np.uint32(0x846CA68B)
    return values ^ (values >> np.uint32(16))


def made_picture(width: int, height: int, style: str) -> Image.Image:
    """The same formulas as MadePicture in tests/model/image/made_picture.h."""
    row, column, channel = np.ogrid[:height, :width, :3]
    index = (row * width + column) * 3 + channel
    if style == "noise":
        pixels = mixed(index + width * 7919 + height) >> np.uint32(24)
    elif style == "black and white":
        pixels = np.where(mixed(row // 3 * 8191 + column // 5 * 131 + channel) & np.uint32(1), 255, 0)
    else:
        pixels = (row * row // 7 + column * 5 + row * column // 11 + channel * 85) & 255
    return Image.fromarray(pixels.astype(np.uint8))


def padded(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = max(width, height)
    canvas = Image.new("RGB", (side, side), PAD_COLOUR)
    canvas.paste(image, ((side - width) // 2, (side - height) // 2))
    return canvas


def clip_square(image: Image.Image, side: int) -> np.ndarray:
    width, height = image.size
    longer = side * max(width, height) // min(width, height)
    size = (side, longer) if width <= height else (longer, side)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    resized = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def parts(image: Image.Image, n: int, pad: bool, side: int) -> np.ndarray:
    width, height = image.size[0] // n, image.size[1] // n
    corners = [(column * width, row * height) for row in range(n) for column in range(n)] if n > 1 else []
    pictures = [image.crop((x, y, x + width, y + height)) for x, y in corners] + [image]
    return np.stack([clip_square(padded(part) if pad else part, side) for part in pictures])


def frame_parts(image: Image.Image, n: int, side: int) -> np.ndarray:
    """A video's frame: nearest neighbour to side x side, then as a picture."""
    pixels = np.asarray(image)
    rows = np.arange(side) * image.size[1] // side
    columns = np.arange(side) * image.size[0] // side
    return parts(Image.fromarray(pixels[rows[:, None], columns]), n, False, side)


SIZES = [
    (1, 1), (1, 2), (2, 1), (2, 2), (3, 5), (5, 3), (7, 7), (1, 37), (37, 1), (16, 16), (17, 31), (55, 56), (56, 56),
    (57, 56), (63, 200), (100, 100), (111, 333), (223, 225), (224, 224), (300, 200), (333, 111), (335, 336), (335, 337),
    (336, 1), (336, 335), (336, 336), (336, 337), (336, 640), (337, 336), (337, 337), (400, 3), (3, 400), (480, 360),
    (500, 333), (512, 512), (600, 337), (640, 336), (640, 480), (671, 673), (672, 672), (673, 671), (700, 29), (29, 700),
    (719, 405), (768, 1024), (800, 600), (901, 7), (1000, 1000), (1008, 336), (1024, 768), (1, 999), (999, 1),
    (1280, 720), (1023, 17), (17, 1023), (1366, 768), (1500, 1001), (1920, 1080), (2048, 100), (100, 2048), (2047, 2049),
    (2500, 31), (31, 2500), (4099, 1), (1, 4099),
]  # fmt: skip
EXTREME = [(1, 16384), (16384, 1), (2, 16383), (16383, 3)]


def cases() -> list[dict]:
    """Every size both ways at 336; the other choices in turn."""
    listed = []
    for index, (width, height) in enumerate(SIZES):
        strip = max(width, height) // min(width, height)
        for pad in (True, False):
            if pad or strip <= 250:
                listed.append((width, height, 1, pad, 336))
            side = (56, 224, 28, 97)[index % 4]
            for n in (2, 3):
                if min(width, height) >= n and (pad or strip <= 500):
                    listed.append((width, height, n, pad, 336 if n == 2 and index % 3 == 0 and strip <= 250 else side))
    for width, height in EXTREME:
        listed += [(width, height, 1, True, 336), (width, height, 1, True, 14), (width, height, 1, False, 7)]
    return [
        {"width": w, "height": h, "style": STYLES[i % 3], "n": n, "pad": pad, "side": side}
        for i, (w, h, n, pad, side) in enumerate(listed)
    ]


def frame_cases() -> list[dict]:
    listed = [(1, 1), (3, 500), (320, 240), (336, 336), (640, 480), (1280, 720), (335, 671), (96, 96)]
    return [
        {"width": w, "height": h, "style": "noise", "n": n, "side": side}
        for w, h in listed
        for n, side in ((1, 336), (2, 336), (3, 56))
    ]


def main() -> None:
    if int(__version__.split(".")[0]) >= 13:
        raise SystemExit("image_goldens.py: needs Pillow below 13")
    Image.MAX_IMAGE_PIXELS = None
    pictures = cases()
    for case in pictures:
        image = made_picture(case["width"], case["height"], case["style"])
        pixels = parts(image, case["n"], case["pad"], case["side"])
        case["sha256"] = hashlib.sha256(pixels.tobytes()).hexdigest()
    frames = frame_cases()
    for case in frames:
        image = made_picture(case["width"], case["height"], case["style"])
        case["sha256"] = hashlib.sha256(frame_parts(image, case["n"], case["side"]).tobytes()).hexdigest()
    lines = [f'"made_by": "Pillow {__version__}"']
    for name, rows in (("pictures", pictures), ("frames", frames)):
        lines.append(f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]")
    Path(__file__).with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
