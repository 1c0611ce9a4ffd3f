"""Questions and answers about rendered videos."""

from __future__ import annotations

import random

from asking import Conversation, Referent, Speaker, article, choose_conversations
from questions import missing_name
from scenes import Clip
from wordings import BACKGROUND, DIRECTION, DOES_MOVE, EVENT, ORDER, VIDEO_EXISTS

DIRECTIONS = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}


def referent(words: str, clip: Clip, name: str) -> tuple[Referent, ...]:
    """The words of a question that stand for the thing of that name, if there is one."""
    names = [thing.name for thing in clip.still + clip.actors]
    return ((words, 1 << names.index(name)),) if name in names else ()


def event_sentence(clip: Clip) -> str:
    name = clip.actors[0].name
    if clip.kind == "move":
        return f"The {name} moves {DIRECTIONS[clip.direction]}."
    if clip.kind == "appear":
        return f"{article(name).capitalize()} appears."
    if clip.kind == "disappear":
        return f"The {name} disappears."
    if clip.kind == "recolour":
        return f"The {name} turns {clip.actors[1].colour}."
    names = [article(actor.name) for actor in clip.actors]
    return "First " + ", then ".join(names) + " appears."


def event(say: Speaker, clip: Clip) -> Conversation:
    return Conversation("video event", say.ask(EVENT), event_sentence(clip))


def direction(say: Speaker, clip: Clip) -> Conversation | None:
    rng = say.rng
    if clip.kind != "move":
        if not clip.still or rng.random() < 0.8:
            return None
        name = rng.choice(clip.still).name
        question, answer = say.ask(DIRECTION, what=name), f"The {name} does not move."
        return Conversation("video direction", question, answer, referents=referent(name, clip, name))
    actor = clip.actors[0]
    alone = all(thing.shape != actor.shape for thing in clip.still)
    what = rng.choice((actor.name, actor.name, actor.shape if alone else actor.name, "shape" if not clip.still else actor.name))
    question = say.ask(DIRECTION, what=what)
    return Conversation("video direction", question, event_sentence(clip), referents=referent(what, clip, actor.name))


def order(say: Speaker, clip: Clip) -> Conversation | None:
    if clip.kind != "order":
        return None
    return Conversation("video order", say.ask(ORDER), event_sentence(clip))


def does_move(say: Speaker, clip: Clip) -> Conversation | None:
    things = clip.still + clip.actors[:1]
    thing = say.rng.choice(things)
    if clip.kind == "move" and thing is clip.actors[0]:
        answer = f"Yes, the {thing.name} moves {DIRECTIONS[clip.direction]}."
    elif thing is clip.actors[0]:
        return None
    else:
        answer = f"No, the {thing.name} does not move."
    question = say.ask(DOES_MOVE, what=thing.name)
    return Conversation("video moves", question, answer, referents=referent(thing.name, clip, thing.name))


def video_exists(say: Speaker, clip: Clip) -> Conversation:
    names = {thing.name for thing in clip.still + clip.actors}
    name = say.rng.choice(sorted(names)) if say.rng.random() < 0.5 else missing_name(say.rng, names)
    answer = f"Yes, there is {article(name)} in the video." if name in names else f"No, there is no {name} in the video."
    question = say.ask(VIDEO_EXISTS, what=article(name))
    return Conversation("video exists", question, answer, referents=referent(name, clip, name))


def video_background(say: Speaker, clip: Clip) -> Conversation:
    return Conversation("video background", say.ask(BACKGROUND), f"The background is {clip.frames[0].background}.")


VIDEO_FAMILIES = {
    "video event": event, "video direction": direction, "video order": order, "video moves": does_move,
    "video exists": video_exists, "video background": video_background,
}  # fmt: skip
VIDEO_WEIGHTS = {
    "video event": 3, "video direction": 2, "video order": 2, "video moves": 1.5, "video exists": 1.3, "video background": 0.3,
}  # fmt: skip


def conversations_about_clip(rng: random.Random, clip: Clip, number: int) -> list[Conversation]:
    return choose_conversations(Speaker(rng), clip, VIDEO_FAMILIES, VIDEO_WEIGHTS, number)
