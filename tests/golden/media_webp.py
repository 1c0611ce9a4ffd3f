"""WebP files for media_goldens.py: sound and broken ones."""

from __future__ import annotations

import struct

from PIL import Image

from media_pictures import orientation, picture, saved


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for n, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def three_bytes(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


def offset_animation(still: bytes, canvas: tuple[int, int], x: int, y: int, size: tuple[int, int]) -> bytes:
    """An animation of one frame that leaves a part of its canvas uncovered."""
    position = three_bytes(x // 2) + three_bytes(y // 2) + three_bytes(size[0] - 1) + three_bytes(size[1] - 1)
    frame = position + three_bytes(100) + b"\0" + still[12:]
    header = b"\x12\0\0\0" + three_bytes(canvas[0] - 1) + three_bytes(canvas[1] - 1)
    return riff((b"VP8X", header), (b"ANIM", b"\x10\x20\x30\xff\0\0"), (b"ANMF", frame))


def webp_files() -> dict[str, bytes]:
    rgb, rgba = picture(37, 29), picture(37, 29, "RGBA")
    frames = [picture(24, 18, "RGBA"), picture(24, 18, "RGBA").transpose(Image.Transpose.ROTATE_180)]
    return {
        "lossy.webp": saved(rgb, "WEBP", quality=70),
        "lossy-fine.webp": saved(rgb, "WEBP", quality=100),
        "lossy-alpha.webp": saved(rgba, "WEBP", quality=70),
        "lossy-alpha-exact.webp": saved(rgba, "WEBP", quality=70, exact=True),
        "lossless.webp": saved(rgb, "WEBP", lossless=True),
        "lossless-alpha.webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "lossless-palette.webp": saved(rgb.quantize(7).convert("RGB"), "WEBP", lossless=True),
        "grey.webp": saved(picture(20, 30, "L"), "WEBP", quality=80),
        "exif-6.webp": saved(rgb, "WEBP", quality=70, exif=orientation(6)),
        "profile.webp": saved(rgb, "WEBP", quality=70, icc_profile=bytes(300)),
        "1x1.webp": saved(picture(1, 1), "WEBP"),
        "1x16383.webp": saved(picture(1, 16383), "WEBP", quality=10),
        "16383x1.webp": saved(picture(16383, 1), "WEBP", quality=10),
        "animated.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=70),
        "animated-lossless.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "animated-offset.webp": offset_animation(saved(rgb, "WEBP"), (60, 50), 10, 8, (37, 29)),
        "animated-other-size.webp": offset_animation(saved(rgb, "WEBP"), (60, 60), 2, 2, (36, 28)),
        "animated-offset-alpha.webp": offset_animation(
            saved(rgba, "WEBP", lossless=True, exact=True), (60, 50), 4, 0, (37, 29)
        ),
    }


def bad_webp_files() -> dict[str, tuple[str, bytes]]:
    good = saved(picture(37, 29), "WEBP", quality=70)
    lossless = saved(picture(37, 29), "WEBP", lossless=True)
    half = len(good) // 2
    canvas = lambda w, h: riff((b"VP8X", b"\0\0\0\0" + three_bytes(w - 1) + three_bytes(h - 1)), (b"VP8 ", good[20:]))
    return {
        "cut-half.webp": ("corrupt", good[:half]),
        "cut-half-closed.webp": ("corrupt", riff((b"VP8 ", good[20:half]))),
        "lossless-cut-closed.webp": ("corrupt", riff((b"VP8L", lossless[20 : len(lossless) // 2]))),
        "no-chunk.webp": ("corrupt", b"RIFF\4\0\0\0WEBP"),
        "unknown-chunk.webp": ("corrupt", riff((b"ABCD", bytes(30)))),
        "other-canvas.webp": ("corrupt", canvas(40, 40)),
        "frame-outside.webp": ("corrupt", offset_animation(good, (40, 40), 10, 20, (37, 29))),
        "too-wide.webp": ("too_large", canvas(16385, 2)),
        "too-many-pixels.webp": ("too_large", canvas(16384, 1020)),
    }
