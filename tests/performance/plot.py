"""Plots from a folder of results, as SVG beside them:   python3 plot.py results

latency.svg: time to first token and inter-token latency against the offered load; throughput.svg: against requests at a time, and the
decode step's tokens per second against its batch, beside those of the reference's whole answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import ScalarFormatter  # noqa: E402

from bench_report import Point  # noqa: E402
from results import Results  # noqa: E402
from table import reference_token  # noqa: E402

OURS, REFERENCE = "#1f5fa8", "#b0532a"
BATCHES = (1, 8, 32, 64, 128, 256, 512)


def answered(of: Results, name: str) -> list[Point]:
    return [point for point in of.points(name) if point.requests_per_second > 0]


def label(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    axes.set_ylim(bottom=0)
    axes.legend()


def latency(of: Results, target: Path) -> bool:
    points = answered(of, "sweep-new")
    if not points:
        return False
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    loads = [point.load for point in points]
    for quantile, style in (("p50", "-o"), ("p99", "--s")):
        left.plot(loads, [getattr(point.first_token, quantile) for point in points], style, color=OURS, label=quantile)
        right.plot(loads, [getattr(point.inter_token, quantile) for point in points], style, color=OURS, label=quantile)
    reference = of.reference("first_token_new_image")
    if reference:
        left.axhline(reference, color=REFERENCE, label="reference, alone on the GPU")
    step = reference_token(of)
    if step:
        right.axhline(step, color=REFERENCE, label="reference, alone on the GPU")
    label(left, "time to first token, new images", "requests per second", "ms")
    label(right, "inter-token latency, new images", "requests per second", "ms")
    save(of, figure, target)
    return True


def step_throughput(of: Results, axes: Axes) -> None:
    steps = [(batch, of.stage("decode", str(batch))) for batch in BATCHES]
    ours = [(batch, 1e3 * batch / milliseconds) for batch, milliseconds in steps if milliseconds]
    answers = [(batch, of.reference(f"answer_tokens_batch_{batch}_tokens_64")) for batch in (1, 64)]
    reference = [(batch, pace) for batch, pace in answers if pace]
    for name, known, colour in (("ours", ours, OURS), ("reference, whole answers", reference, REFERENCE)):
        if known:
            axes.plot(*zip(*known, strict=True), "-o", color=colour, label=name)


def throughput(of: Results, target: Path) -> bool:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for name, style in (("saturation-new", "-o"), ("saturation-repeated", "--s")):
        points = answered(of, name)
        pictures = "new images" if name.endswith("new") else "cached images"
        if points:
            left.plot([p.load for p in points], [p.requests_per_second for p in points], style, color=OURS, label=pictures)
    batches = [(batch, of.reference(f"requests_batch_{batch}_tokens_64")) for batch in (1, 64)]
    known = [(batch, rate) for batch, rate in batches if rate]
    if known:
        left.plot(*zip(*known, strict=True), "-^", color=REFERENCE, label="reference, static batch")
    step_throughput(of, right)
    if not left.lines and not right.lines:
        plt.close(figure)
        return False
    for axes, title, across, up in (
        (left, "requests per second, 64 tokens out", "requests at a time", "requests per second"),
        (right, "decode steps on the device", "batch", "tokens per second"),
    ):
        if axes.lines:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            label(axes, title, across, up)
    save(of, figure, target)
    return True


def save(of: Results, figure: plt.Figure, target: Path) -> None:
    gpus = of.machine().get("gpus") or []
    figure.suptitle(gpus[0]["name"] if gpus else of.machine().get("processor", ""))
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    plt.rcParams["svg.hashsalt"] = "llavamini"  # the same results give the same file
    of = Results(folder)
    for draw in (latency, throughput):
        target = folder / f"{draw.__name__}.svg"
        print(target if draw(of, target) else f"nothing to draw for {target}")


if __name__ == "__main__":
    main()
