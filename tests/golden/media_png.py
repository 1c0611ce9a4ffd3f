"""PNG files for media_goldens.py: sound ones, bombs and broken ones."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from media_pictures import orientation, picture, saved

PNG_START = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def ihdr(width: int, height: int, depth: int, colour: int, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def made_png(width: int, height: int, depth: int, colour: int, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """A PNG of random samples in the given layout; `extra` are chunks before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    generator = np.random.default_rng(width * 31 + height * 7 + depth + colour)
    samples = generator.integers(0, 2**depth, (height, width, channels))
    # Small values too: Pillow clips grey of 16 bits.
    samples = np.where(generator.integers(0, 2, samples.shape) > 0, samples, samples % 300)
    lines = b""
    for x, y, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        for line in samples[y::down, x::across]:
            if line.size == 0:
                continue
            shifts = np.arange(depth - 1, -1, -1)
            bits = (line.reshape(-1, 1) >> shifts & 1).astype(np.uint8)
            lines += b"\0" + np.packbits(bits).tobytes()
    return (
        PNG_START + ihdr(width, height, depth, colour, int(interlaced)) + extra + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def palette(colours: int) -> bytes:
    return chunk(b"PLTE", bytes((i * 37 + 11 * (i % 3)) % 256 for i in range(3 * colours)))


def png_files() -> dict[str, bytes]:
    files = {}
    for colour, name, depths in (
        (0, "grey", (1, 2, 4, 8, 16)), (2, "rgb", (8, 16)), (3, "palette", (1, 2, 4, 8)), (4, "grey-alpha", (8, 16)),
        (6, "rgba", (8, 16)),
    ):  # fmt: skip
        for depth in depths:
            extra = palette(2**depth) if colour == 3 else b""
            files[f"{name}-{depth}.png"] = made_png(13, 11, depth, colour, False, extra)
            files[f"{name}-{depth}-interlaced.png"] = made_png(19, 9, depth, colour, True, extra)
    transparent = {
        "grey-1": (1, 0, b"\0\1"),
        "grey-8": (8, 0, b"\0\7"),
        "grey-16": (16, 0, b"\1\0"),
        "rgb-8": (8, 2, b"\0\1\0\2\0\3"),
    }
    for name, (depth, colour, value) in transparent.items():
        files[f"{name}-transparent.png"] = made_png(13, 11, depth, colour, False, chunk(b"tRNS", value))
    for depth in (1, 4, 8):
        extra = palette(2**depth) + chunk(b"tRNS", bytes([0, 128]))
        files[f"palette-{depth}-transparent.png"] = made_png(13, 11, depth, 3, False, extra)
    files["palette-short.png"] = made_png(13, 11, 8, 3, False, palette(100))
    gamma = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cHRM", struct.pack(">8I", *[30000] * 8))
    files["gamma.png"] = made_png(13, 11, 8, 2, False, gamma)
    files["gamma-16.png"] = made_png(13, 11, 16, 2, False, gamma)
    files["significant-bits.png"] = made_png(13, 11, 8, 2, False, chunk(b"sBIT", b"\5\6\5"))
    files["background.png"] = made_png(13, 11, 8, 6, False, chunk(b"bKGD", b"\0\xff\0\0\0\0"))
    profile = b"p\0\0" + zlib.compress(bytes(3000))
    files["profile.png"] = made_png(13, 11, 8, 2, False, chunk(b"iCCP", profile))
    files["filtered.png"] = saved(picture(64, 48), "PNG")
    files["filtered-rgba.png"] = saved(picture(64, 48, "RGBA"), "PNG", optimize=True)
    files["1x1.png"] = saved(picture(1, 1), "PNG")
    files["1x1-interlaced.png"] = made_png(1, 1, 8, 2, True)
    files["1x16384.png"] = saved(picture(1, 16384).quantize(16), "PNG")
    files["16384x1.png"] = saved(picture(16384, 1).quantize(16), "PNG")
    files["many-idat.png"] = split_idat(saved(picture(20, 20), "PNG"), 7)
    frames = [picture(24, 18), picture(24, 18).transpose(Image.Transpose.ROTATE_180)]
    files["animated.png"] = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    files["animated-default.png"] = saved(frames[0], "PNG", save_all=True, append_images=frames, default_image=True)
    files["exif-6.png"] = saved(picture(12, 8), "PNG", exif=orientation(6))
    return files


def png_bombs() -> dict[str, tuple[bytes, bytes]]:
    """Pictures with a chunk that Pillow refuses to inflate, and the same without it."""
    zeros = zlib.compress(bytes(20 << 20), 9)
    plain = made_png(13, 11, 8, 2)
    return {
        "text-bomb.png": (made_png(13, 11, 8, 2, False, chunk(b"zTXt", b"a\0\0" + zeros)), plain),
        "profile-bomb.png": (made_png(13, 11, 8, 2, False, chunk(b"iCCP", b"a\0\0" + zeros)), plain),
    }


def idat_at(png: bytes) -> tuple[int, int]:
    """Where the first IDAT chunk starts and how long its data are."""
    start = png.index(b"IDAT") - 4
    return start, struct.unpack(">I", png[start : start + 4])[0]


def split_idat(png: bytes, size: int) -> bytes:
    start, length = idat_at(png)
    data = png[start + 8 : start + 8 + length]
    pieces = b"".join(chunk(b"IDAT", data[i : i + size]) for i in range(0, length, size))
    return png[:start] + pieces + png[start + 12 + length :]


def with_idat(png: bytes, data: bytes) -> bytes:
    start, length = idat_at(png)
    return png[:start] + chunk(b"IDAT", data) + png[start + 12 + length :]


def bad_png_files() -> dict[str, tuple[str, bytes]]:
    good = made_png(13, 11, 8, 2)
    start, length = idat_at(good)
    lines = zlib.decompress(good[start + 8 : start + 8 + length])
    flipped = lambda at: good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    text = made_png(13, 11, 8, 2, False, chunk(b"tEXt", b"a\0b"))
    bad_text = text.replace(b"a\0b", b"a\0c")
    return {
        "bad-ihdr-checksum.png": ("corrupt", flipped(29)),
        "bad-idat-checksum.png": ("corrupt", flipped(start + 8 + length)),
        "bad-idat.png": ("corrupt", flipped(start + 30)),
        "bad-text-checksum.png": ("corrupt", bad_text),
        "bad-iend-checksum.png": ("corrupt", flipped(len(good) - 1)),
        "missing-iend.png": ("corrupt", good[:-12]),
        "missing-idat.png": ("corrupt", good[:start] + good[start + 12 + length :]),
        "missing-row.png": ("corrupt", with_idat(good, zlib.compress(lines[: -(13 * 3 + 1)]))),
        "cut-idat.png": ("corrupt", with_idat(good, good[start + 8 : start + length - 20])),
        "bad-filter.png": ("corrupt", with_idat(good, zlib.compress(b"\x09" + lines[1:]))),
        "not-deflate.png": ("corrupt", with_idat(good, b"\x78\x9c" + bytes(40))),
        "long-tail.png": ("corrupt", with_idat(good, zlib.compress(lines + bytes(40 << 20), 9))),
        "missing-palette.png": ("corrupt", made_png(13, 11, 8, 3)),
        "long-palette.png": ("corrupt", made_png(13, 11, 8, 3, False, palette(257))),
        "bad-depth.png": ("corrupt", PNG_START + ihdr(13, 11, 3, 2) + good[33:]),
        "bad-colour.png": ("corrupt", PNG_START + ihdr(13, 11, 8, 5) + good[33:]),
        "no-pixels.png": ("corrupt", PNG_START + ihdr(0, 11, 8, 2) + good[33:]),
        "unknown-critical.png": ("corrupt", made_png(13, 11, 8, 2, False, chunk(b"ABCD", b"x"))),
        "header-only.png": ("corrupt", good[:33]),
        "signature-only.png": ("corrupt", good[:8]),
        "too-wide.png": ("too_large", PNG_START + ihdr(16385, 1, 8, 2) + good[33:]),
        "too-high.png": ("too_large", PNG_START + ihdr(1, 2**31 - 1, 8, 2) + good[33:]),
        "too-wide-signed.png": ("too_large", PNG_START + ihdr(2**32 - 1, 1, 8, 2) + good[33:]),
        "too-many-pixels.png": ("too_large", PNG_START + ihdr(4096, 4096, 8, 2) + good[33:]),
    }
