"""What is to be seen in a picture, patch by patch and thing by thing: training aids, not needed at inference.

Patch labels are uint8 [24, 24, 9] for a 336x336 input. Channels 0 to 6 are what PatchReader (aids.py) has to tell:
shape, colour, letter (each 0 for none), ninth of the picture (0 for the padding; that of its centre for a
shape), number of the thing (0 none, 1 to 6 in the order of the scene's things, 7 the sign), number of the
letter within the sign's text (0 none) and the next letter where two share a patch. IGNORED where a part of the
picture cannot tell. Channel 7 is the number of the thing wherever it is, channel 8 the patch's letters as bits.
"""

from __future__ import annotations

import numpy as np

from preprocess import SIDE, part_boxes
from scenes import COLOURS, SHAPES, Clip, Scene, Thing, font

PATCH = 14
GRID = SIDE // PATCH
CHANNELS = 9
OBJECT, LETTER_BITS = 7, 8
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
SLOTS = 6  # most things and most letters of a picture
SIGN_NUMBER = 7
SIZES = 6  # classes of radii
CLASSES = (len(SHAPES) + 1, len(COLOURS) + 1, len(LETTERS) + 1, 10, SIGN_NUMBER + 1, SLOTS + 1, len(LETTERS) + 1)
THING_CLASSES = (len(SHAPES) + 1, len(COLOURS) + 1, 10, SIZES + 1)
IGNORED = 255
SMALLEST_CAPITAL = 7  # letters lower than this many input pixels get no label


def ninth(scene: Scene, x, y):
    """1 to 9, row by row, for points of the scene."""
    column, row = np.floor(3 * x / scene.size[0]), np.floor(3 * y / scene.size[1])
    return (1 + 3 * np.clip(row, 0, 2) + np.clip(column, 0, 2)).astype(np.uint8)


def looks(thing: Thing) -> tuple[int, int]:
    """Classes of shape and colour."""
    return SHAPES.index(thing.shape) + 1, list(COLOURS).index(thing.colour) + 1


def label_letters(labels: np.ndarray, scene: Scene, scale: tuple[float, float], offset: tuple[float, float]) -> bool:
    """Labels the patches at the centres of the sign's letters; False where some of them are out of sight."""
    sign, typeface = scene.sign, font(scene.sign.font_size)
    left = sign.x - typeface.getlength(sign.text) / 2
    row = int((sign.y * scale[1] + offset[1]) // PATCH)
    complete = True
    for index, letter in enumerate(sign.text):
        middle = (typeface.getlength(sign.text[:index]) + typeface.getlength(sign.text[: index + 1])) / 2
        column = int(((left + middle) * scale[0] + offset[0]) // PATCH)
        if not (0 <= column < GRID and 0 <= row < GRID):
            complete = False
            continue
        if labels[row, column, 2] == 0:
            labels[row, column, 2], labels[row, column, 5] = LETTERS.index(letter) + 1, index + 1
        else:
            labels[row, column, 6] = LETTERS.index(letter) + 1
        labels[row, column, LETTER_BITS] |= 1 << index
    return complete


def label_patches(
    scene: Scene,
    numbers: list[int],
    box: tuple[int, int, int, int],
    scale: tuple[float, float],
    offset: tuple[float, float],
) -> np.ndarray:
    """Labels of an input that shows the box (left, top, width, height) of the scene.

    Scene pixel (x, y) falls at (x, y) * scale + offset. numbers: those of scene.things.
    """
    labels = np.zeros((GRID, GRID, CHANNELS), np.uint8)
    centres = PATCH * (np.arange(GRID) + 0.5)
    xs, ys = (centres - offset[0]) / scale[0], (centres - offset[1]) / scale[1]
    labels[..., 3] = ninth(scene, xs[None], ys[:, None])
    for number, thing in zip(numbers, scene.things):
        inside = (xs[None] - thing.x) ** 2 + (ys[:, None] - thing.y) ** 2 < (0.9 * thing.r) ** 2
        labels[inside, 0], labels[inside, 1] = looks(thing)
        labels[inside, 3] = ninth(scene, thing.x, thing.y)
        labels[inside, 4] = labels[inside, OBJECT] = number
    complete = True
    if sign := scene.sign:
        inside = (xs[None] > sign.box[0]) & (xs[None] < sign.box[2]) & (ys[:, None] > sign.box[1]) & (ys[:, None] < sign.box[3])
        labels[inside, 4] = labels[inside, OBJECT] = SIGN_NUMBER
        if 0.7 * sign.font_size * scale[1] >= SMALLEST_CAPITAL:
            complete = label_letters(labels, scene, scale, offset)
    left, top, width, height = box
    labels[(ys < top) | (ys >= top + height)] = 0
    labels[:, (xs < left) | (xs >= left + width)] = 0
    if (width, height) != scene.size:
        labels[..., 3:5] = IGNORED
        if not complete:
            labels[..., 5] = IGNORED
    return labels


def label_parts(scene: Scene, ratio: int) -> np.ndarray:
    """Labels of all parts of a picture that is padded to squares: [S, 24, 24, 9]."""
    labels = []
    for box in part_boxes(scene.size, ratio):
        left, top, width, height = box
        side = max(width, height)
        scale = SIDE / side
        offset = (((side - width) // 2 - left) * scale, ((side - height) // 2 - top) * scale)
        labels.append(label_patches(scene, list(range(1, 1 + len(scene.things))), box, (scale, scale), offset))
    return np.stack(labels)


def label_clip(clip: Clip) -> np.ndarray:
    """Labels of all frames of a video: [frames, 24, 24, 9]."""
    width, height = clip.frames[0].size
    scale = (SIDE / width, SIDE / height)
    names = [thing.name for thing in clip.still + clip.actors]
    return np.stack(
        [
            label_patches(frame, [1 + names.index(thing.name) for thing in frame.things], (0, 0, width, height), scale, (0, 0))
            for frame in clip.frames
        ]
    )


def list_contents(scene: Scene) -> np.ndarray:
    """uint8 [SLOTS, 5]: shape, colour, ninth and size of the k-th thing, k-th letter of the sign; 0 for none."""
    contents = np.zeros((SLOTS, 5), np.uint8)
    for row, thing in zip(contents, scene.things):
        size = np.log2(thing.r / max(scene.size) / 0.045) * 2  # half octaves of the radius
        row[:4] = *looks(thing), ninth(scene, thing.x, thing.y), 1 + np.clip(int(size), 0, SIZES - 1)
    for row, letter in zip(contents, scene.sign.text if scene.sign else ""):
        row[4] = LETTERS.index(letter) + 1
    return contents
