"""Writes samples/: pictures, short videos and questions.json with the expected and the given answers.

    python make_samples.py checkpoint samples

The scenes come from random streams that training never uses. Of each stream the first scene is taken whose questions
the checkpoint answers all rightly (the number of scenes tried is printed): samples show what it can do, they do not
measure it; evaluate.py does. The files are read back from disk through the same preprocessing as any user's.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from asking import Conversation, Speaker
from facts import states_the_same
from model import LlavaMini
from preprocess import image_parts, read_video, to_pixels
from questions import STILL_FAMILIES
from render import draw_scene
from scenes import Clip, random_clip, random_scene
from tokenizer import Chat
from video_questions import VIDEO_FAMILIES

STILLS = (  # file, sign, small sign, resolution ratio, families asked
    ("shapes-1.png", None, False, 1, ("describe", "colour", "where", "count")),
    ("shapes-2.png", None, False, 1, ("describe", "count", "exists")),
    ("shapes-3.png", None, False, 1, ("larger", "relation", "shape")),
    ("shapes-4.png", None, False, 1, ("relation", "two turns", "background")),
    ("shapes-5.png", None, False, 1, ("where", "exists", "two turns")),
    ("sign-word.png", "word", False, 1, ("sign", "describe")),
    ("sign-number.png", "number", False, 1, ("sign", "background")),
    ("sign-small.png", "number", True, 2, ("sign", "background")),
)
VIDEOS = (  # file, kind, families asked
    ("moves.mp4", "move", ("video event", "video direction", "video moves")),
    ("order.mp4", "order", ("video event", "video order", "video exists")),
)
SECONDS, FPS = 8, 10


@dataclass
class Record:
    file: str
    resolution_ratio: int
    history: tuple[tuple[str, str], ...]
    question: str
    expected: str
    answer: str
    right: bool


def write_video(path: Path, clip: Clip) -> None:
    """H.264 with FPS frames a second; clip.frames are all of them."""
    width, height = (side // 2 * 2 for side in clip.frames[0].size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for scene in clip.frames:
            picture = draw_scene(scene, smooth=True).crop((0, 0, width, height))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def ask(model: LlavaMini, chat: Chat, parts: np.ndarray, file: str, ratio: int, asked: Conversation) -> Record:
    """parts: uint8 [T, S, 336, 336, 3]."""
    ids = torch.tensor(chat.prompt(asked.question, asked.history))[None, None]
    pixels = to_pixels(torch.from_numpy(parts))[None]
    answer = chat.decode(model.generate(pixels, ids, torch.tensor([[ids.shape[-1]]]))[0][0])
    right = states_the_same(answer, asked.answer, exactly=False)
    return Record(file, ratio, asked.history, asked.question, asked.answer, answer, right)


def some_conversation(families: dict, family: str, say: Speaker, subject) -> Conversation | None:
    for _ in range(40):
        if conversation := families[family](say, subject):
            return conversation
    return None


def first_right(file: str, attempt: Callable[[random.Random], list[Record] | None], most: int = 60) -> list[Record]:
    """The records of the first attempt (a scene from its own random stream) that are all right, or of the last one."""
    tried = 0
    for number in range(1000):
        records = attempt(random.Random(f"samples {file} {number}"))
        if records is None:
            continue
        tried += 1
        if tried == most or all(record.right for record in records):
            print(f"{file}: {sum(record.right for record in records)} of {len(records)} right, scene {tried}", flush=True)
            return records
    raise RuntimeError(f"no scene for {file}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    model, chat = LlavaMini.load(args.checkpoint), Chat(args.checkpoint)
    records = []
    for file, sign, small_sign, ratio, families in STILLS:

        def still(rng: random.Random) -> list[Record] | None:
            scene, say = random_scene(rng, sign=sign, small_sign=small_sign, held_out=True), Speaker(rng)
            asked = [some_conversation(STILL_FAMILIES, family, say, scene) for family in families]
            if None in asked:
                return None
            draw_scene(scene, smooth=True).save(args.folder / file, optimize=True)
            with Image.open(args.folder / file) as picture:
                parts = image_parts(picture, ratio)[None]
            return [ask(model, chat, parts, file, ratio, conversation) for conversation in asked]

        records += first_right(file, still)
    for file, kind, families in VIDEOS:

        def video(rng: random.Random) -> list[Record] | None:
            clip, say = random_clip(rng, SECONDS * FPS, kind), Speaker(rng)
            asked = [some_conversation(VIDEO_FAMILIES, family, say, clip) for family in families]
            if None in asked:
                return None
            write_video(args.folder / file, clip)
            parts = read_video(args.folder / file)[:, None]
            return [ask(model, chat, parts, file, 1, conversation) for conversation in asked]

        records += first_right(file, video)
    text = json.dumps([asdict(record) for record in records], indent=1, ensure_ascii=False)
    (args.folder / "questions.json").write_text(text + "\n")
    print(f"{sum(record.right for record in records)} of {len(records)} right")


if __name__ == "__main__":
    main()
