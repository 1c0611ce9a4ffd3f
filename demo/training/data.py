"""Training data: conversations as token ids, rendering in worker processes, and pools to draw from.

B items of a batch, F parts or frames of an item, Q conversations about it, L text tokens.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from asking import Conversation
from labels import CHANNELS, GRID, SLOTS, label_clip, label_parts, list_contents
from preprocess import SIDE, image_parts
from questions import conversations_about_scene
from render import draw_clip, draw_varied
from scenes import random_clip, random_scene
from talk import text_conversations
from tokenizer import Chat
from video_questions import conversations_about_clip

LENGTH = 120  # text tokens of a training conversation, prompt and answer
ASKED = 12  # conversations kept for a picture
CLIP_FRAMES = 16
CLIP_LENGTHS = (4, 6, 8, 12, 16)  # all divide the numbers of frames of a step
REFERENTS = 2  # most things that a question names

# kind: (parts or frames of an item, items in a rendered chunk, share of the chunks)
KINDS = {"image": (1, 24, 0.60), "large": (5, 6, 0.19), "video": (CLIP_FRAMES, 4, 0.21)}


def find_referents(chat: Chat, prompt: list[int], conversation: Conversation) -> np.ndarray:
    """int16 [REFERENTS, 3]: the prompt's row of the words' last token, the objects' bits, 1 + the thing if it is one.

    Zeros where there is none.
    """
    found = np.zeros((REFERENTS, 3), np.int16)
    question = conversation.question.strip()
    encoded = chat.tokenizer.encode(question, add_special_tokens=False)
    first = len(prompt) - chat.opening_length - len(encoded.ids)
    for row, (words, objects) in zip(found, conversation.referents):
        pattern = rf"\b(?:{words}|{words.replace('gray', 'grey')})"
        match = re.search(pattern, question, re.IGNORECASE)
        if match and objects:
            token = max(i for i, (start, _) in enumerate(encoded.offsets) if start < match.end())
            alone = objects & (objects - 1) == 0 and objects < 1 << SLOTS
            row[:] = first + token, objects, objects.bit_length() if alone else 0
    return found


def encode(chat: Chat, conversations: list[Conversation], image: bool) -> tuple[np.ndarray, ...] | None:
    """ids int16 [Q, LENGTH] (0 beyond the end), lengths int16 [Q, 2] of prompt and whole, and
    referents int16 [Q, REFERENTS, 3]; None if a conversation is too long."""
    ids = np.zeros((len(conversations), LENGTH), np.int16)
    lengths = np.zeros((len(conversations), 2), np.int16)
    referents = np.zeros((len(conversations), REFERENTS, 3), np.int16)
    for row, conversation in enumerate(conversations):
        prompt = chat.prompt(conversation.question, conversation.history, image)
        whole = prompt + chat.answer(conversation.answer)
        if len(whole) > LENGTH:
            return None
        ids[row, : len(whole)] = whole
        lengths[row] = len(prompt), len(whole)
        referents[row] = find_referents(chat, prompt, conversation)
    return ids, lengths, referents


def render_item(kind: str, rng: random.Random, chat: Chat) -> tuple[np.ndarray, ...]:
    """Parts or frames uint8 [F, 336, 336, 3], their patch labels, contents, and `encode` of ASKED conversations."""
    while True:
        if kind == "video":
            clip = random_clip(rng, CLIP_FRAMES)
            encoded = encode(chat, conversations_about_clip(rng, clip, ASKED), image=True)
            if encoded:
                return draw_clip(rng, clip), label_clip(clip), np.zeros((SLOTS, 5), np.uint8), *encoded
        else:
            large = kind == "large"
            sign = rng.choice(("word", "word", "number")) if rng.random() < (0.75 if large else 0.58) else None
            scene = random_scene(rng, sign=sign, small_sign=rng.random() < (0.6 if large else 0.05))
            encoded = encode(chat, conversations_about_scene(rng, scene, ASKED), image=True)
            if encoded:
                ratio = 2 if large else 1
                return image_parts(draw_varied(rng, scene), ratio), label_parts(scene, ratio), list_contents(scene), *encoded


class Renderer(IterableDataset):
    """Endless chunks (kind, *arrays of render_item stacked), different ones in every worker."""

    def __init__(self, folder: Path, seed: str):
        self.folder, self.seed = folder, seed

    def __iter__(self):
        torch.set_num_threads(1)
        os.nice(15)  # the training step and the compiler come first
        chat = Chat(self.folder)
        rng = random.Random(f"train {self.seed} {get_worker_info().id}")
        kinds, shares = list(KINDS), [share for _, _, share in KINDS.values()]
        while True:
            kind = rng.choices(kinds, shares)[0]
            items = [render_item(kind, rng, chat) for _ in range(KINDS[kind][1])]
            yield kind, *(torch.from_numpy(np.stack(arrays)) for arrays in zip(*items))


class Pool:
    """The newest rendered items of one kind, on the training device."""

    def __init__(self, capacity: int, frames: int, device: str):
        def empty(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(capacity, *shape, dtype=dtype, device=device)

        self.arrays = (
            empty(frames, SIDE, SIDE, 3, dtype=torch.uint8),  # pictures
            empty(frames, GRID, GRID, CHANNELS, dtype=torch.uint8),  # labels
            empty(SLOTS, 5, dtype=torch.uint8),  # contents
            empty(ASKED, LENGTH, dtype=torch.int16),  # ids
            empty(ASKED, 2, dtype=torch.int16),  # lengths
            empty(ASKED, REFERENTS, 3, dtype=torch.int16),  # referents
        )
        self.capacity, self.next, self.filled, self.rendered = capacity, 0, 0, 0

    def add(self, *chunk: Tensor, finish: Callable[[], None] = lambda: None) -> None:
        """finish: waits for the copies. (An item that is drawn while it is replaced may be half new: rare, harmless.)"""
        items = len(chunk[0])
        if self.next + items > self.capacity:
            self.next = 0
        for kept, new in zip(self.arrays, chunk):
            kept[self.next : self.next + items].copy_(new, non_blocking=True)
        finish()
        self.next += items
        self.filled = max(self.filled, self.next)
        self.rendered += items

    def draw(self, items: int, asked: int) -> tuple[Tensor, ...]:
        """Of random items: pictures [B, F, 336, 336, 3], labels, contents, and ids, lengths, referents of `asked` conversations."""
        pictures, labels, contents, *texts = self.arrays
        chosen = torch.randint(max(1, self.filled), (items,), device=pictures.device)
        rows = torch.rand(items, ASKED, device=pictures.device).argsort(1)[:, :asked]
        texts = (text[chosen[:, None], rows].long() for text in texts)
        return pictures[chosen], labels[chosen].long(), contents[chosen].long(), *texts


class Batches:
    """Draws batches of a kind: [pictures uint8 [B, T, S, 336, 336, 3], labels, contents (none of them for text)], ids, lengths, referents."""

    def __init__(self, chat: Chat, pools: dict[str, Pool], frames: int, asked: int, device: str, seed: int):
        self.pools, self.frames, self.asked = pools, frames, asked
        talk = encode(chat, text_conversations(random.Random(f"talk {seed}"), 12000), image=False)
        # Of the stored frames, those that a shorter video has.
        self.evenly = {
            count: torch.tensor([round(i * (CLIP_FRAMES - 1) / (count - 1)) for i in range(count)], device=device)
            for count in CLIP_LENGTHS
        }
        self.talk = tuple(torch.from_numpy(array).long().to(device) for array in talk)

    def draw(self, kind: str, frames: int) -> list[Tensor]:
        if kind == "text":
            rows = torch.randint(len(self.talk[0]), (16, self.asked), device=self.talk[0].device)
            return [array[rows] for array in self.talk]
        items = {"image": self.frames, "large": self.frames // 5, "video": self.frames // frames}[kind]
        pictures, labels, *others = self.pools[kind].draw(items, self.asked)
        if kind != "video":
            return [pictures[:, None], labels, *others]
        evenly = self.evenly[frames]
        return [pictures[:, evenly, None], labels[:, evenly], *others]
