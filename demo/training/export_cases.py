"""Writes held-out cases of evaluate.py's table as files, for asking a server.

    python export_cases.py cases --cases 20

cases/cases.jsonl has one case a line: id, label (row of the table), family, files (none for text only, one PNG for a
picture, one PNG a frame for a video), video, resolution_ratio, history, question and expected. Pictures and frames
have their own sizes. A server that pads and resizes pictures as published (video frames: nearest, not padded) gives
the model the same pixels as evaluate.py, whose first cases of each row these are. grade.py grades the answers.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from evaluate import Suite, draw_case, suites


def export_case(folder: Path, label: str, suite: Suite, index: int) -> dict:
    """Writes the pictures of a case and returns its line."""
    pictures, conversation = draw_case(label, suite, index)
    name = f"{re.sub('[^a-z0-9]+', '-', label.lower().replace('=', ''))}-{index:03}"
    files = [f"{name}-{number:02}.png" if suite.is_video else f"{name}.png" for number in range(len(pictures))]
    for picture, file in zip(pictures, files):
        picture.save(folder / file)
    return {
        "id": name,
        "label": label,
        "family": conversation.family,
        "files": files,
        "video": suite.is_video,
        "resolution_ratio": suite.ratio,
        "history": conversation.history,
        "question": conversation.question,
        "expected": conversation.answer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=20, help="cases for each row")
    parser.add_argument("--only", default="", help="regular expression that chooses rows by name")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with open(args.folder / "cases.jsonl", "w") as lines:
        for label, suite in suites().items():
            if re.search(args.only, label):
                for index in range(args.cases):
                    lines.write(json.dumps(export_case(args.folder, label, suite, index)) + "\n")
                    count += 1
    print(f"{count} cases in {args.folder}")


if __name__ == "__main__":
    main()
