"""The kernels of a decode step and of a vision batch, as markdown, from llavamini-stages --profile:   python3 profile_table.py results"""

from __future__ import annotations

import argparse
from pathlib import Path

from results import Results

# What the work must take on one H200 at least, in milliseconds (8B shapes, bf16): weights and keys read once, or products at full speed.
FLOORS = {"decode_1": 3.49, "decode_8": 3.49, "decode_32": 3.49, "decode_128": 3.49, "decode_256": 3.49, "vision_32": 32 * (0.46 + 1.01)}
SHOWN = 20  # kernels; the others are summed up
NAME_LENGTH = 90


def short(name: str) -> str:
    """Without what would break a table's cell."""
    name = " ".join(name.replace("|", "/").split())
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"


def table(name: str, kernels: list[dict]) -> list[str]:
    kernels = sorted(kernels, key=lambda kernel: -kernel["milliseconds"])
    total, floor = sum(kernel["milliseconds"] for kernel in kernels), FLOORS.get(name)
    lines = [f"## {name}", "", "| kernel | calls | ms | of all kernels | of the floor |", "| --- | --- | --- | --- | --- |"]

    def line(what: str, calls: float, milliseconds: float) -> str:
        share = f"{100 * milliseconds / floor:.1f} %" if floor else "–"
        return f"| {what} | {calls:.0f} | {milliseconds:.3f} | {100 * milliseconds / total:.1f} % | {share} |"

    lines += [line(f"`{short(k['kernel'])}`", k["calls"], k["milliseconds"]) for k in kernels[:SHOWN]]
    others = kernels[SHOWN:]
    if others:
        lines.append(line(f"{len(others)} others", sum(k["calls"] for k in others), sum(k["milliseconds"] for k in others)))
    lines += [line("all", sum(k["calls"] for k in kernels), total), "", f"The floor is {floor:.2f} ms." if floor else "", ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    profiles = (Results(parser.parse_args().folder).read("stages") or {}).get("profile") or {}
    print("A kernel that starts while the one before still runs counts from that one's end.\n")
    for name, kernels in profiles.items():
        if kernels:
            print("\n".join(table(name, kernels)))


if __name__ == "__main__":
    main()
