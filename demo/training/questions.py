"""Questions and answers about rendered pictures."""

from __future__ import annotations

import random
from collections import Counter

from asking import SIGN as SIGN_OBJECT
from asking import Conversation, Referent, Speaker, article, choose_conversations, join, plural
from facts import NUMBERS
from scenes import COLOURS, SHAPES, Scene, Sign, Thing
from talk import small_talk
from wordings import (
    BACKGROUND, BIGGEST, COLOUR, COUNT, DESCRIBE, EXISTS, LARGER, NUMBER, RELATION, SHAPE, SIGN, SMALLER, WHERE, WHICH_SIDE,
)  # fmt: skip


def named_once(scene: Scene) -> list[Thing]:
    names = Counter(thing.name for thing in scene.things)
    return [thing for thing in scene.things if names[thing.name] == 1]


def only_with(scene: Scene, attribute: str) -> list[Thing]:
    values = Counter(getattr(thing, attribute) for thing in scene.things)
    return [thing for thing in scene.things if values[getattr(thing, attribute)] == 1]


def referent(words: str, scene: Scene, *items: Thing | Sign) -> tuple[Referent, ...]:
    """The words of a question that stand for some items of the scene."""
    bits = sum(1 << number for number, thing in enumerate(scene.things) if any(thing is item for item in items))
    return ((words, bits | (SIGN_OBJECT if any(item is scene.sign for item in items) else 0)),)


def refer(rng: random.Random, scene: Scene, thing: Thing) -> str:
    """ "red circle", or just "circle" now and then where that is clear."""
    alone = sum(other.shape == thing.shape for other in scene.things) == 1
    return thing.shape if alone and rng.random() < 0.3 else thing.name


def missing_name(rng: random.Random, scene_names: set[str]) -> str:
    """A coloured shape that is not there; often one whose colour and shape both are."""
    while True:
        colours, shapes = list(COLOURS), list(SHAPES)
        if scene_names and rng.random() < 0.7:
            parts = [name.split() for name in scene_names]
            kind = rng.random()
            if kind < 0.65:
                colours = [part[0] for part in parts]
            if kind > 0.35:
                shapes = [part[1] for part in parts]
        name = f"{rng.choice(colours)} {rng.choice(shapes)}"
        if name not in scene_names:
            return name
        if rng.random() < 0.5:
            scene_names = scene_names | {name}


def describe(say: Speaker, scene: Scene) -> Conversation:
    items = [f"{article(thing.name)} {scene.location(thing)}" for thing in scene.things]
    if scene.sign:
        items.append(f'a sign {scene.location(scene.sign)} that says "{scene.sign.text}"')
    answer = f"The picture has a {scene.background} background. It shows {join(items or ['nothing else'])}."
    return Conversation("describe", say.ask(DESCRIBE), answer)


def count(say: Speaker, scene: Scene) -> Conversation:
    rng = say.rng
    kind = rng.choice(("shape", "shape", "colour", "all"))
    present = bool(scene.things) and rng.random() < 0.8
    if kind == "all":
        counted, one, many = scene.things, "shape", "shapes"
    elif kind == "colour":
        colour = rng.choice([t.colour for t in scene.things] if present else list(COLOURS))
        counted = [t for t in scene.things if t.colour == colour]
        one, many = f"{colour} shape", f"{colour} shapes"
    else:
        shape = rng.choice([t.shape for t in scene.things] if present else SHAPES)
        counted = [t for t in scene.things if t.shape == shape]
        one, many = shape, plural(shape)
    number = len(counted)
    answer = f"There is one {one}." if number == 1 else f"There are {NUMBERS[number]} {many}."
    return Conversation("count", say.ask(COUNT, what=many), answer, referents=referent(many, scene, *counted))


def colour(say: Speaker, scene: Scene) -> Conversation | None:
    rng = say.rng
    if rng.random() < 0.06:
        absent = [s for s in SHAPES if all(t.shape != s for t in scene.things)]
        shape = rng.choice(absent)
        return Conversation("colour", say.ask(COLOUR, shape=shape), f"There is no {shape} in the picture.")
    if not (known := only_with(scene, "shape")):
        return None
    thing = rng.choice(known)
    question, answer = say.ask(COLOUR, shape=thing.shape), f"The {thing.shape} is {thing.colour}."
    return Conversation("colour", question, answer, referents=referent(thing.shape, scene, thing))


