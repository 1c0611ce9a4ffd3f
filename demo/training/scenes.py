"""Random scenes (pictures) and clips (videos) of coloured shapes and signs; render.py draws them.

A Scene or Clip knows everything that is in it, so that questions.py can ask about it and knows the
right answers. All randomness comes from the random.Random that is passed in.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from functools import lru_cache

from PIL import ImageFont

from preprocess import SIDE
from words import HELD_OUT_WORDS, TRAIN_WORDS

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring")

Rgb = tuple[int, int, int]

# Each colour name covers the span between its anchors.
COLOURS: dict[str, tuple[Rgb, ...]] = {
    "red": ((255, 0, 0), (220, 40, 40), (190, 20, 30)),
    "orange": ((255, 165, 0), (245, 135, 30), (255, 120, 0)),
    "yellow": ((255, 255, 0), (245, 220, 50), (255, 215, 0)),
    "green": ((0, 128, 0), (0, 230, 0), (60, 170, 80), (30, 140, 60)),
    "blue": ((0, 0, 255), (45, 90, 215), (30, 60, 180), (50, 130, 235)),
    "purple": ((128, 0, 128), (130, 60, 170), (150, 50, 200)),
    "pink": ((255, 192, 203), (245, 140, 190), (255, 105, 180)),
    "brown": ((165, 42, 42), (125, 80, 45), (139, 69, 19), (110, 60, 30)),
    "black": ((0, 0, 0), (30, 30, 30)),
    "white": ((255, 255, 255), (240, 240, 240)),
    "gray": ((128, 128, 128), (110, 110, 110), (155, 155, 155)),
}

BACKGROUNDS: dict[str, tuple[Rgb, ...]] = {
    "white": ((255, 255, 255), (244, 244, 244)),
    "black": ((0, 0, 0), (24, 24, 24)),
    "gray": ((190, 190, 190), (165, 165, 165)),
    "light blue": ((173, 216, 230), (190, 215, 245)),
    "light green": ((190, 238, 190), (205, 240, 200)),
    "light yellow": ((255, 250, 205), (250, 240, 185)),
    "dark blue": ((0, 0, 90), (25, 35, 85)),
    "dark green": ((0, 70, 30), (20, 60, 40)),
}

SIZES = ((640, 480), (640, 480), (480, 640), (336, 336), (512, 512), (1280, 720), (800, 600), (400, 300), (360, 640))
LARGE_SIZES = ((1280, 720), (800, 600), (960, 960), (1024, 768), (720, 960))
VIDEO_SIZES = ((320, 240), (336, 336), (426, 240), (240, 320), (480, 360))

LOCATIONS = {
    (0, 0): "at the top left", (1, 0): "at the top", (2, 0): "at the top right",
    (0, 1): "on the left", (1, 1): "in the middle", (2, 1): "on the right",
    (0, 2): "at the bottom left", (1, 2): "at the bottom", (2, 2): "at the bottom right",
}  # fmt: skip

# A centre keeps this distance (in widths or heights) from the borders between the named thirds.
THIRD_MARGIN = 0.035


@dataclass(frozen=True)
class Thing:
    """A coloured shape; x, y are the centre and r the outer radius in pixels."""

    shape: str
    colour: str
    rgb: Rgb
    x: float
    y: float
    r: float
    angle: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Sign:
    """A board with a word or a number; box is left, top, right, bottom in pixels."""

    text: str
    box: tuple[float, float, float, float]
    font_size: int
    stroke: int
    board: Rgb
    ink: Rgb
    small: bool

    @property
    def x(self) -> float:
        return (self.box[0] + self.box[2]) / 2

    @property
    def y(self) -> float:
        return (self.box[1] + self.box[3]) / 2


@dataclass
class Scene:
    size: tuple[int, int]
    background: str
    background_rgb: Rgb
    things: list[Thing] = field(default_factory=list)
    sign: Sign | None = None

    def location(self, item: Thing | Sign) -> str:
        column = min(int(3 * item.x / self.size[0]), 2)
        row = min(int(3 * item.y / self.size[1]), 2)
        return LOCATIONS[column, row]


@dataclass
class Clip:
    """A video: `frames` are scenes of one size in order; `kind` says what happens.

    kind: "move" (actors[0] moves `direction`), "appear" / "disappear" (actors[0]), "recolour"
    (actors[0] becomes actors[1]) or "order" (the actors appear one after another).
    """

    kind: str
    frames: list[Scene]
    actors: list[Thing]
    still: list[Thing]
    direction: str = ""


# --------------------------------------------------------------------------------- choosing


def pick_rgb(rng: random.Random, anchors: tuple[Rgb, ...]) -> Rgb:
    """A colour between two anchors, with a little jitter."""
    first, second, t = rng.choice(anchors), rng.choice(anchors), rng.random()
    return tuple(
        min(255, max(0, round(a + (b - a) * t + rng.uniform(-8, 8)))) for a, b in zip(first, second)
    )


def contrast(first: Rgb, second: Rgb) -> float:
    return math.dist(first, second)


def pick_coloured_shape(rng: random.Random, shapes, colours, background: Rgb) -> tuple[str, str, Rgb]:
    while True:
        colour = rng.choice(colours)
        rgb = pick_rgb(rng, COLOURS[colour])
        if contrast(rgb, background) > 70:
            return rng.choice(shapes), colour, rgb
        colours = list(COLOURS)


def pick_centre(rng: random.Random, size: tuple[int, int], half: tuple[float, float]):
    """A centre inside one of the nine named cells such that the item of the given half-size fits, or None."""
    cell = rng.choice(list(LOCATIONS))
    centre = []
    for index, length, reach in zip(cell, size, half):
        low = max((index / 3 + (THIRD_MARGIN if index else 0)) * length, reach + 2)
        high = min(((index + 1) / 3 - (THIRD_MARGIN if index < 2 else 0)) * length, length - reach - 2)
        if low > high:
            return None
        centre.append(rng.uniform(low, high))
    return centre


def is_free(x: float, y: float, r: float, things: list[Thing], sign: Sign | None) -> bool:
    """Whether a disc at x, y overlaps nothing."""
    if any(math.hypot(x - t.x, y - t.y) < 1.08 * (r + t.r) for t in things):
        return False
    if sign is None:
        return True
    left, top, right, bottom = sign.box
    return math.hypot(x - min(max(x, left), right), y - min(max(y, top), bottom)) > 1.08 * r


def place_thing(rng, scene: Scene, shapes, colours, r_range, avoid: list[Thing]) -> Thing | None:
    shape, colour, rgb = pick_coloured_shape(rng, shapes, colours, scene.background_rgb)
    for _ in range(12):
        r = rng.uniform(*r_range) * min(scene.size)
        centre = pick_centre(rng, scene.size, (r, r))
        if centre and is_free(*centre, r, scene.things + avoid, scene.sign):
            return Thing(shape, colour, rgb, *centre, r, rng.uniform(-9, 9))
    return None


def empty_scene(rng: random.Random, sizes) -> Scene:
    size = rng.choice(sizes)
    if rng.random() < 0.15:
        size = tuple(rng.randint(round(0.75 * side), round(1.25 * side)) for side in size)
    background = rng.choice(list(BACKGROUNDS) + ["white"] * 3)
    return Scene(size, background, pick_rgb(rng, BACKGROUNDS[background]))


# ------------------------------------------------------------------------------------ signs


@lru_cache(maxsize=512)
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def sign_text(rng: random.Random, kind: str, held_out: bool) -> str:
    """kind: "word" or "number"."""
    if kind == "number":
        digits = rng.choice((1, 2, 2, 3, 3, 4))
        return str(rng.randint(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1))
    if held_out:
        return rng.choice(HELD_OUT_WORDS)
    if rng.random() < 0.15:
        return rng.choice(TRAIN_WORDS)
    while True:
        text = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.choice((2, 3, 4, 4, 5, 5, 6, 6))))
        if text not in HELD_OUT_WORDS:
            return text


def place_sign(rng: random.Random, scene: Scene, text: str, small: bool) -> Sign | None:
    """`small` lettering has capitals of 4 to 6 pixels once the picture is 336 wide, else 10 to 32."""
    # Capitals are about 0.7 of the font size.
    capital = rng.uniform(4.2, 6.2) if small else rng.triangular(10, 32, 16)
    font_size = max(6, round(capital / 0.7 * max(scene.size) / SIDE))
    stroke = rng.choice((0, 0, 0, 1)) * max(1, font_size // 28)
    left, top, right, bottom = font(font_size).getbbox(text, stroke_width=stroke, anchor="mm")
    margin = font_size * rng.uniform(0.3, 0.6)
    half = ((right - left) / 2 + margin, font_size * 0.5 + margin)
    if rng.random() < 0.3:
        board, ink = rng.choice((((0, 100, 60), (255, 255, 255)), ((20, 60, 160), (255, 255, 255)),
                                 ((180, 20, 30), (255, 255, 255)), ((250, 220, 60), (0, 0, 0)),
                                 ((20, 20, 20), (250, 250, 250))))  # fmt: skip
    else:
        board, ink = (250, 250, 250), rng.choice(((0, 0, 0), (0, 0, 0), (30, 30, 120), (140, 20, 20)))
    for _ in range(12):
        centre = pick_centre(rng, scene.size, half)
        if centre:
            x, y = centre
            box = (x - half[0], y - half[1], x + half[0], y + half[1])
            return Sign(text, box, font_size, stroke, board, ink, small)
    return None


# ----------------------------------------------------------------------------------- scenes


def random_scene(
    rng: random.Random,
    *,
    sign: str | None = None,
    small_sign: bool = False,
    held_out: bool = False,
) -> Scene:
    """A still picture of 1-6 shapes (up to 4 beside a sign). sign: None, "word" or "number"."""
    scene = empty_scene(rng, LARGE_SIZES if small_sign else SIZES)
    if sign:
        text = sign_text(rng, sign, held_out)
        while (placed := place_sign(rng, scene, text, small_sign)) is None:
            scene.size = rng.choice(LARGE_SIZES)
        scene.sign = placed
    count = rng.randint(0, 4) if sign else rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6))
    shapes, colours = list(SHAPES), list(COLOURS)
    if rng.random() < 0.5:  # few kinds, so that some repeat
        shapes, colours = rng.sample(shapes, 3), rng.sample(colours, 4)
    r_range = (0.075, 0.3) if count <= 2 else (0.07, 0.2)
    for _ in range(count):
        thing = place_thing(rng, scene, shapes, colours, r_range, [])
        if thing:
            scene.things.append(thing)
    # Reading order, the order in which descriptions name the shapes.
    scene.things.sort(key=lambda t: (int(3 * t.y / scene.size[1]), t.x))
    return scene


def random_clip(rng: random.Random, frames: int = 16, kind: str | None = None) -> Clip:
    """A video of `frames` evenly spaced frames, any even sub-sampling to >= 4 of which tells the same story."""
    kind = kind or rng.choice(("move", "move", "appear", "disappear", "recolour", "recolour", "order", "order"))
    while True:
        clip = try_clip(rng, frames, kind)
        if clip:
            return clip


def try_clip(rng: random.Random, count: int, kind: str) -> Clip | None:
    stage = empty_scene(rng, VIDEO_SIZES)
    width, height = stage.size
    times = [i / (count - 1) for i in range(count)]
    colours = list(COLOURS)
    actors: list[Thing] = []
    for _ in range(rng.choice((2, 3)) if kind == "order" else 1):
        actor = place_thing(rng, stage, SHAPES, colours, (0.08, 0.17), actors)
        if actor is None or any(actor.name == other.name for other in actors):
            return None
        actors.append(actor)
    actor, direction = actors[0], ""

    if kind == "move":
        direction = rng.choice(("left", "right", "up", "down"))
        length, reach = (width if direction in ("left", "right") else height), actor.r + 3
        travel = rng.uniform(0.4, 1.0) * (length - 2 * reach)
        start = rng.uniform(reach, length - reach - travel)
        begin, end = rng.choice(((0.0, 1.0), (0.0, 1.0), (rng.uniform(0, 0.3), rng.uniform(0.7, 1.0))))
        tracks = []
        for t in times:
            done = min(1.0, max(0.0, (t - begin) / (end - begin)))
            at = start + travel * (1 - done if direction in ("left", "up") else done)
            tracks.append([replace(actor, x=at) if direction in ("left", "right") else replace(actor, y=at)])
    elif kind in ("appear", "disappear"):
        change = rng.uniform(0.2, 0.8)
        tracks = [[actor] if (t >= change) == (kind == "appear") else [] for t in times]
    elif kind == "recolour":
        _, colour, rgb = pick_coloured_shape(rng, SHAPES, colours, stage.background_rgb)
        if colour == actor.colour or contrast(rgb, actor.rgb) < 70:
            return None
        actors.append(replace(actor, colour=colour, rgb=rgb))
        change = rng.uniform(0.2, 0.8)
        tracks = [[actors[int(t >= change)]] for t in times]
    else:  # order: nobody is there at first, and starts are so far apart that even 4 frames tell them apart
        starts = [rng.uniform(0.03, 0.24)]
        while len(starts) < len(actors):
            room = 0.345 * (len(actors) - len(starts) - 1)
            starts.append(rng.uniform(starts[-1] + 0.345, 0.97 - room))
        tracks = [[a for a, begin in zip(actors, starts) if t >= begin] for t in times]

    swept = [thing for track in tracks for thing in track]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        thing = place_thing(rng, stage, SHAPES, colours, (0.07, 0.15), swept)
        if thing and all(thing.name != other.name for other in actors + stage.things):
            stage.things.append(thing)
    frames = [replace(stage, things=stage.things + track) for track in tracks]
    return Clip(kind, frames, actors, stage.things, direction)
