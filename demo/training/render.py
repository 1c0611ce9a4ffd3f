"""Draws scenes and clips with PIL."""

from __future__ import annotations

import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw

from preprocess import nearest_resize
from scenes import SHAPES, Clip, Scene, Sign, Thing, font


def outline(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape in the unit disc, y downwards."""
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    if shape == "triangle":
        return [(0, -1), (0.92, 0.72), (-0.92, 0.72)]
    if shape == "diamond":
        return [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)]
    if shape == "cross":
        a, b = 0.3, 0.95
        return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]
    if shape == "star":
        return [
            (r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5))
            for k, r in ((k, 0.42 if k % 2 else 1.0) for k in range(10))
        ]
    if shape == "heart":
        points = []
        for k in range(36):
            t = 2 * math.pi * k / 36
            y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
            points.append((math.sin(t) ** 3 * 0.95, -y / 17 - 0.08))
        return points
    raise ValueError(shape)


OUTLINES = {shape: outline(shape) for shape in SHAPES if shape not in ("circle", "ring")}


def draw_thing(draw: ImageDraw.ImageDraw, thing: Thing, scale: int) -> None:
    x, y, r = thing.x * scale, thing.y * scale, thing.r * scale
    if thing.shape in ("circle", "ring"):
        box = (x - r, y - r, x + r, y + r)
        if thing.shape == "circle":
            draw.ellipse(box, fill=thing.rgb)
        else:
            draw.ellipse(box, outline=thing.rgb, width=max(2, round(0.33 * r)))
        return
    cos, sin = math.cos(math.radians(thing.angle)), math.sin(math.radians(thing.angle))
    draw.polygon(
        [(x + r * (u * cos - v * sin), y + r * (u * sin + v * cos)) for u, v in OUTLINES[thing.shape]],
        fill=thing.rgb,
    )


def draw_sign(draw: ImageDraw.ImageDraw, sign: Sign, scale: int) -> None:
    box = [scale * edge for edge in sign.box]
    line = max(1, round(0.07 * sign.font_size * scale))
    draw.rounded_rectangle(box, radius=0.2 * sign.font_size * scale, fill=sign.board, outline=sign.ink, width=line)
    draw.text(
        (sign.x * scale, sign.y * scale), sign.text, fill=sign.ink,
        font=font(sign.font_size * scale), anchor="mm", stroke_width=sign.stroke * scale,
    )  # fmt: skip


def draw_scene(scene: Scene, smooth: bool = False) -> Image.Image:
    """RGB picture of a scene; `smooth` draws at double size and halves it, for soft edges."""
    scale = 2 if smooth else 1
    image = Image.new("RGB", (scene.size[0] * scale, scene.size[1] * scale), scene.background_rgb)
    draw = ImageDraw.Draw(image)
    for thing in scene.things:
        draw_thing(draw, thing, scale)
    if scene.sign:
        draw_sign(draw, scene.sign, scale)
    return image.reduce(2) if smooth else image


def draw_varied(rng: random.Random, scene: Scene) -> Image.Image:
    """A picture with soft or hard edges, now and then with JPEG artefacts."""
    image = draw_scene(scene, smooth=rng.random() < (0.5 if scene.size[0] * scene.size[1] < 400_000 else 0.1))
    if rng.random() < 0.12:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(60, 95))
        image = Image.open(buffer).convert("RGB")
    return image


def draw_frames(rng: random.Random, clip: Clip) -> list[Image.Image]:
    """RGB pictures of a video's frames; frames that show the same are one object."""
    smooth = rng.random() < 0.4
    drawn: dict[tuple[Thing, ...], Image.Image] = {}
    for scene in clip.frames:
        if tuple(scene.things) not in drawn:
            drawn[tuple(scene.things)] = draw_scene(scene, smooth)
    return [drawn[tuple(scene.things)] for scene in clip.frames]


def draw_clip(rng: random.Random, clip: Clip) -> np.ndarray:
    """Model input frames of a video: uint8 [frames, 336, 336, 3]."""
    frames = draw_frames(rng, clip)
    resized = {id(frame): nearest_resize(np.asarray(frame)) for frame in frames}
    return np.stack([resized[id(frame)] for frame in frames])
