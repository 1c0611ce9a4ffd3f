"""Writes media/* (small image files, sound and broken) and media_goldens.json: for each sound file the size and the SHA-256 of
Pillow's convert("RGB"), for each broken one how it is to be refused.

Run: python media_goldens.py   (needs numpy and Pillow from 11.3 on)
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path

from PIL import Image, __version__

from media_jpeg import bad_jpeg_files, jpeg_files
from media_pictures import picture, saved
from media_png import bad_png_files, png_bombs, png_files
from media_webp import bad_webp_files, webp_files

FOLDER = Path(__file__).with_name("media")


def other_files() -> dict[str, tuple[str, bytes]]:
    small = picture(9, 7)
    return {
        "empty": ("unsupported", b""),
        "zeros": ("unsupported", bytes(64)),
        "text.txt": ("unsupported", b"This is no picture.\n"),
        "picture.svg": ("unsupported", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        "picture.gif": ("unsupported", saved(small, "GIF")),
        "picture.bmp": ("unsupported", saved(small, "BMP")),
        "picture.tiff": ("unsupported", saved(small, "TIFF")),
        "picture.ico": ("unsupported", saved(small, "ICO")),
        "picture.heic": ("unsupported", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        "picture.avif": ("unsupported", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1"),
        "sound.wav": ("unsupported", b"RIFF\x24\0\0\0WAVEfmt "),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    rows = []
    good = {name: (data, data) for name, data in {**jpeg_files(), **png_files(), **webp_files()}.items()}
    for name, (data, readable) in {**good, **png_bombs()}.items():
        (FOLDER / name).write_bytes(data)
        image = Image.open(io.BytesIO(readable)).convert("RGB")
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        rows.append({"file": name, "width": image.width, "height": image.height, "sha256": digest})
    for name, (failure, data) in {**bad_jpeg_files(), **bad_png_files(), **bad_webp_files(), **other_files()}.items():
        name = "bad-" + name
        (FOLDER / name).write_bytes(data)
        rows.append({"file": name, "failure": failure})
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{\n"made_by": "Pillow {__version__}",\n"files": [\n{lines}\n]\n}}\n'
    Path(__file__).with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main()
