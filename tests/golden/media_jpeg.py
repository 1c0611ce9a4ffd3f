"""JPEG files for media_goldens.py: sound and broken ones."""

from __future__ import annotations

import struct

from media_pictures import orientation, picture, saved


def segments(jpeg: bytes) -> list[bytes]:
    """SOI, the marker segments one by one (each scan with its data), EOI."""
    cut, at = [jpeg[:2]], 2
    while jpeg[at + 1] != 0xD9:
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        if jpeg[at + 1] == 0xDA:
            while jpeg[end] != 0xFF or jpeg[end + 1] == 0 or 0xD0 <= jpeg[end + 1] <= 0xD7:
                end += 1
        cut.append(jpeg[at:end])
        at = end
    return [*cut, jpeg[at:]]


def with_frame(
    jpeg: bytes,
    marker: int | None = None,
    precision: int = 8,
    size: tuple[int, int] | None = None,
    luma: int | None = None,
) -> bytes:
    """The same scan under another frame header; `luma` is the first component's sampling factors."""
    out = b""
    for segment in segments(jpeg):
        if segment[1] in (0xC0, 0xC1, 0xC2):
            frame = bytearray(segment)
            frame[1] = marker or frame[1]
            frame[4] = precision
            if size:
                frame[5:9] = struct.pack(">HH", size[1], size[0])
            frame[11] = luma or frame[11]
            segment = bytes(frame)
        out += segment
    return out


def separate_scans(jpeg: bytes, scans: int) -> bytes:
    """A colour picture whose three components are all the given grey one, a scan each, repeated up to `scans` scans."""
    out = b""
    for segment in segments(jpeg):
        if segment[1] == 0xC0:
            components = b"".join(bytes([i]) + segment[11:13] for i in (1, 2, 3))
            segment = segment[:2] + struct.pack(">H", 17) + segment[4:9] + b"\3" + components
        if segment[1] == 0xDA:
            segment = b"".join(segment[:5] + bytes([i % 3 + 1]) + segment[6:] for i in range(scans))
        out += segment
    return out


def without_adobe(jpeg: bytes) -> bytes:
    return b"".join(segment for segment in segments(jpeg) if segment[1] != 0xEE)


def with_transform(jpeg: bytes, transform: int) -> bytes:
    return b"".join(s[:-1] + bytes([transform]) if s[1] == 0xEE else s for s in segments(jpeg))


def jpeg_files() -> dict[str, bytes]:
    files = {}
    for name, sampling in (("444", 0), ("422", 1), ("420", 2)):
        for width, height in ((32, 32), (37, 29)):
            files[f"{name}-{width}x{height}.jpg"] = saved(picture(width, height), "JPEG", subsampling=sampling)
        files[f"{name}-progressive.jpg"] = saved(picture(45, 35), "JPEG", subsampling=sampling, progressive=True)
    files["440.jpg"] = with_frame(saved(picture(32, 16), "JPEG", subsampling=1), size=(16, 32), luma=0x12)
    files["440-odd.jpg"] = with_frame(saved(picture(64, 30), "JPEG", subsampling=1), size=(27, 63), luma=0x12)
    files["411.jpg"] = with_frame(saved(picture(32, 32), "JPEG", subsampling=2), size=(63, 15), luma=0x41)
    files["grey.jpg"] = saved(picture(33, 21, "L"), "JPEG")
    files["grey-progressive.jpg"] = saved(picture(33, 21, "L"), "JPEG", progressive=True)
    files["quality-5.jpg"] = saved(picture(40, 30), "JPEG", quality=5)
    files["quality-100.jpg"] = saved(picture(40, 30), "JPEG", quality=100)
    files["optimized.jpg"] = saved(picture(40, 30), "JPEG", optimize=True)
    files["restart-blocks.jpg"] = saved(picture(60, 40), "JPEG", restart_marker_blocks=1)
    files["restart-rows.jpg"] = saved(picture(60, 40), "JPEG", restart_marker_rows=1, progressive=True)
    files["rgb.jpg"] = saved(picture(33, 21), "JPEG", keep_rgb=True)
    cmyk = saved(picture(33, 21, "CMYK"), "JPEG")
    files["cmyk.jpg"] = cmyk
    files["cmyk-no-marker.jpg"] = without_adobe(cmyk)
    files["ycck.jpg"] = with_transform(cmyk, 2)
    files["cmyk-progressive.jpg"] = saved(picture(33, 21, "CMYK"), "JPEG", progressive=True)
    files["separate-scans.jpg"] = separate_scans(saved(picture(33, 21, "L"), "JPEG"), 3)
    files["profile.jpg"] = saved(picture(20, 14), "JPEG", icc_profile=bytes(700))
    plain = saved(picture(20, 14), "JPEG")
    files["no-huffman-tables.jpg"] = b"".join(s for s in segments(plain) if s[1] != 0xC4)
    files["extended.jpg"] = with_frame(plain, marker=0xC1)
    files["1x1.jpg"] = saved(picture(1, 1), "JPEG")
    files["1x16384.jpg"] = saved(picture(1, 16384), "JPEG", quality=30)
    files["16384x1.jpg"] = saved(picture(16384, 1), "JPEG", quality=30)
    for value in range(1, 9):
        files[f"orientation-{value}.jpg"] = saved(picture(14, 9), "JPEG", exif=orientation(value))
    return files


def bad_jpeg_files() -> dict[str, tuple[str, bytes]]:
    good = saved(picture(37, 29), "JPEG")
    progressive = saved(picture(45, 35), "JPEG", progressive=True)
    grey = saved(picture(9, 9, "L"), "JPEG")
    restarts = saved(picture(60, 40), "JPEG", restart_marker_blocks=1)
    scan = good.index(b"\xff\xda")
    cut_scan = progressive.rindex(b"\xff\xda") + 20
    return {
        "lossless.jpg": ("unsupported", with_frame(good, marker=0xC3)),
        "hierarchical.jpg": ("unsupported", with_frame(good, marker=0xC5)),
        "12-bit.jpg": ("unsupported", with_frame(good, marker=0xC1, precision=12)),
        "too-many-scans.jpg": ("unsupported", separate_scans(grey, 101)),
        "cut-half.jpg": ("corrupt", good[: (scan + len(good)) // 2]),
        "cut-half-closed.jpg": ("corrupt", good[: (scan + len(good)) // 2] + b"\xff\xd9"),
        "cut-scan-closed.jpg": ("corrupt", progressive[:cut_scan] + b"\xff\xd9"),
        "missing-end.jpg": ("corrupt", good[:-2]),
        "missing-component.jpg": ("corrupt", separate_scans(grey, 2)[:-30]),
        "missing-restart.jpg": ("corrupt", restarts.replace(b"\xff\xd3", b"", 1)),
        "higher-than-scan.jpg": ("corrupt", with_frame(good, size=(37, 290))),
        "shorter-than-scan.jpg": ("corrupt", with_frame(good, size=(37, 8))),
        "no-quantizer.jpg": ("corrupt", b"".join(s for s in segments(good) if s[1] != 0xDB)),
        "no-pixels.jpg": ("corrupt", with_frame(good, size=(37, 0))),
        "start-only.jpg": ("corrupt", good[:4]),
        "no-scan.jpg": ("corrupt", good[:scan] + b"\xff\xd9"),
        "too-wide.jpg": ("too_large", with_frame(good, size=(16385, 9))),
        "too-high.jpg": ("too_large", with_frame(good, size=(9, 65535))),
        "too-many-pixels.jpg": ("too_large", with_frame(good, size=(16384, 1020))),
    }
