"""The byte-level BPE tokenizer (LLaMA-3's splitting, a small vocabulary) and the chat prompt.

    python tokenizer.py checkpoint     trains the tokenizer and writes its three files
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from model import IMAGE_ID
from asking import Conversation
from questions import conversations_about_scene
from scenes import random_clip, random_scene
from talk import text_conversations
from video_questions import conversations_about_clip

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BOS, END_OF_TEXT, EOT, EOM = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"
# In LLaMA-3's order, and like there at the end of the vocabulary: id 0 stays the byte "!".
SPECIAL_TOKENS = [BOS, END_OF_TEXT, "<|start_header_id|>", "<|end_header_id|>", EOM, EOT]
STOP_TOKENS = (END_OF_TEXT, EOM, EOT)
SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
PLACEHOLDER = "<image>"


# --------------------------------------------------------------------------------- training


def corpus(scenes: int) -> list[str]:
    """The system text, questions and answers; no sign texts, which are to be spelled letter by letter."""
    rng = random.Random("tokenizer")
    conversations: list[Conversation] = []
    for _ in range(scenes):
        scene = random_scene(rng)
        conversations += conversations_about_scene(rng, scene, 12)
        conversations += conversations_about_clip(rng, random_clip(rng), 3)
        conversations += text_conversations(rng, 3)
    texts = [SYSTEM, 'The sign says "".', "The number on the sign is ", "system", "user", "assistant", "\n\n"] * scenes
    for conversation in conversations:
        texts += [f"\n{conversation.question}", conversation.answer]
    return ["".join(c for c in text if not c.isdigit()) for text in texts]


def train(vocab_size: int, scenes: int = 3000) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(scenes), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
            ),
        ]
    )
    assert tokenizer.token_to_id("!") == 0
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, max_length: int = 4096) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    config = {
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {"content": token, **flags} for token in SPECIAL_TOKENS
        },
        "bos_token": BOS,
        "eos_token": EOT,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    specials = {
        key: {"content": token, **{name: flag for name, flag in flags.items() if name != "special"}}
        for key, token in (("bos_token", BOS), ("eos_token", EOT))
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n")


# ----------------------------------------------------------------------------------- prompt


class Chat:
    """Token ids of conversations in the llava_llama_3_1 format."""

    OPENING = "<|start_header_id|>assistant<|end_header_id|>\n\n"

    def __init__(self, folder: Path):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.bos = self.tokenizer.token_to_id(BOS)
        self.eot = self.tokenizer.token_to_id(EOT)
        # Tokens of every prompt behind its last question.
        self.opening_length = len(self.tokenizer.encode(EOT + self.OPENING, add_special_tokens=False).ids)

    def pieces(self, text: str) -> list[int]:
        """Ids of a text around its image placeholder, with the tokenizer's own <|begin_of_text|> once, in front."""
        ids: list[int] = [self.bos]
        for index, piece in enumerate(text.split(PLACEHOLDER)):
            if index:
                ids.append(IMAGE_ID)
            ids += self.tokenizer.encode(piece, add_special_tokens=False).ids
        return ids

    @staticmethod
    def message(role: str, text: str) -> str:
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text.strip()}{EOT}"

    def prompt(self, question: str, history: tuple[tuple[str, str], ...] = (), image: bool = True) -> list[int]:
        """Ids up to and with the opened assistant header; begins with two <|begin_of_text|>, as published."""
        text = BOS + self.message("system", SYSTEM)
        turns = [*history, (question, None)]
        for index, (asked, answered) in enumerate(turns):
            marker = f"{PLACEHOLDER}\n" if image and index == 0 else ""
            text += self.message("user", marker + asked)
            if answered is not None:
                text += self.message("assistant", answered)
        return self.pieces(text + self.OPENING)

    def answer(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids + [self.eot]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocab-size", type=int, default=1000)
    args = parser.parse_args()
    tokenizer = train(args.vocab_size)
    save(tokenizer, args.folder)
    print(f"{tokenizer.get_vocab_size()} tokens -> {args.folder}")


if __name__ == "__main__":
    main()
