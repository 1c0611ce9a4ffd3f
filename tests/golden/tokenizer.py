"""Makes the goldens of the tokenizer and the chat prompt with Hugging Face's tokenizers (pip install tokenizers).

    python tokenizer.py                              the small tokenizer and what it gives
    python tokenizer.py --llama3 tokenizer.json      also what LLaMA-3's (see tokenizer_llama3.py) gives

Text is encoded with the added tokens taken out of the file, since strings that look like them are text to us.
"""

import argparse
import json
import random
from array import array
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenizer_llama3 import SPLIT

FOLDER = Path(__file__).parent / "tokenizer"
BOS, START, END, EOT = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
SPECIAL_TOKENS = [BOS, "<|end_of_text|>", START, END, "<|eom_id|>", EOT]
RUN = 32 * 1024

TEXTS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "Hello   world  !\n",
    "What's in the picture? It's a cat, isn't it? They'LL say we'd've I'M YOU'RE 'S 'sx 'tis o'clock",
    "'\u017fa '\u017f don'\u017f '\u212a \u2019s it\u2019s",
    "1 12 123 1234 12345 1,234,567.89 3.14159e-10 0x1F 2024-11-23T07:08:09Z",
    "\u0661\u0662\u0663\u0664\u0665 \u0967\u0968\u0969\u096a \u4e00\u4e8c\u4e09 \u00bd\u00b2\u2460\u2461\u2462\u2463 \u216b\u2180 \U0001d7d8\U0001d7d9\U0001d7da\U0001d7db",
    "Gr\u00fc\u00dfe aus K\u00f6ln \u2014 \u201eschl\u00fcpfrig\u201c, na\u00efve caf\u00e9 \u0152uvre \u00c5ngstr\u00f6m \u0130stanbul d\u0131\u015f",
    "Cafe\u0301 nai\u0308ve A\u030a\u0327 n\u0303o q\u0307\u0323 \u0301lone Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034dA\u036b\u0357\u0334\u0362\u0335\u031c\u0330\u0354",
    "\u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 \u043c\u044f\u0433\u043a\u0438\u0445 \u0444\u0440\u0430\u043d\u0446\u0443\u0437\u0441\u043a\u0438\u0445 \u0431\u0443\u043b\u043e\u043a",
    "\u039e\u03b5\u03c3\u03ba\u03b5\u03c0\u03ac\u03b6\u03c9 \u03c4\u1f74\u03bd \u03c8\u03c5\u03c7\u03bf\u03c6\u03b8\u03cc\u03c1\u03b1 \u03b2\u03b4\u03b5\u03bb\u03c5\u03b3\u03bc\u03af\u03b1",
    "\u05d3\u05d2 \u05e1\u05e7\u05e8\u05df \u05e9\u05d8 \u05d1\u05d9\u05dd \u05de\u05b0\u05d0\u05d5\u05bb\u05db\u05b0\u05d6\u05b8\u05d1",
    "\u0646\u0635 \u062d\u0643\u064a\u0645 \u0644\u064e\u0647\u064f \u0633\u0650\u0631\u0651 \u0642\u0627\u0637\u0639\u060c \u06f1\u06f2\u06f3\u061f \u200f\u0645\u0631\u062d\u0628\u0627\u200e",
    "\u090b\u0937\u093f\u092f\u094b\u0902 \u0915\u094b \u0938\u0924\u093e\u0928\u0947 \u0935\u093e\u0932\u0947 \u0926\u0941\u0937\u094d\u091f \u0930\u093e\u0915\u094d\u0937\u0938\u094b\u0902",
    "\u0baf\u0bbe\u0bae\u0bb1\u0bbf\u0ba8\u0bcd\u0ba4 \u0bae\u0bca\u0bb4\u0bbf\u0b95\u0bb3\u0bbf\u0bb2\u0bc7 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd\u0bae\u0bca\u0bb4\u0bbf",
    "\u0e40\u0e1b\u0e47\u0e19\u0e21\u0e19\u0e38\u0e29\u0e22\u0e4c\u0e2a\u0e38\u0e14\u0e1b\u0e23\u0e30\u0e40\u0e2a\u0e23\u0e34\u0e10 \u0e51\u0e52\u0e53\u0e54",
    "\u8fd9\u5f20\u56fe\u7247\u91cc\u6709\u4ec0\u4e48\uff1f\u6211\u80fd\u541e\u4e0b\u73bb\u7483\u800c\u4e0d\u4f24\u8eab\u4f53\u3002\U00020000\U0002a6d6",
    "\u3044\u308d\u306f\u306b\u307b\u3078\u3068 \u30c1\u30ea\u30cc\u30eb\u30f2 \uff76\uff9e\uff77\uff9e \u30fc\u301c\u3000\u5168\u89d2\uff11\uff12\uff13\uff14",
    "\ud0a4\uc2a4\uc758 \uace0\uc720\uc870\uac74\uc740 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "\u10d2\u10d7\u10ee\u10dd\u10d5\u10d7 \u1c9b\u1c90\u1c98\u1c9c\u10ea \u0531\u0532\u0533 \u13a0\u13b3 \u1403\u14c4 \u1681\u1680\u1682 \u16a0\u16a2 \ua000 \U00010330\U00010331 \U00012000\U00013000",
    "\U0001f600\U0001f602\U0001f923 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea\U0001f1eb \u2764\ufe0f\u200d\U0001f525 1\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f!",
    "a\U0001f600b \U0001f600\U0001f600\n\U0001f600c",
    "tab\tsep\t\tended \t \t mixed\v\f\x1c\x1d\x1e\x1f\x85end",
    "\u00a0nbsp\u00a0\u00a0x \u1680ogham\u180evowel\u180e\u180e \u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a.\u2028\u2029\u202f\u205f\u3000z\u200b\u2060\ufeff",
    "line\nline\r\nline\rline\n\n\nline\r\n\r\n  \r\n \n x\n ",
    "   \n   \n\n   leading and trailing   \n   ",
    " \r\n\t\r\n\tif (x) {\r\n\t\treturn 1;\r\n\t}\r\n",
    "def f(x):\n    return x ** 2  # squared\n\n\nclass A:\n\t'''doc'''\n        pass\n",
    "!!!???...,,,;;;:::---___***&&&%%%$$$###@@@///\\\\\\|||~~~```^^^<<<>>>(((]]]}}}",
    "\u00ab\u00bb\u2039\u203a\u2026\u2014\u2013\u2212\u00d7\u00f7\u2260\u2264\u221e\u221a\u2211\u222b \u20ac\u00a3\u00a5\u20b9\u20bf \u2192\u21d2\u2603\u2622 \u2554\u2550\u2557",
    "http://example.com/a?b=c&d=%20#e user@example.org C:\\Windows\\System32 /usr/local/bin",
    "<|eot_id|><|begin_of_text|> <image> <|start_header_id|>system<|end_header_id|>\n\n<s></s>[INST]<unk><pad>",
    "<|eot_id|",
    "\x00nul\x00\x01\x02\x07\x08\x1b[0m\x7f\u0080\u009f",
    "\ufffd\ufffe\uffff\ue000\uf8ff\U000f0000\U0010ffff\U0001fffe \ufdd0 \u00ad\u061c\u202e\u2066\u2069",
    "\u0897 \u1c89\u1c8a \ua7cb\ua7dc \U00010d40\U00010d41\U00010d4a \U0001e5d0\U0001e5f1 \U00016d40 \U0002ebf0 \U0001fae9\U0001cc00 \U00031350",
    "\ufb01\ufb03 \ufb05\ufb06 \ufdfa \u01c4\u01c5\u01c6 \u1e9e \u0149 \u2126 \u1fd3 \u02b0\u02b1 \u00aa\u00ba",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore.",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis Donaudampfschifffahrtsgesellschaft",
    "aAbBcC aaaaaaaabaaaaaaaab  a  b   c    d     e",
    "x" * 300 + " " * 300 + "\n" * 300 + "7" * 300 + "y",
]
RUNS = [
    "a", " ", "\n", "\r\n", "\t", "0", "9", "!", "=", "e", "x ", " \n", "\n ", "\u00a0", "\u00e9", "\u4e00",
    "\u0301", "\U0001f600", "\U0001f468\u200d", "\u180e", "'", "'s", "ab", "the ", "-", "\x00", "\U00020000",
]  # fmt: skip