def shape(say: Speaker, scene: Scene) -> Conversation | None:
    if not (known := only_with(scene, "colour")):
        return None
    thing = say.rng.choice(known)
    question, answer = say.ask(SHAPE, colour=thing.colour), f"The {thing.colour} shape is a {thing.shape}."
    return Conversation("shape", question, answer, referents=referent(thing.colour, scene, thing))


def where(say: Speaker, scene: Scene) -> Conversation | None:
    rng = say.rng
    known: list[Thing | Sign] = [*named_once(scene)]
    if scene.sign:
        known.append(scene.sign)
    if not known:
        return None
    if rng.random() < 0.05:
        name = missing_name(rng, {t.name for t in scene.things})
        return Conversation("where", say.ask(WHERE, what=name), f"There is no {name} in the picture.")
    item = rng.choice(known)
    what, full = ("sign", "sign") if isinstance(item, Sign) else (refer(rng, scene, item), item.name)
    question, answer = say.ask(WHERE, what=what), f"The {full} is {scene.location(item)}."
    return Conversation("where", question, answer, referents=referent(what, scene, item))


def larger(say: Speaker, scene: Scene) -> Conversation | None:
    rng, known = say.rng, named_once(scene)
    if len(known) < 2:
        return None
    if rng.random() < 0.3:
        by_size = sorted(scene.things, key=lambda t: -t.r)
        if by_size[0].r < 1.3 * by_size[1].r:
            return None
        return Conversation("larger", say.ask(BIGGEST), f"The {by_size[0].name} is the largest shape.")
    a, b = rng.sample(known, 2)
    if max(a.r, b.r) < 1.3 * min(a.r, b.r):
        return None
    big, small = (a, b) if a.r > b.r else (b, a)
    meant = referent(a.name, scene, a) + referent(b.name, scene, b)
    if rng.random() < 0.7:
        return Conversation("larger", say.ask(LARGER, a=a.name, b=b.name), f"The {big.name} is larger.", referents=meant)
    return Conversation("larger", say.ask(SMALLER, a=a.name, b=b.name), f"The {small.name} is smaller.", referents=meant)


def relation(say: Speaker, scene: Scene) -> Conversation | None:
    rng, known = say.rng, named_once(scene)
    if len(known) < 2:
        return None
    a, b = rng.sample(known, 2)
    across = abs(a.x - b.x) / scene.size[0] > abs(a.y - b.y) / scene.size[1]
    gap = (a.x - b.x) / scene.size[0] if across else (a.y - b.y) / scene.size[1]
    if abs(gap) < 0.15:
        return None
    names = ("to the left of", "to the right of") if across else ("above", "below")
    true = names[int(gap > 0)]
    meant = referent(a.name, scene, a) + referent(b.name, scene, b)
    if rng.random() < 0.6:
        asked = rng.choice(names)
        verdict = "Yes" if asked == true else "No"
        answer = f"{verdict}, the {a.name} is {true} the {b.name}."
        return Conversation("relation", say.ask(RELATION, a=a.name, b=b.name, relation=asked), answer, referents=meant)
    side, winner = rng.choice((("left", gap < 0), ("right", gap > 0)) if across else (("up", gap < 0), ("down", gap > 0)))
    answer = f"The {(a if winner else b).name} is further {side}."
    return Conversation("relation", say.ask(WHICH_SIDE, a=a.name, b=b.name, side=side), answer, referents=meant)


def exists(say: Speaker, scene: Scene) -> Conversation:
    rng = say.rng
    if rng.random() < 0.15:
        answer = "Yes, there is a sign in the picture." if scene.sign else "No, there is no sign in the picture."
        return Conversation("exists", say.ask(EXISTS, what="a sign"), answer)
    names = {thing.name for thing in scene.things}
    name = rng.choice(sorted(names)) if names and rng.random() < 0.5 else missing_name(rng, names)
    answer = f"Yes, there is {article(name)} in the picture." if name in names else f"No, there is no {name} in the picture."
    meant = referent(name, scene, *(thing for thing in scene.things if thing.name == name))
    return Conversation("exists", say.ask(EXISTS, what=article(name)), answer, referents=meant)


