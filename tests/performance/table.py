"""The table of figures, as markdown, from a folder of results:   python3 table.py results [--json summary.json]

    python3 table.py --rates-of saturation.json 0.5 0.9    those shares of the requests per second reached there, joined by commas
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_report import points_of
from results import Results


@dataclass(frozen=True)
class Row:
    """floor, goal: for one H200, bf16 and the 8B shapes."""

    figure: str
    unit: str
    measured: float | None
    reference: float | None = None
    floor: float | None = None
    goal: float | None = None
    p99: float | None = None

    def higher_is_better(self) -> bool:
        return self.unit.endswith("/s") or self.unit == "chats"

    def better_than(self, other: float | None) -> float | None:
        """How many times as good as `other`; 2 is twice as fast, or half as much."""
        if not self.measured or not other:
            return None
        return self.measured / other if self.higher_is_better() else other / self.measured

    def met(self) -> str:
        reached = self.better_than(self.goal)
        if self.goal is None:
            return ""
        if reached is None:
            return "not measured"
        return "yes" if reached >= 1 else f"{100 * (1 - reached):.0f} % short"


def reference_token(of: Results) -> float | None:
    """Milliseconds a token of the reference's whole answers, one at a time: steady where its single steps, which are timed as well, vary."""
    pace = of.reference("answer_tokens_batch_1_tokens_64")
    return 1e3 / pace if pace else None


def device_rows(of: Results) -> list[Row]:
    """Times on the device, from llavamini-stages."""

    def milliseconds(figure: str, path: tuple[str, ...], reference: str | None, floor: float, goal: float) -> Row:
        return Row(figure, "ms", of.stage(*path), of.reference(reference) if reference else None, floor, goal)

    rows = [
        milliseconds("CLIP, 1 image", ("parts", "clip_1_ms"), "clip_1_image", 0.46, 1.3),
        milliseconds("projector, compressor, visual part, 1 image", ("parts", "visual_1_ms"), "fusion_1_image", 1.01, 1.4),
        milliseconds("text part of pre-fusion, 40 tokens", ("parts", "text_1_ms"), None, 0.41, 0.6),
        milliseconds("prefill, 41 tokens", ("prefill_41_ms",), "prefill", 3.49, 4.2),
        milliseconds("first token, new image", ("ttft_new_ms",), "first_token_new_image", 5.06, 7.5),
        milliseconds("first token, cached image", ("ttft_cached_ms",), "first_token_new_image", 3.90, 5),
    ]
    for batch, goal in ((1, 3.9), (32, 4.3), (128, 5.5), (256, 8)):
        reference = reference_token(of) if batch == 1 else None
        rows.append(Row(f"decode step, batch {batch}", "ms", of.stage("decode", str(batch)), reference, 3.49, goal))
    fp8 = of.stage("decode", "1", file="stages-fp8")
    rows.append(Row("decode step, batch 1, FP8 weights", "ms", fp8, reference_token(of), 1.87, 2.3))
    frames = of.stage("frames_per_second", "32")
    rows.append(Row("video frames, batch 32, on the device", "frames/s", frames, of.reference("video_frames_batch_32"), 638, 520))
    return rows


def single_stream_rows(of: Results) -> list[Row]:
    first, tokens = of.reference("first_token_new_image"), of.reference("answer_tokens_batch_1_tokens_64")
    rows = []
    for name, picture, floor in (("one-new", "new image", 5.06), ("one-repeated", "cached image", 3.90)):
        ttft, ttft_p99 = (of.first(name, lambda p, q=q: getattr(p.first_token, q)) for q in ("p50", "p99"))
        itl, itl_p99 = (of.first(name, lambda p, q=q: getattr(p.inter_token, q)) for q in ("p50", "p99"))
        rows += [
            Row(f"over gRPC, one stream, {picture}: first token", "ms", ttft, first, floor, p99=ttft_p99),
            Row(f"over gRPC, one stream, {picture}: inter-token", "ms", itl, reference_token(of), 3.49, p99=itl_p99),
            Row(f"over gRPC, one stream, {picture}: tokens", "tokens/s", of.first(name, lambda p: p.tokens_per_second), tokens),
        ]
    return rows


