"""Compares the answers that several servers gave to the same exported cases, by the rule of evaluate.py.

    python compare_answers.py cases/cases.jsonl cpu-float32=a.jsonl cuda-float32=b.jsonl ... --json accuracy-gpu.json

The first server is what the others are compared with: how many cases each has right alone, and how likely an imbalance as large
would be if neither were better (McNemar's exact test). Fails where that is below --least-probability.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from math import comb
from pathlib import Path

from facts import score_row, states_the_same
from grade import read_lines

Answers = dict[str, str]  # by case


def read_answers(path: str) -> Answers:
    return {line["id"]: line["answer"].strip() for line in read_lines(Path(path))}


def is_right(case: dict, answer: str) -> bool:
    return states_the_same(answer, case["expected"], exactly=not case["files"])


def rows_of(cases: list[dict], answers: Answers) -> dict[str, dict]:
    members = defaultdict(list)
    for case in cases:
        members[case["label"]].append(case)
    return {
        label: score_row(row[0]["family"], [case["expected"] for case in row], [answers[case["id"]] for case in row], not row[0]["files"])
        for label, row in members.items()
    }


def probability(first: int, second: int) -> float:
    """Of so uneven a split, or more, of first + second fair coins."""
    count = first + second
    tail = sum(comb(count, i) for i in range(min(first, second) + 1)) / 2**count
    return min(1.0, 2 * tail)


def compare(cases: list[dict], reference: Answers, answers: Answers) -> dict:
    lost = gained = other_words = 0
    for case in cases:
        before, now = reference[case["id"]], answers[case["id"]]
        other_words += before != now
        lost += is_right(case, before) and not is_right(case, now)
        gained += is_right(case, now) and not is_right(case, before)
    return {"other_words": other_words, "right_only_there": lost, "right_only_here": gained, "probability": probability(lost, gained)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("answers", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--least-probability", type=float, default=0.01)
    parser.add_argument("--about", type=Path, help="a JSON file that goes into the report, such as machine.py's")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cases = read_lines(args.cases)
    servers = {name: read_answers(path) for name, _, path in (word.partition("=") for word in args.answers)}
    reference = next(iter(servers))
    report = {"machine": json.loads(args.about.read_text()) if args.about else None, "cases": len(cases), "servers": {}}
    for name, answers in servers.items():
        rows = rows_of(cases, answers)
        right = sum(row["right"] for row in rows.values())
        entry = report["servers"][name] = {"right": right, "accuracy": right / len(cases)}
        if name != reference:
            entry[f"against {reference}"] = compare(cases, servers[reference], answers)
        print(f"{name}: {right} of {len(cases)} right ({100 * entry['accuracy']:.1f} %) {entry.get(f'against {reference}', '')}")
        entry["rows"] = {label: row["right"] for label, row in rows.items()}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    compared = [entry[f"against {reference}"] for name, entry in report["servers"].items() if name != reference]
    sys.exit(1 if any(each["probability"] < args.least_probability for each in compared) else 0)


if __name__ == "__main__":
    main()
