"""Held-out accuracy of a checkpoint folder, loaded from disk, fp32, greedy decoding.

    python evaluate.py checkpoint --cases 250 --json accuracy.json

Every case is a scene of its own from random streams that training never uses. A case counts as right
when the answer states exactly the facts (colours, shapes, places, numbers, quoted text ...) of the
expected one, in order; small talk has to match word for word.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model import LlavaMini
from preprocess import image_parts, nearest_resize, to_pixels
from asking import Conversation, Speaker
from facts import score_row, states_the_same
from questions import STILL_FAMILIES
from render import draw_frames, draw_varied
from scenes import random_clip, random_scene
from talk import TEXT_FAMILIES
from tokenizer import Chat
from video_questions import VIDEO_FAMILIES


@dataclass(frozen=True)
class Suite:
    """One row of the table. sign and clip: kinds of scenes.random_scene and random_clip."""

    family: str
    sign: str | None = None
    small_sign: bool = False
    held_out: bool = False
    ratio: int = 1
    clip: str | None = None
    frames: tuple[int, ...] = (4, 6, 8, 12, 16)
    unseen: bool = False

    @property
    def is_video(self) -> bool:
        return self.family in VIDEO_FAMILIES


def suites() -> dict[str, Suite]:
    table = {
        name: Suite(name)
        for name in ("describe", "count", "colour", "shape", "where", "larger", "relation", "exists", "background", "two turns")
    }
    table |= {
        "describe, with a sign": Suite("describe", sign="word"),
        "no sign": Suite("sign"),
        "sign: word or letters": Suite("sign", sign="word"),
        "sign: word never trained on": Suite("sign", sign="word", held_out=True),
        "sign: number": Suite("sign", sign="number"),
        "video: move": Suite("video event", clip="move"),
        "video: appear": Suite("video event", clip="appear"),
        "video: disappear": Suite("video event", clip="disappear"),
        "video: change of colour": Suite("video event", clip="recolour"),
        "video: order": Suite("video order", clip="order"),
        "video: direction": Suite("video direction", clip="move"),
        "video: does it move": Suite("video moves"),
        "video: exists": Suite("video exists"),
        "video: move, 5, 7, 10 or 20 frames": Suite("video event", clip="move", frames=(5, 7, 10, 20)),
        "text only: small talk": Suite("small talk"),
        "text only: out of scope": Suite("out of scope"),
        "text only: no picture": Suite("no picture"),
    }
    table |= {f"{name}, n=2": replace(table[name], ratio=2) for name in ("describe", "count", "colour", "where", "relation")}
    for name in ("word", "number"):
        small = Suite("sign", sign=name, small_sign=True)
        table |= {f"small sign: {name}, n=1": small, f"small sign: {name}, n=2": replace(small, ratio=2)}
    for name in ("describe", "count", "colour", "where", "exists"):
        table[f"{name}, unseen wording"] = replace(table[name], unseen=True)
    table["video: order, unseen wording"] = replace(table["video: order"], unseen=True)
    return table


@dataclass
class Case:
    """parts: uint8 [T, S, 336, 336, 3], or None without a picture."""

    label: str
    parts: np.ndarray | None
    conversation: Conversation


def draw_case(label: str, suite: Suite, index: int) -> tuple[list[Image.Image], Conversation]:
    """The picture or the frames of a case at their own sizes (none for text only), and what is asked."""
    rng = random.Random(f"test {label.removesuffix(', n=1').removesuffix(', n=2')} {index}")
    say = Speaker(rng, suite.unseen)
    while True:
        if suite.family in TEXT_FAMILIES:
            return [], TEXT_FAMILIES[suite.family](say, None)
        if suite.is_video:
            clip = random_clip(rng, rng.choice(suite.frames), suite.clip)
            if conversation := VIDEO_FAMILIES[suite.family](say, clip):
                return draw_frames(rng, clip), conversation
        else:
            scene = random_scene(rng, sign=suite.sign, small_sign=suite.small_sign, held_out=suite.held_out)
            if conversation := STILL_FAMILIES[suite.family](say, scene):
                return [draw_varied(rng, scene)], conversation


def make_case(label: str, suite: Suite, index: int) -> Case:
    pictures, conversation = draw_case(label, suite, index)
    if not pictures:
        parts = None
    elif suite.is_video:
        parts = np.stack([nearest_resize(np.asarray(frame)) for frame in pictures])[:, None]
    else:
        parts = image_parts(pictures[0], suite.ratio)[None]
    return Case(label, parts, conversation)


def answer_cases(model: LlavaMini, chat: Chat, cases: list[Case], batch: int, device: str) -> list[str]:
    """Greedy answers, in the order of the cases."""
    answers = [""] * len(cases)
    groups = defaultdict(list)
    for index, case in enumerate(cases):
        groups[None if case.parts is None else case.parts.shape].append(index)
    for shape, members in groups.items():
        size = batch if shape is None else max(1, batch // (shape[0] * shape[1]))
        for first in range(0, len(members), size):
            chosen = members[first : first + size]
            prompts = [
                chat.prompt(cases[i].conversation.question, cases[i].conversation.history, shape is not None) for i in chosen
            ]
            lengths = torch.tensor([[len(p)] for p in prompts])
            ids = torch.zeros(len(prompts), 1, int(lengths.max()), dtype=torch.long)
            for row, prompt in enumerate(prompts):
                ids[row, 0, : len(prompt)] = torch.tensor(prompt)
            pixels = None
            if shape is not None:
                pixels = to_pixels(torch.from_numpy(np.stack([cases[i].parts for i in chosen])).to(device))
            for i, (tokens,) in zip(chosen, model.generate(pixels, ids.to(device), lengths.to(device))):
                answers[i] = chat.decode(tokens)
    return answers


def is_right(case: Case, answer: str) -> bool:
    return states_the_same(answer, case.conversation.answer, exactly=case.parts is None)


def score(cases: list[Case], answers: list[str]) -> dict[str, float]:
    expected = [case.conversation.answer for case in cases]
    return score_row(cases[0].conversation.family, expected, answers, exactly=cases[0].parts is None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=250, help="cases for each row")
    parser.add_argument("--only", default="", help="regular expression that chooses rows by name")
    parser.add_argument("--batch", type=int, default=128, help="pictures or frames at a time")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print for each row")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    table = {label: suite for label, suite in suites().items() if re.search(args.only, label)}
    jobs = [(label, suite, index) for label, suite in table.items() for index in range(args.cases)]
    model, chat = LlavaMini.load(args.folder, args.device), Chat(args.folder)
    result = {}
    print("| held-out cases | accuracy | n |\n| --- | --- | --- |", flush=True)
    with ProcessPoolExecutor(args.workers) as executor:
        rendered = executor.map(make_case, *zip(*jobs), chunksize=10)
        for label in table:
            cases = list(islice(rendered, args.cases))
            answers = answer_cases(model, chat, cases, args.batch, args.device)
            row = result[label] = score(cases, answers)
            note = f" (objects: {100 * row['objects']:.1f} %)" if "objects" in row else ""
            print(f"| {label} | {100 * row['accuracy']:.1f} %{note} | {row['cases']} |", flush=True)
            wrong = [(case, answer) for case, answer in zip(cases, answers) if not is_right(case, answer)]
            for case, answer in wrong[: args.show]:
                print(f"    {case.conversation.question}\n      expected {case.conversation.answer}\n      answered {answer}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
