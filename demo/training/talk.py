"""Conversations without a picture, and small talk."""

from __future__ import annotations

import random

from asking import Conversation, Speaker, article, choose_conversations, plural
from scenes import COLOURS, SHAPES
from wordings import (
    BACKGROUND, COLOUR, COUNT, DESCRIBE, DIRECTION, EVENT, EXISTS, LARGER, NUMBER, ORDER, SHAPE, SIGN, WHERE,
)  # fmt: skip


NO_PICTURE = "I see no picture. Please send me a picture or a video."
OUT_OF_SCOPE = "I do not know that. I am a small model and only know about pictures of shapes and signs."
SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("Hello", "Hi", "Hello there", "Good morning", "Hey", "Hi there.", "Hello.", "Good evening", "Good day to you"),
        "Hello. Send me a picture and ask me about it.",
    ),
    (
        ("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Introduce yourself.",
         "Are you a person?", "What model are you?", "Who am I talking to?"),
        "I am a tiny LLaVA-Mini model. I answer questions about pictures and videos of shapes and signs.",
    ),
    (
        ("What can you do?", "How can you help me?", "What are you able to do?", "What can I ask you?", "Help",
         "What are your skills?", "How do I use you?", "What kind of questions can you answer?"),
        "I can describe pictures, count shapes, name colours, find things, read short signs and tell what happens in a video.",
    ),
    (
        ("Thank you", "Thanks", "Thank you very much.", "Great, thanks", "Thanks a lot", "Many thanks"),
        "You are welcome.",
    ),
    (
        ("Goodbye", "Bye", "See you", "Bye bye", "See you later", "Goodbye then"),
        "Goodbye.",
    ),
    (
        ("How are you?", "How are you doing?", "How do you do?", "How is it going?"),
        "I am well. Send me a picture and ask me about it.",
    ),
)  # fmt: skip
OUT_OF_SCOPE_QUESTIONS = (
    "What is the capital of {place}?", "Who is the president of {place}?", "Write a poem about {topic}.",
    "Tell me a joke.", "What is the weather in {place}?", "How do I cook {topic}?", "Translate this into {language}.",
    "What is the meaning of life?", "Write a program in {language}.", "What time is it?", "Who wrote this book?",
    "What is {a} plus {b}?", "What is {a} times {b}?", "Explain {topic} to me.", "How old is {place}?", "Do you like {topic}?",
    "Tell me a story about {topic}.", "What do you think about {topic}?", "Where is {place}?", "Give me a recipe for {topic}.",
)  # fmt: skip
PLACES = ("France", "Germany", "Japan", "London", "Paris", "China", "Brazil", "Canada", "Rome", "India", "Italy", "Spain")
TOPICS = ("love", "cats", "dogs", "pasta", "rice", "physics", "history", "music", "the sea", "winter", "soup", "football")
LANGUAGES = ("French", "German", "Python", "Spanish", "Chinese", "C++")


def small_talk(say: Speaker) -> Conversation:
    wordings, answer = say.rng.choice(SMALL_TALK)
    return Conversation("small talk", say.ask(wordings), answer)


def out_of_scope(say: Speaker) -> Conversation:
    rng = say.rng
    question = say.ask(
        OUT_OF_SCOPE_QUESTIONS, place=rng.choice(PLACES), topic=rng.choice(TOPICS), language=rng.choice(LANGUAGES),
        a=str(rng.randint(1, 99)), b=str(rng.randint(1, 99)),
    )  # fmt: skip
    return Conversation("out of scope", question, OUT_OF_SCOPE)


def about_no_picture(say: Speaker) -> Conversation:
    rng = say.rng
    wordings = rng.choice((DESCRIBE, COUNT, COLOUR, SHAPE, WHERE, LARGER, EXISTS, BACKGROUND, SIGN, NUMBER, EVENT, DIRECTION, ORDER))
    name = f"{rng.choice(list(COLOURS))} {rng.choice(SHAPES)}"
    other = f"{rng.choice(list(COLOURS))} {rng.choice(SHAPES)}"
    what = {COUNT: plural(rng.choice(SHAPES)), EXISTS: article(name)}.get(wordings, name)
    question = say.ask(wordings, what=what, shape=rng.choice(SHAPES), colour=rng.choice(list(COLOURS)), a=name, b=other)
    return Conversation("no picture", question, NO_PICTURE)


TEXT_FAMILIES = {
    "small talk": lambda say, _: small_talk(say),
    "out of scope": lambda say, _: out_of_scope(say),
    "no picture": lambda say, _: about_no_picture(say),
}
TEXT_WEIGHTS = {"small talk": 1, "out of scope": 1, "no picture": 1}


def text_conversations(rng: random.Random, number: int) -> list[Conversation]:
    return choose_conversations(Speaker(rng), None, TEXT_FAMILIES, TEXT_WEIGHTS, number)
