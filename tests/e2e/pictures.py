"""Picture files for the tests, good and bad, from the standard library alone."""

from __future__ import annotations

import base64
import random
import struct
import zlib

# 48x40, a red square on blue.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ"
    "YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAo"
    "ADADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJx"
    "FDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWW"
    "l5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAEC"
    "AwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2"
    "Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU"
    "1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwCjRRRXp4zFfVqana+tjjy/BfXKrp81rK+1+3p3CiiiuGlm/tKkYcm7S3/4B6df"
    "IPZUpVPaXsm9u3zCiiivZPnQooorz8yoVK1JRpq7v+jPWyfE0sNXc6rsrW/FdgooorycPl+JhVjKUdE11Xf1PdxWbYSpQnCM9Wmtn29Aooor6Y+M"
    "CiiigAooooAKKKKAP//Z"
)
WEBP = base64.b64decode("UklGRjIAAABXRUJQVlA4TCUAAAAvL8AJAA9QnguZn4J2/qOCmraRmCv8OR2z27/sEf2fgM438tSZAA==")
GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    """rows: what the file holds as its pixels, whatever the header says; extra: bytes of an ancillary chunk."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    comment = _chunk(b"tEXt", b"Comment\0" + extra) if extra else b""
    data = _chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + comment + data + _chunk(b"IEND", b"")


def png(seed: int, width: int = 32, height: int = 24) -> bytes:
    """A picture of its own for each seed: coloured blocks."""
    generator = random.Random(seed)
    blocks = [[generator.randbytes(3) for _ in range(4)] for _ in range(4)]
    rows = b"".join(
        b"\0" + b"".join(blocks[y * 4 // height][x * 4 // width] for x in range(width)) for y in range(height)
    )
    return png_of(width, height, rows)


def cut(file: bytes) -> bytes:
    return file[: len(file) // 2]


def corrupt_png() -> bytes:
    """Whole, but its pixels do not unpack."""
    file = bytearray(png(1))
    at = file.index(b"IDAT") + 12
    file[at] ^= 0xFF
    return bytes(file)


def png_over_bytes() -> bytes:
    return png_of(1, 1, b"\0abc", extra=b"x" * (10 << 20))


def png_over_pixels() -> bytes:
    """25 million pixels by its header; there is nothing behind it to decode."""
    return png_of(5000, 5000, b"")


def png_over_side() -> bytes:
    return png_of(16385, 1, b"")
