"""Writes video/* (small videos in several containers and codecs, and files to be refused) and video_goldens.json: for each sound
file its length, average rate and, per sampled frame, the index and the SHA-256 of the 336x336 RGB pixels as PyAV and the
published nearest resize give them (for deep pixels each colour's mean); for each file to be refused how; and a table of sampled frames.

Run: python video_goldens.py   (needs av and numpy)
"""

from __future__ import annotations

import hashlib
import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
FOLDER = HERE / "video"
SAMPLES = HERE.parent.parent / "demo" / "samples"
SIDE = 336


def pictures(count: int, width: int, height: int):
    """A gradient with a square that moves over it."""
    y, x = np.mgrid[0:height, 0:width]
    for number in range(count):
        pixels = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=-1)
        left, top = number * 7 % (width - 16), number * 3 % (height - 16)
        pixels[top : top + 16, left : left + 16] = (250, 230, 20)
        yield pixels.astype(np.uint8)


def encode(name: str, codec: str, *, count=20, rate=8, width=64, height=48, pixels="yuv420p", options=None, format_options=None, tags=None):
    container = av.open(str(FOLDER / name), "w", options=format_options or {})
    stream = container.add_stream(codec, rate=Fraction(rate), options=options or {})
    stream.width, stream.height, stream.pix_fmt = width, height, pixels
    stream.bit_rate = 60_000
    for key, value in (tags or {}).items():
        setattr(stream.codec_context, key, value)
    for picture in pictures(count, width, height):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
    container.mux(stream.encode())
    container.close()


def make_videos() -> None:
    small = {"threads": "1"}
    encode("h264.mp4", "libx264", options=small, format_options={"movflags": "faststart"})
    encode("h264-moov-last.mp4", "libx264", options=small)
    encode("h264-fragments.mp4", "libx264", options=small | {"g": "8"}, format_options={"movflags": "frag_keyframe+empty_moov"})
    encode("h264.mov", "libx264", options=small, rate=Fraction(24000, 1001), count=25)
    encode("h264.mkv", "libx264", options=small)
    encode("h264-bt709.mp4", "libx264", options=small, tags={"colorspace": 1, "color_range": 1})
    encode("h264-full-range.mp4", "libx264", options=small, pixels="yuvj420p", tags={"color_range": 2})
    encode("h264-444.mp4", "libx264", options=small, pixels="yuv444p")
    encode("h264-odd.mp4", "libx264", options=small, width=54, height=42)
    encode("short.mp4", "libx264", options=small, count=2)
    encode("one.mp4", "libx264", options=small, count=1)
    encode("hevc.mp4", "libx265", options={"x265-params": "pools=1:log-level=none"})
    encode("hevc-10-bit.mkv", "libx265", pixels="yuv420p10le", options={"x265-params": "pools=1:log-level=none"})
    encode("vp8.webm", "libvpx", options=small | {"auto-alt-ref": "1", "lag-in-frames": "16"}, count=40)
    encode("vp9.webm", "libvpx-vp9", options=small | {"auto-alt-ref": "1", "lag-in-frames": "16"}, count=40)
    encode("av1.mp4", "libsvtav1", options={"preset": "10"}, height=64)
    encode("mpeg4.avi", "mpeg4", options=small)
    encode("mpeg4-b.avi", "mpeg4", options=small | {"bf": "2"})
    encode("mjpeg.avi", "mjpeg", pixels="yuvj420p", count=9)
    turned = bytearray((FOLDER / "h264.mp4").read_bytes())
    at = turned.index(b"tkhd") + 4 + 40  # the matrix: by 90 degrees
    turned[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    (FOLDER / "turned.mp4").write_bytes(turned)


def make_bad() -> dict[str, str]:
    huge = bytearray((FOLDER / "h264.mp4").read_bytes())
    at = huge.index(b"avc1", huge.index(b"stsd")) + 4 + 24
    huge[at : at + 4] = b"\xff\xff\xff\xff"
    files = {"huge.mp4": ("too large", bytes(huge))}
    for name, codec, container_format in (("sound.mp4", "aac", "mp4"), ("sound.webm", "libopus", "webm")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container_format) as container:
            stream = container.add_stream(codec, rate=48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
            frame.sample_rate = 48000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        files[name] = ("unsupported", buffer.getvalue())
    encode("lossless.mkv", "ffv1", count=2)
    files["ffv1.mkv"] = ("unsupported", (FOLDER / "lossless.mkv").read_bytes())
    (FOLDER / "lossless.mkv").unlink()
    files["text.txt"] = ("unsupported", b"This is no video, only text.\n")
    files["empty"] = ("unsupported", b"")
    files["list.m3u8"] = ("unsupported", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")
    files["concat.txt"] = ("unsupported", b"ffconcat version 1.0\nfile /etc/hostname\n")
    files["header.mp4"] = ("corrupt", b"\0\0\0\x10ftypisom\0\0\0\0")
    files["header.webm"] = ("corrupt", b"\x1a\x45\xdf\xa3\x80")
    files["header.avi"] = ("corrupt", b"RIFF\x04\0\0\0AVI ")
    for name, (_, data) in files.items():
        (FOLDER / f"bad-{name}").write_bytes(data)
    return {f"bad-{name}": failure for name, (failure, _) in files.items()}


def sample(total: int, fps: float) -> list[int]:
    count = min(max(int(total / fps), 1), total)
    segment = (total - 1) / count
    return [(round(segment * i) + round(segment * (i + 1))) // 2 for i in range(count)]


def nearest(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return frame[(np.arange(SIDE) * height // SIDE)[:, None], np.arange(SIDE) * width // SIDE]


def golden(name: str, path: Path) -> dict:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        fps = float(stream.average_rate)
    indices = sample(len(frames), fps)
    digests = [hashlib.sha256(nearest(frames[i]).tobytes()).hexdigest() for i in indices]
    height, width = frames[0].shape[:2]
    row = {"file": name, "frames": len(frames), "fps": fps, "width": width, "height": height, "indices": indices}
    if "10-bit" in name:  # libswscale's versions round deep pixels differently
        return row | {"means": [[round(float(value), 3) for value in frames[i].mean(axis=(0, 1))] for i in indices]}
    return row | {"sha256": digests}


def sampling_table() -> list[dict]:
    cases = [(t, f) for t in (1, 2, 3, 7, 8, 24, 25, 61, 299, 300, 1000) for f in (0.5, 1.0, 8.0, 24000 / 1001, 25.0, 30.0)]
    return [{"total": t, "fps": f, "indices": sample(t, f)} for t, f in cases if len(sample(t, f)) <= 61]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    make_videos()
    names = sorted(path.name for path in FOLDER.iterdir() if not path.name.startswith("bad-"))
    files = [golden(f"tests/golden/video/{name}", FOLDER / name) for name in names]
    files += [golden(f"demo/samples/{path.name}", path) for path in sorted(SAMPLES.glob("*.mp4"))]
    bad = [{"file": f"tests/golden/video/{name}", "failure": failure} for name, failure in make_bad().items()]
    sections = {"files": files, "bad": bad, "sampling": sampling_table()}
    body = ",\n".join(f'"{key}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for key, rows in sections.items())
    text = f'{{\n"made_by": "PyAV {av.__version__}",\n{body}\n}}\n'
    Path(__file__).with_suffix(".json").write_text(text)


main()
