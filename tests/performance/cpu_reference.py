"""Our server against the reference on the same cores, the same checkpoint and the same question, turn by turn: JSON of ratios.

    python3 cpu_reference.py --model ../../demo/checkpoint --address HOST:PORT --bench 'build/bin/llavamini-bench' --json FILE

Each round measures both sides, in turn, at one request and at a burst of eight (the reference: one static batch), and a ratio is the
median over the rounds of that round's own ratio, so that what else the machine does meets both. The server's times are those of a
client over gRPC: decoding and resizing the picture and writing the answer are in them. The reference starts from decoded pixels.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from tokenizers import Tokenizer

from bench_report import points_of
from machine import describe
from reference_model import IMAGE_ID, PublishedModel, read_config

SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
QUESTION = "can you describe the picture?"
BATCHES = (1, 8)
ANSWERS = {1: 8, 8: 3}  # of each side in a round, per batch
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def prompt_ids(folder: Path) -> list[int]:
    """The published chat prompt: doubled start, the placeholder between two pieces."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    turn = "<|start_header_id|>{}<|end_header_id|>\n\n"
    before = "<|begin_of_text|>" + turn.format("system") + SYSTEM + "<|eot_id|>" + turn.format("user")
    after = "\n" + QUESTION + "<|eot_id|>" + turn.format("assistant")
    return [*tokenizer.encode(before).ids, IMAGE_ID, *tokenizer.encode(after, add_special_tokens=False).ids]


class ReferenceSide:
    def __init__(self, folder: Path, tokens: int, dtype: torch.dtype):
        self.model = PublishedModel(read_config(folder), "cpu", dtype)
        self.model.load(folder)
        self.ids, self.tokens = torch.tensor(prompt_ids(folder)), tokens

    @torch.inference_mode()
    def answer(self, batch: int) -> tuple[float, float]:
        """(seconds to the first tokens, seconds to the last ones) of a static batch about new pictures."""
        side = self.model.raw["vision_config"]["image_size"]
        pictures = torch.randint(0, 256, (batch, 1, side, side, 3), dtype=torch.uint8)
        start, first = time.perf_counter(), 0.0
        for _ in self.model.generate(self.model.prompts(pictures, self.ids.expand(batch, -1)), self.tokens):
            first = first or time.perf_counter() - start
        return first, time.perf_counter() - start

    def measure(self, batch: int) -> dict[str, float]:
        taken = [self.answer(batch) for _ in range(ANSWERS[batch])]
        first, whole = (median(each) for each in zip(*taken, strict=True))
        return {
            "first_token_ms": 1e3 * first, "token_ms": 1e3 * (whole - first) / (self.tokens - 1),
            "tokens_per_second": batch * self.tokens / whole,
        }  # fmt: skip


class ServerSide:
    def __init__(self, bench: str, address: str, tokens: int):
        self.command = [*shlex.split(bench), "--address", address, "--image", "new", "--prompt", QUESTION,
                        "--max-tokens", str(tokens), "--warmup", "1"]  # fmt: skip
        self.tokens = tokens

    def measure(self, batch: int) -> dict[str, float]:
        """Bursts of `batch` requests, one burst after the other."""
        taken = [self.burst(batch) for _ in range(ANSWERS[batch])] if batch > 1 else [self.burst(1, ANSWERS[1])]
        return {name: median(each[name] for each in taken) for name in taken[0]}

    def burst(self, batch: int, requests: int | None = None) -> dict[str, float]:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            more = ["--concurrency", str(batch), "--requests", str(requests or batch), "--json", file.name]
            subprocess.run([*self.command, *more], check=True, stdout=subprocess.DEVNULL)
            point = points_of(Path(file.name))[0]
        return {"first_token_ms": point.first_token.p50, "token_ms": point.inter_token.p50, "tokens_per_second": point.tokens_per_second}


def ratios(ours: list[dict[str, float]], reference: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """name -> ours, reference, ratio (how many times as fast), least ratio of a round."""
    out = {}
    for name in ours[0]:
        faster = [(o[name] / r[name]) ** (1 if name.endswith("second") else -1) for o, r in zip(ours, reference, strict=True)]
        out[name] = {
            "ours": median(o[name] for o in ours), "reference": median(r[name] for r in reference),
            "ratio": median(faster), "least": min(faster), "most": max(faster),
        }  # fmt: skip
    return out


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--bench", required=True, help="the command line of llavamini-bench, without flags")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the reference (default float32)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the reference; default: one per core")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    sides = {
        "ours": ServerSide(args.bench, args.address, args.tokens),
        "reference": ReferenceSide(args.model, args.tokens, DTYPES[args.dtype]),
    }  # fmt: skip
    sides["reference"].answer(1)
    taken: dict[int, dict[str, list]] = {batch: {name: [] for name in sides} for batch in BATCHES}
    for number in range(args.rounds):
        for batch in BATCHES:
            for name in sorted(sides, reverse=number % 2 == 1):
                taken[batch][name].append(sides[name].measure(batch))
    results = {f"batch_{batch}": ratios(**taken[batch]) for batch in BATCHES}
    report = {
        "what": "cpu", "machine": describe(), "torch": torch.__version__, "threads": args.threads, "dtype": args.dtype,
        "model": args.model.name, "question": QUESTION, "tokens": args.tokens, "rounds": args.rounds, "results": results,
    }  # fmt: skip
    args.json.write_text(json.dumps(report, indent=1) + "\n")
    for batch, figures in results.items():
        for name, each in figures.items():
            print(f"{batch:8} {name:18} ours {each['ours']:8.1f}  reference {each['reference']:8.1f}  {each['ratio']:.2f} times as fast")


if __name__ == "__main__":
    main()