def random_texts(count: int) -> list[str]:
    rng = random.Random("tokenizer")
    pools = ["".join(text) for text in TEXTS if text] + ["   \n\r\t\u00a0\u3000", "0123456789", "'sStTrReEvVmMlLdD "]
    texts = []
    for _ in range(count):
        pieces = []
        for _ in range(rng.randint(1, 12)):
            pool = rng.choice(pools)
            begin = rng.randrange(len(pool))
            pieces.append(pool[begin : begin + rng.randint(1, 5)])
        texts.append("".join(pieces))
    return texts


def train_small() -> dict:
    """A vocabulary of 1,200 tokens in LLaMA-3's form, learned from the texts themselves so that many merges apply."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1194, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 2 + [unit * 40 for unit in RUNS], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return json.loads(tokenizer.to_str())


def variants(document: dict) -> dict[str, dict]:
    """The same vocabulary read in other ways; tokenizer_test.cc makes the same changes."""

    def changed(**model) -> dict:
        return document | {"model": document["model"] | model}

    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "as_written": document,
        "not_ignoring_merges": changed(ignore_merges=False),
        "gpt2_pattern": document | {"pre_tokenizer": gpt2},
    }


def plain(document: dict) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(document | {"added_tokens": [], "post_processor": None}))


def digest(ids: list[int]) -> str:
    """FNV-1a, 64 bits, over the ids as 32-bit little-endian integers."""
    value = 0xCBF29CE484222325
    for byte in array("i", ids).tobytes():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def encodings(tokenizer: Tokenizer, texts: list[str]) -> dict:
    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    def run(unit: str, tail: str) -> dict:
        ids = encode(unit * RUN + tail)
        return {"unit": unit, "count": RUN, "tail": tail, "first": ids[:8], "length": len(ids), "digest": digest(ids)}

    # Some end differently from how they go on.
    runs = [run(unit, "") for unit in RUNS] + [run(unit, "x") for unit in " \n\t0!"]
    return {"texts": [{"text": text, "ids": encode(text)} for text in texts], "runs": runs}


# --------------------------------------------------------------------------------- prompt

SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
PLACEHOLDER, IMAGE_ID = "<image>", -200
IMAGE = {"media": True}
CHATS = [
    [["user", ["What is this?"]]],
    [["user", [IMAGE, "What is this?"]]],
    [["user", [IMAGE]]],
    [["user", [IMAGE, "   \n "]]],
    [["user", [IMAGE, "\n  two spaces stay before this \t\n"]]],
    [["user", ["\u3000 \x1c What is \u00a0 this? \u2028\x85 "]]],
    [["user", [""]]],
    [["user", ["Look: ", IMAGE]]],
    [["user", ["  Look: ", IMAGE, "and say what it is. "]]],
    [["user", [IMAGE, IMAGE, "Which is larger?"]]],
    [["user", ["one", " two", "three "]]],
    [["user", [IMAGE, "How many?"]], ["assistant", [" Three. \n"]], ["user", ["Which colours?"]]],
    [["user", ["Hello"]], ["assistant", [""]], ["user", ["\n\nAgain \U0001f600"]], ["assistant", ["Yes."]], ["user", [IMAGE]]],
    [["system", ["  Answer in one word.\n"]], ["user", [IMAGE, "What is this?"]]],
    [["system", [""]], ["user", ["Hi\u200b"]]],
    [["user", ["First"]], ["system", ["Later"]], ["user", ["Second"]]],
]


def prompt(tokenizer: Tokenizer, turns: list) -> list[int]:
    """The text as the published code makes it, special tokens written out, then cut at the placeholder."""
    text = BOS
    if all(role != "system" for role, _ in turns):
        turns = [["system", [SYSTEM]], *turns]
    for role, parts in turns:
        content = "".join(f"{PLACEHOLDER}\n" if part == IMAGE else part for part in parts).strip()
        text += f"{START}{role}{END}\n\n{content}{EOT}"
    text += f"{START}assistant{END}\n\n"
    ids = [tokenizer.token_to_id(BOS)]
    for index, piece in enumerate(text.split(PLACEHOLDER)):
        ids += [IMAGE_ID] * bool(index) + tokenizer.encode(piece, add_special_tokens=False).ids
    return ids


def chats(tokenizer: Tokenizer) -> list[dict]:
    return [{"turns": turns, "ids": prompt(tokenizer, turns)} for turns in CHATS]


# -------------------------------------------------------------------------------- unicode

# How a character falls in with its neighbours; {0} is the character.
PROBE = "a{0}a1{0}1 {0} !{0}!\n{0}\n{0}{0}  {0}'{0}a"


def unicode_splits() -> dict:
    """For every character, the lengths (in characters) of the pieces of PROBE, as ranges of equal ones."""
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    kinds: dict[tuple, int] = {}
    ranges: list[list[int]] = []
    for code_point in range(0x110000):
        if 0xD800 <= code_point < 0xE000:
            continue
        pieces = split.pre_tokenize_str(PROBE.format(chr(code_point)))
        kind = kinds.setdefault(tuple(len(piece) for piece, _ in pieces), len(kinds))
        if ranges and ranges[-1][1] == code_point - 1 and ranges[-1][2] == kind:
            ranges[-1][1] = code_point
        else:
            ranges.append([code_point, code_point, kind])
    return {"probe": PROBE, "piece_lengths": [list(kind) for kind in kinds], "ranges": ranges}


def save(name: str, value: object) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama3", type=Path)
    args = parser.parse_args()
    texts = TEXTS + random_texts(200)
    if args.llama3:
        document = json.loads(args.llama3.read_text(encoding="utf-8"))
        full = Tokenizer.from_str(json.dumps(document))
        save("llama3.json", encodings(plain(document), texts) | {"chats": chats(full)})
    small = train_small()
    save("small.json", small)
    save("small_encodings.json", {name: encodings(plain(variant), texts) for name, variant in variants(small).items()})
    save("small_chats.json", chats(Tokenizer.from_str(json.dumps(small))))
    save("unicode_splits.json", unicode_splits())


if __name__ == "__main__":
    main()
