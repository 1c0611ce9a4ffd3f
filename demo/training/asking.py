"""What all question families share: the conversation, and how a question is worded."""

from __future__ import annotations

import random
from dataclasses import dataclass


# (words of the question, objects that they stand for). Objects are bits: 1 << i for the i-th thing of a
# scene (or of a clip's still things and actors), SIGN for the sign. Only training looks at them (aids.py).
Referent = tuple[str, int]
SIGN = 1 << 6


@dataclass(frozen=True)
class Conversation:
    """The last question is to be answered by `answer`; `history` holds the turns before it."""

    family: str
    question: str
    answer: str
    history: tuple[tuple[str, str], ...] = ()
    referents: tuple[Referent, ...] = ()


def join(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def article(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


@dataclass
class Speaker:
    """Words questions. unseen=True uses only the wordings that training never uses."""

    rng: random.Random
    unseen: bool = False

    def ask(self, wordings: tuple[str, ...], **slots: str) -> str:
        reserved = 1 if len(wordings) >= 4 else 0
        if self.unseen and reserved:
            text = wordings[-1]
        else:
            text = self.rng.choice(wordings[: len(wordings) - reserved])
        text = text.format(pic=self.rng.choice(("picture", "picture", "image", "photo")), **slots)
        if self.rng.random() < 0.5:
            text = text.replace("colour", "color").replace("Colour", "Color")
        if self.rng.random() < 0.3:
            text = text.replace("gray", "grey")
        if self.rng.random() < 0.08:
            text = self.rng.choice(("Please tell me: ", "Tell me, ", "Hi. ", "Can you tell me: ")) + text[0].lower() + text[1:]
        if self.rng.random() < 0.12:
            text = text.lower()
        if self.rng.random() < 0.1:
            text = text.rstrip("?.")
        return text


def choose_conversations(say: Speaker, subject, families: dict, weights: dict, number: int) -> list[Conversation]:
    """`number` conversations about one subject, families drawn by weight."""
    found: list[Conversation] = []
    while len(found) < number:
        family = say.rng.choices(list(weights), list(weights.values()))[0]
        conversation = families[family](say, subject)
        if conversation:
            found.append(conversation)
    return found