def background(say: Speaker, scene: Scene) -> Conversation:
    return Conversation("background", say.ask(BACKGROUND), f"The background is {scene.background}.")


def sign(say: Speaker, scene: Scene) -> Conversation:
    if scene.sign is None:
        return Conversation("no sign", say.ask(say.rng.choice((SIGN, NUMBER))), "There is no sign in the picture.")
    meant = referent("sign", scene, scene.sign)
    if scene.sign.text.isdigit():
        if say.rng.random() < 0.7:
            answer = f"The number on the sign is {scene.sign.text}."
            return Conversation("sign number", say.ask(NUMBER), answer, referents=meant)
        return Conversation("sign number", say.ask(SIGN), f'The sign says "{scene.sign.text}".', referents=meant)
    return Conversation("sign word", say.ask(SIGN), f'The sign says "{scene.sign.text}".', referents=meant)


def two_turns(say: Speaker, scene: Scene) -> Conversation | None:
    """A second question that often only makes sense after the first."""
    rng = say.rng
    plain = Speaker(rng)
    known = [t for t in only_with(scene, "shape") if t in named_once(scene)]
    kind = rng.choice(("where is it", "what colour", "and the other", "unrelated"))
    if kind == "unrelated" or len(known) < 2:
        first = rng.choice((colour, where, exists, background))(plain, scene)
        second = rng.choice((colour, where, count, shape, sign))(say, scene)
        if first is None or second is None:
            return None
        question, answer, meant = second.question, second.answer, second.referents
    else:
        thing, other = rng.sample(known, 2)
        if kind == "where is it":
            first = Conversation("", plain.ask(COLOUR, shape=thing.shape), f"The {thing.shape} is {thing.colour}.")
            question = say.ask(("Where is it?", "And where is it?", "Where is it in the {pic}?", "Where can I see it?"))
            answer = f"The {thing.name} is {scene.location(thing)}."
            meant = referent("it", scene, thing)
        elif kind == "what colour":
            first = Conversation("", plain.ask(WHERE, what=thing.shape), f"The {thing.name} is {scene.location(thing)}.")
            question = say.ask(("And the {s}?", "And where is the {s}?", "What about the {s}?", "How about the {s}?"), s=other.shape)
            answer = f"The {other.name} is {scene.location(other)}."
            meant = referent(other.shape, scene, other)
        else:
            first = Conversation("", plain.ask(COLOUR, shape=thing.shape), f"The {thing.shape} is {thing.colour}.")
            question = say.ask(("And the {s}?", "And what about the {s}?", "What about the {s}?", "How about the {s}?"), s=other.shape)
            answer = f"The {other.shape} is {other.colour}."
            meant = referent(other.shape, scene, other)
    return Conversation("two turns", question, answer, ((first.question, first.answer),), meant)


STILL_FAMILIES = {
    "describe": describe, "count": count, "colour": colour, "shape": shape, "where": where, "larger": larger,
    "relation": relation, "exists": exists, "background": background, "sign": sign, "two turns": two_turns,
}  # fmt: skip
STILL_WEIGHTS = {
    "describe": 1.8, "count": 1.5, "colour": 1.4, "shape": 1.2, "where": 1.4, "larger": 2,
    "relation": 2, "exists": 1.4, "background": 0.3, "sign": 0.3, "two turns": 1.5,
}  # fmt: skip


def conversations_about_scene(rng: random.Random, scene: Scene, number: int) -> list[Conversation]:
    weights = STILL_WEIGHTS | {"small talk": 0.15}
    if scene.sign:
        weights = weights | {"sign": 4.5, "describe": 3.5}
    families = STILL_FAMILIES | {"small talk": lambda say, _: small_talk(say)}
    return choose_conversations(Speaker(rng), scene, families, weights, number)
