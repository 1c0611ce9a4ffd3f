"""Makes llava-mini-8b/tokenizer.json: the demo's, changed so that the benchmark's prompts have as many tokens as with LLaMA-3's.

    python3 make_tokenizer.py

LLaMA-3's own vocabulary is not part of the project. The words below are one token there; here they become one by further merges, and
the special tokens get the ids that config.json has of LLaMA-3. All other text is encoded about as the demo encodes it.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "demo/checkpoint/tokenizer.json"
MADE = HERE / "llava-mini-8b/tokenizer.json"

SPECIAL_IDS = {
    "<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|start_header_id|>": 128006,
    "<|end_header_id|>": 128007, "<|eom_id|>": 128008, "<|eot_id|>": 128009,
}  # fmt: skip
TEXTS = [
    # The chat format: model/text/prompt.cc.
    "system", "user", "assistant", "\n", "\n\n",
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides,",
    " and assist the user with a variety of tasks using natural language.",
    # What llavamini-bench asks with --prompt-tokens: client/bench/workload.cc and prompt.cc.
    "Be brief.", "Look at this and tell me what you see there in a few words then say where it is and why Look",
    # Questions that run_gpu.sh and the goldens of the chat prompt ask.
    "What happens?", "What is this?",
]  # fmt: skip

Pair = tuple[str, str]


def words(text: str) -> list[str]:
    """Its words with the space before them and its line breaks, as entries of a byte-level vocabulary; punctuation is one byte each."""
    return [word.replace(" ", "Ġ").replace("\n", "Ċ") for word in re.findall(" ?[A-Za-z]+|\n+", text)]


def encode(word: str, ranks: dict[Pair, int]) -> list[str]:
    tokens = list(word)
    while True:
        known = [(ranks[pair], i) for i, pair in enumerate(pairwise(tokens)) if pair in ranks]
        if not known:
            return tokens
        _, i = min(known)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def add_word(word: str, vocabulary: dict[str, int], ranks: dict[Pair, int]) -> None:
    """Merges come after all others, so that what was encoded in larger tokens before stays so."""
    while len(tokens := encode(word, ranks)) > 1:
        left, right = tokens[:2]
        ranks[left, right] = len(ranks)
        vocabulary.setdefault(left + right, len(vocabulary))


def place_special_tokens(document: dict) -> None:
    """They stand in the vocabulary too: Hugging Face's tokenizers give ids of their own to added tokens that do not."""
    for token in document["added_tokens"]:
        token["id"] = SPECIAL_IDS[token["content"]]
    document["model"]["vocab"] |= SPECIAL_IDS
    for step in document["post_processor"]["processors"]:
        for name, token in step.get("special_tokens", {}).items():
            token["ids"] = [SPECIAL_IDS[name]]


def main() -> None:
    document = json.loads(DEMO.read_text(encoding="utf-8"))
    model = document["model"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    for text in TEXTS:
        for word in words(text):
            add_word(word, model["vocab"], ranks)
    model["merges"] = [list(pair) for pair in ranks]
    place_special_tokens(document)
    MADE.unlink(missing_ok=True)
    MADE.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
