"""Grades answers to exported cases, by the rule of evaluate.py.

    python grade.py cases/cases.jsonl answers.jsonl --json accuracy.json

answers.jsonl: one object a line, with id and answer. Cases without an answer are left out and counted.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from facts import score_row, states_the_same


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print for each row")
    args = parser.parse_args()
    answers = {line["id"]: line["answer"].strip() for line in read_lines(args.answers)}
    rows = defaultdict(list)
    cases = read_lines(args.cases)
    for case in cases:
        if case["id"] in answers:
            rows[case["label"]].append(case)
    table = {}
    print("| held-out cases | accuracy | n |\n| --- | --- | --- |")
    for label, members in rows.items():
        given, expected = [answers[case["id"]] for case in members], [case["expected"] for case in members]
        exactly = not members[0]["files"]
        row = table[label] = score_row(members[0]["family"], expected, given, exactly)
        note = f" (objects: {100 * row['objects']:.1f} %)" if "objects" in row else ""
        print(f"| {label} | {100 * row['accuracy']:.1f} %{note} | {row['cases']} |")
        wrong = [case for case, answer in zip(members, given) if not states_the_same(answer, case["expected"], exactly)]
        for case in wrong[: args.show]:
            print(f"    {case['id']}: {case['question']}\n      expected {case['expected']}\n      answered {answers[case['id']]}")
    graded = sum(map(len, rows.values()))
    if graded < len(cases):
        print(f"{len(cases) - graded} of {len(cases)} cases have no answer")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
