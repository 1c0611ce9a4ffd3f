"""The key facts that an answer states, for comparing answers."""

from __future__ import annotations

import re
from collections import Counter

from scenes import COLOURS, LOCATIONS, SHAPES

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")

FACT = re.compile(
    r'"[^"]*"|\d+|\b(?:'
    + "|".join(sorted((place.split(" ", 2)[2] for place in LOCATIONS.values()), key=len, reverse=True))
    + "|(?:light |dark )?(?:" + "|".join(COLOURS) + ")"
    + "|(?:" + "|".join(SHAPES) + r")(?=s\b|es\b|\b)"
    + "|" + "|".join(NUMBERS)
    + "|yes|left|right|up|down|higher|larger|smaller|above|below"
    + "|moves?|appears?|disappears?|turns|sign|first|then"
    + r")",
    re.IGNORECASE,
)  # fmt: skip
OBJECT = re.compile(r"\ban? (\w+ (?:%s)) (?:at|on|in) the ([a-z ]*?)(?=,|\.| and\b)" % "|".join(SHAPES))


def facts(answer: str) -> tuple[str, ...]:
    """Colours, shapes, numbers, places, verbs and quoted texts of an answer, in order.

    An answer that states none of them (small talk) is its own single fact.
    """
    found = tuple(match.group() if match.group()[0] == '"' else match.group().lower() for match in FACT.finditer(answer))
    return found or (answer.strip(),)


def described_objects(answer: str) -> Counter[tuple[str, ...]]:
    """(coloured shape, place) pairs of a description."""
    return Counter(OBJECT.findall(answer))


def states_the_same(answer: str, expected: str, exactly: bool) -> bool:
    """exactly: word for word, as small talk has to be."""
    return answer == expected if exactly else facts(answer) == facts(expected)


def score_row(family: str, expected: list[str], answers: list[str], exactly: bool) -> dict[str, float]:
    """right, cases, accuracy; for descriptions also the share of objects named with the right place."""
    right = sum(states_the_same(answer, truth, exactly) for answer, truth in zip(answers, expected))
    row = {"right": right, "cases": len(answers), "accuracy": right / len(answers)}
    if family == "describe":
        found = total = 0
        for answer, truth in zip(answers, expected):
            found += (described_objects(truth) & described_objects(answer)).total()
            total += described_objects(truth).total()
        row["objects"] = found / max(1, total)
    return row
