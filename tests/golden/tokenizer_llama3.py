"""Writes LLaMA-3's tokenizer.json from its published byte-pair ranks (tokenizer.model). Standard library only.

    python3 tokenizer_llama3.py tokenizer.model tokenizer.json

The ranks (a line each: base64 of the token, its rank) give the ids 0..127999; 256 special tokens follow. A rank file
has no merges: as Hugging Face's own conversion does, every cut of a token into two tokens becomes one, in the order of
the whole token's rank and, within a token, of its parts' ranks.
"""

import argparse
import base64
import json
from pathlib import Path

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NAMED = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
}
SPECIAL_TOKENS = 256


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character of each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def read_ranks(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def merges_of(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    merges = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        parts = [cut for cut in cuts if cut[0] in ranks and cut[1] in ranks]
        merges += sorted(parts, key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))
    return merges


def special_tokens(first_id: int) -> list[dict]:
    reserved = iter(range(SPECIAL_TOKENS))
    tokens = []
    for offset in range(SPECIAL_TOKENS):
        content = NAMED.get(offset) or f"<|reserved_special_token_{next(reserved)}|>"
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        tokens.append({"id": first_id + offset, "content": content, **flags, "special": True})
    return tokens


def tokenizer_json(ranks: dict[bytes, int]) -> dict:
    alphabet = byte_alphabet()
    text = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special_tokens(len(ranks)),
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {text[token]: rank for token, rank in ranks.items()},
            "merges": [f"{text[left]} {text[right]}" for left, right in merges_of(ranks)],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ranks", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    document = tokenizer_json(read_ranks(args.ranks))
    args.out.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
