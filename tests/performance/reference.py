"""Measures LLaVA-Mini the published way (reference_model.py) and writes JSON: what the server's figures are divided by.

    python3 reference.py --model-config llava-mini-8b --json reference.json      (random weights, on the GPU in bf16)
    python3 reference.py --model ../../demo/checkpoint --device cpu              (a checkpoint, on the CPU in float32)
    python3 reference.py --check                                                 (is it the true model? compares with goldens)

Pictures are taken as decoded and resized: what PIL and the image processor cost is not counted, in the reference's favour. One step's
ids are read before the next step, as any caller that streams must. Every measurement has warm-ups and its own budget of seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from machine import describe
from reference_model import IMAGE_ID, PublishedModel, read_config
from timing import Clock, as_rate, in_milliseconds

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TEXT_TOKENS = 40
DECODE_BATCHES = (1, 8, 32, 64, 128)
STATIC_BATCH = 64
VIDEO_BATCH = 32


class Measurements:
    """Each method is one row of the table: name -> {median, p99, count, unit}."""

    def __init__(self, model: PublishedModel, clock: Clock, quick: bool):
        self.model, self.clock, self.quick = model, clock, quick
        self.results: dict[str, dict] = {}
        self.vocabulary = model.raw["vocab_size"]
        self.generator = torch.Generator().manual_seed(0)

    def pictures(self, count: int) -> Tensor:
        n, side = self.model.raw["resolution_ratio"], self.model.raw["vision_config"]["image_size"]
        parts = 1 if n == 1 else n * n + 1
        return torch.randint(0, 256, (count, parts, side, side, 3), generator=self.generator, dtype=torch.uint8)

    def questions(self, count: int) -> Tensor:
        """TEXT_TOKENS ids and the picture's placeholder among them: [count, TEXT_TOKENS + 1]."""
        ids = torch.randint(1, self.vocabulary, (count, TEXT_TOKENS + 1), generator=self.generator)
        ids[:, TEXT_TOKENS // 2] = IMAGE_ID
        return ids

    def random_prompt(self, batch: int) -> Tensor:
        """Rows as the language model gets them: [batch, TEXT_TOKENS + C, D]."""
        rows = TEXT_TOKENS + self.model.raw["compressor_size"] ** 2
        ids = torch.randint(1, self.vocabulary, (batch, rows), generator=self.generator)
        return self.model.llm.model.embed_tokens(ids.to(self.model.device))

    def answer(self, pictures: Tensor, ids: Tensor, tokens: int) -> None:
        for _ in self.model.generate(self.model.prompts(pictures, ids), tokens):
            pass

    def vision(self) -> None:
        model, picture, ids = self.model, self.pictures(1), self.questions(1)
        self.results["clip_1_image"] = in_milliseconds(self.clock.samples(lambda: model.features(picture[0])))
        patches = model.features(picture[0])[None]
        ids_there = ids.to(model.device)
        self.results["fusion_1_image"] = in_milliseconds(self.clock.samples(lambda: model.fuse_features(patches, ids_there)))

    def first_token(self) -> None:
        picture, ids, x = self.pictures(1), self.questions(1), self.random_prompt(1)
        self.results["prefill"] = in_milliseconds(self.clock.samples(lambda: next(self.model.generate(x, 1))))
        self.results["first_token_new_image"] = in_milliseconds(self.clock.samples(lambda: self.answer(picture, ids, 1)))

    def decode(self, batch: int) -> None:
        """Times of single steps of one long answer, the prompt's step and the first few left out."""
        x, times = self.random_prompt(batch), []
        end = time.perf_counter() + self.clock.seconds
        last = None
        for _ in self.model.generate(x, 16 if self.quick else 100):
            now = time.perf_counter()
            if last is not None:
                times.append(now - last)
            last = now
            if now > end and len(times) > 8:
                break
        self.results[f"decode_batch_{batch}"] = in_milliseconds(times[4:])

    def requests(self, batch: int, tokens: int) -> None:
        pictures, ids = self.pictures(batch), self.questions(batch)
        taken = self.clock.samples(lambda: self.answer(pictures, ids, tokens), warm_ups=1)
        self.results[f"requests_batch_{batch}_tokens_{tokens}"] = as_rate(taken, batch, "requests/s")
        self.results[f"answer_tokens_batch_{batch}_tokens_{tokens}"] = as_rate(taken, batch * tokens, "tokens/s")

    def video(self, batch: int) -> None:
        """Frames of a video through CLIP and fusion with the question, `batch` at a time."""
        frames, ids = self.pictures(batch), self.questions(1).expand(batch, -1)
        taken = self.clock.samples(lambda: self.model.fuse_pictures(frames, ids))
        self.results[f"video_frames_batch_{batch}"] = as_rate(taken, batch, "frames/s")

    def all(self) -> None:
        self.vision()
        self.first_token()
        batches = DECODE_BATCHES[:2] if self.quick else DECODE_BATCHES
        for batch in batches:
            self.decode(batch)
        for batch in (1, 8 if self.quick else STATIC_BATCH):
            for tokens in (4, 8) if self.quick else (32, 64):
                self.requests(batch, tokens)
        for batch in (1, 4 if self.quick else VIDEO_BATCH):
            self.video(batch)


def build(args: argparse.Namespace) -> PublishedModel:
    model = PublishedModel(read_config(args.model or args.model_config), args.device, DTYPES[args.dtype])
    if args.model:
        model.load(args.model)
    else:
        torch.manual_seed(0)
        model.randomise(DTYPES[args.dtype])
    return model


def memory(device: torch.device) -> dict:
    if device.type != "cuda":
        return {}
    gib = 1 << 30
    return {"allocated_gib": torch.cuda.max_memory_allocated(device) / gib, "reserved_gib": torch.cuda.max_memory_reserved(device) / gib}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="a checkpoint's folder")
    what.add_argument("--model-config", type=Path, help="a folder with config.json; random weights")
    what.add_argument("--check", action="store_true", help="compare greedy answers with tests/golden/parity, on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="default: bfloat16 on a GPU, float32 on the CPU")
    parser.add_argument("--budget-seconds", type=float, default=4, help="of each measurement (default 4)")
    parser.add_argument("--quick", action="store_true", help="small batches and few tokens: does it run?")
    parser.add_argument("--json", type=Path, help="where the results go; default: standard output")
    args = parser.parse_args()
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")
    return args


@torch.inference_mode()
def main() -> None:
    args = parse()
    if args.check:
        from check_reference import check

        raise SystemExit(1 if check() else 0)
    start = time.perf_counter()
    model = build(args)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    measurements = Measurements(model, Clock(model.device, args.budget_seconds, least=1 if args.quick else 3), args.quick)
    built = time.perf_counter()
    measurements.all()
    report = {
        "what": "reference", "machine": describe(), "torch": torch.__version__, "threads": torch.get_num_threads(),
        "model": (args.model or args.model_config).name, "dtype": args.dtype, "device": args.device, "text_tokens": TEXT_TOKENS,
        "seconds": {"build": built - start, "measure": time.perf_counter() - built},
        "memory": memory(model.device), "results": measurements.results,
    }  # fmt: skip
    text = json.dumps(report, indent=1) + "\n"
    if args.json:
        args.json.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