def load_rows(of: Results) -> list[Row]:
    requests, tokens = of.reference("requests_batch_64_tokens_64"), of.reference("answer_tokens_batch_64_tokens_64")
    frames = of.reference("video_frames_batch_32")
    idle = of.first("one-new", lambda p: p.inter_token.p99)
    ten_thousand = of.first("frames-10000-large", lambda p: p.first_token.p50 / 1e3)
    return [
        Row("requests, new images, 64 tokens out", "requests/s", of.best("saturation-new", lambda p: p.requests_per_second),
            requests, 286, 220),
        Row("requests, cached images, 64 tokens out", "requests/s", of.best("saturation-repeated", lambda p: p.requests_per_second),
            requests, 496, 350),
        Row("tokens, new images, 64 tokens out", "tokens/s", of.best("saturation-new", lambda p: p.tokens_per_second), tokens),
        Row("inter-token at half load, p99; goal: twice the idle one", "ms", of.first("half-mixed", lambda p: p.inter_token.p99),
            goal=2 * idle if idle else None),
        Row("video frames, 64 a request", "frames/s", of.best("video-64", lambda p: p.images_per_second), frames, 638, 520),
        Row("10,000 frames, first token (reference: from its frames/s)", "s", ten_thousand, 1e4 / frames if frames else None, 15.7, 21),
    ]  # fmt: skip


def memory_rows(of: Results) -> list[Row]:
    reference = of.reference_memory()
    chats = of.first("chats-64-large", lambda p: float(p.most_in_flight) if p.failed == 0 else 0.0)
    return [
        Row("GPU memory, 10,000 frames", "GiB", of.gpu_memory("small", "frames-10000"), reference, 17.2, 20),
        Row("GPU memory, limit 24 GiB, 10,000 frames and 64 chats", "GiB", of.gpu_memory("large", "frames-10000", "chats-64"),
            reference, 17.2, 24),
        Row("chats at a time under 24 GiB, all answered", "chats", chats, goal=64),
    ]  # fmt: skip


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def times_as(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}×"


def markdown(rows: list[Row], machine: dict) -> str:
    gpu = machine.get("gpus") or [{"name": "no GPU", "driver": "–"}]
    lines = [
        f"{gpu[0]['name']}, driver {gpu[0]['driver']}, {machine.get('cpus', '?')} CPU cores ({machine.get('processor', '?')}).", "",
        "| figure | measured | p99 | reference | to the reference | floor | of the floor | goal | reached |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for row in rows:
        share = row.better_than(row.floor)
        cells = [
            row.figure, f"{number(row.measured)} {row.unit}", number(row.p99),
            number(row.reference), times_as(row.better_than(row.reference)), number(row.floor),
            "" if share is None else f"{100 * share:.0f} %", number(row.goal), row.met(),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rates(path: Path, shares: list[float]) -> str:
    reached = max(point.requests_per_second for point in points_of(path))
    return ",".join(f"{share * reached:.1f}" for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--json", type=Path, help="the same as JSON; default: summary.json in the folder")
    parser.add_argument("--rates-of", nargs="+", metavar="FILE SHARE")
    args = parser.parse_args()
    if args.rates_of:
        print(rates(Path(args.rates_of[0]), [float(share) for share in args.rates_of[1:]]))
        return
    if args.folder is None:
        parser.error("which folder?")
    of = Results(args.folder)
    rows = [*device_rows(of), *single_stream_rows(of), *load_rows(of), *memory_rows(of)]
    summary = {"machine": of.machine(), "rows": [asdict(row) | {"met": row.met()} for row in rows]}
    (args.json or args.folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(markdown(rows, of.machine()))


if __name__ == "__main__":
    main()
