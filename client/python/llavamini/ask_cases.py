"""Asks a running server the questions of a file, several at once: how the demo's held-out accuracy is measured.

    python3 -m llavamini.ask_cases cases.jsonl answers.jsonl [--address HOST:PORT] [--concurrency N]

A case is a line {id, family, files, resolution_ratio, history, question, ...}; files are relative to the folder of
cases.jsonl: none is a question without a picture, one a picture, several (or a family named "video ...") the frames of a
video. An answer is a line {id, answer}, in the order of the cases. Decoding is greedy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llavamini import Client, LlavaMiniError

MAX_TRIES = 10


def asked_media(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The case's pictures as arguments of Client.chat()."""
    files = [folder / name for name in case["files"]]
    if not files:
        return {}
    detail = "high" if case.get("resolution_ratio", 1) == 2 else "low"
    if len(files) > 1 or str(case.get("family", "")).startswith("video"):
        return {"frames": files, "detail": detail}
    return {"image": files[0], "detail": detail}


def ask(client: Client, case: dict[str, Any], folder: Path, max_tokens: int) -> dict[str, Any]:
    history = [(question, answer) for question, answer in case.get("history", ())]
    asked = asked_media(case, folder) | {"history": history, "temperature": 0.0, "max_tokens": max_tokens}
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return {"id": case["id"], "answer": client.chat(case["question"], **asked).text}
        except LlavaMiniError as error:
            if error.retry_after is None or attempt == MAX_TRIES:
                raise RuntimeError(f"case {case['id']}: {error}") from error
            time.sleep(error.retry_after)
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=200)
    words = parser.parse_args()
    cases = [json.loads(line) for line in words.cases.read_text().splitlines() if line.strip()]
    start = time.monotonic()
    with (
        Client(words.address, timeout=600) as client,
        ThreadPoolExecutor(words.concurrency) as pool,
        words.answers.open("w") as out,
    ):
        for answer in pool.map(lambda case: ask(client, case, words.cases.parent, words.max_tokens), cases):
            out.write(json.dumps(answer, ensure_ascii=False) + "\n")
    print(f"{len(cases)} cases in {time.monotonic() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
