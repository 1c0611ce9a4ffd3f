"""The calls of the long mixed run, each a function of (client, its random numbers): what a user does, well or badly.

A call returns the name of what happened ("answered", "cancelled", ...). It raises Wrong where the server did what it must not do;
an answer to a fixed question asked greedily is told to Answers, which says how many differ from the usual one.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

SOURCE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "client/python"), str(SOURCE / "tests/e2e")]

import pictures  # noqa: E402
from llavamini import Client, LlavaMiniError  # noqa: E402

QUESTIONS = ("What is in the picture?", "can you describe the picture?", "Which colours are there?", "What is at the top left?")
TEXTS = ("Hello!", "What can you do?", "How many legs has a spider?", "Name three colours.")
FIXED_PICTURES = 12
MAX_TOKENS = 48


class Wrong(Exception):
    """The server broke a promise."""


@dataclass
class Answers:
    """How often each answer was given to each fixed question. Safe from any thread."""

    texts: dict[tuple, Counter[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, question: tuple, text: str) -> None:
        with self.lock:
            self.texts.setdefault(question, Counter())[text] += 1

    def count(self) -> int:
        return sum(given.total() for given in self.texts.values())

    def differing(self) -> int:
        """Answers that are not the one given most often to their question."""
        return sum(given.total() - max(given.values()) for given in self.texts.values())

    def examples(self) -> list[dict]:
        return [{"question": question, "answers": dict(given.most_common())} for question, given in self.texts.items() if len(given) > 1]


def fixed_picture(number: int) -> bytes:
    return pictures.png(number, 96, 72)


def new_picture(rng: random.Random) -> bytes:
    return pictures.png(rng.getrandbits(62) + FIXED_PICTURES, rng.randint(16, 640), rng.randint(16, 480))


def read(stream: object, pause: float = 0) -> str:
    texts = []
    for text in stream:
        texts.append(text)
        if pause:
            time.sleep(pause)
    return "".join(texts)


@dataclass(frozen=True)
class Caller:
    client: Client
    answers: Answers

    def greedy_text(self, rng: random.Random) -> str:
        question = rng.choice(TEXTS)
        self.answers.tell(("text", question), read(self.client.stream(question, temperature=0, max_tokens=MAX_TOKENS)))
        return "answered"

    def greedy_image(self, rng: random.Random) -> str:
        number, question = rng.randrange(FIXED_PICTURES), rng.choice(QUESTIONS)
        stream = self.client.stream(question, image=fixed_picture(number), temperature=0, max_tokens=MAX_TOKENS)
        self.answers.tell(("image", number, question), read(stream))
        return "answered"

    def greedy_video(self, rng: random.Random) -> str:
        first, count = rng.randrange(4), rng.choice((2, 5, 8))
        frames = [fixed_picture(first + i) for i in range(count)]
        answer = self.client.chat("What happens?", frames=frames, temperature=0, max_tokens=MAX_TOKENS)
        if answer.usage.images != count:
            raise Wrong(f"{answer.usage.images} of {count} frames used")
        self.answers.tell(("video", first, count), answer.text)
        return "answered"

    def sampled_image(self, rng: random.Random) -> str:
        question, tokens = rng.choice(QUESTIONS), rng.randint(1, 2 * MAX_TOKENS)
        answer = self.client.chat(
            question, image=new_picture(rng), temperature=rng.uniform(0.2, 1.5), top_p=rng.choice((1.0, 0.9)), seed=rng.getrandbits(32),
            max_tokens=tokens, ignore_eos=rng.random() < 0.5, logprobs=rng.random() < 0.1,
        )  # fmt: skip
        if not 0 <= answer.usage.completion_tokens <= tokens:
            raise Wrong(f"{answer.usage.completion_tokens} tokens of at most {tokens}")
        return "answered"

    def cancel(self, rng: random.Random) -> str:
        stream = self.client.stream(rng.choice(QUESTIONS), image=new_picture(rng), max_tokens=400, ignore_eos=True)
        after = rng.choice((0, 0, 1, 10))
        try:
            for number, _ in enumerate(stream):
                if number >= after:
                    break
            stream.cancel()
            read(stream)
        except LlavaMiniError as error:
            if error.code != grpc.StatusCode.CANCELLED:
                raise
            return "cancelled"
        return "ended before the cancel"

    def vanish(self, rng: random.Random) -> str:
        """Cancels before anything can have come."""
        stream = self.client.stream(rng.choice(QUESTIONS), image=new_picture(rng), max_tokens=400, ignore_eos=True)
        time.sleep(rng.uniform(0, 0.1))
        stream.cancel()
        return "cancelled"

    def slow(self, rng: random.Random) -> str:
        read(self.client.stream(rng.choice(TEXTS), max_tokens=MAX_TOKENS, temperature=1, seed=rng.getrandbits(32)), pause=0.05)
        return "answered"

    def late(self, rng: random.Random) -> str:
        seconds = rng.uniform(0.01, 0.4)
        try:
            self.client.chat(rng.choice(QUESTIONS), image=new_picture(rng), max_tokens=4000, ignore_eos=True, timeout=seconds)
        except LlavaMiniError as error:
            if error.code != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            return "out of time"
        return "answered"

    def bad(self, rng: random.Random) -> str:
        what, expected = rng.choice(BAD)
        try:
            self.client.chat("What is this?", **what(rng))
        except LlavaMiniError as error:
            if error.code != expected:
                raise
            return "refused as invalid"
        raise Wrong(f"a bad input was answered: {sorted(what(rng))}")


BAD: list[tuple[Callable[[random.Random], dict], grpc.StatusCode]] = [
    (lambda rng: {"image": pictures.corrupt_png()}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"image": pictures.cut(new_picture(rng))}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"image": pictures.cut(pictures.JPEG)}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"image": rng.randbytes(rng.randint(1, 5000))}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"video": rng.randbytes(5000)}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"frames": [fixed_picture(0), b""]}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"temperature": -1.0}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"top_p": 7.0}, grpc.StatusCode.INVALID_ARGUMENT),
    (lambda rng: {"model": "no such model"}, grpc.StatusCode.NOT_FOUND),
]

# How often each is made, out of their sum.
MIX: list[tuple[Callable[[Caller, random.Random], str], int]] = [
    (Caller.greedy_text, 15), (Caller.greedy_image, 30), (Caller.greedy_video, 6), (Caller.sampled_image, 25), (Caller.cancel, 8),
    (Caller.vanish, 4), (Caller.slow, 3), (Caller.late, 3), (Caller.bad, 6),
]  # fmt: skip
