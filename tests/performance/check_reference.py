"""Whether reference_model.py is the true model: its greedy answers to every case of tests/golden/parity are the goldens'."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from reference_model import PublishedModel, read_config

PARITY = Path(__file__).resolve().parents[1] / "golden/parity"
COPIES = 3  # of a question in one static batch; each must get the golden answer


def answers(model: PublishedModel, frames: torch.Tensor | None, ids: torch.Tensor, count: int) -> list[list[int]]:
    if frames is None:
        x = model.text_prompt(ids)
    elif len(frames) == 1:
        x = model.prompts(frames.expand(COPIES, *frames.shape[1:]), ids.expand(COPIES, -1))
    else:
        x = model.video_prompt(frames, ids)
    return [list(row) for row in zip(*model.generate(x, count), strict=True)]


@torch.inference_mode()
def check() -> int:
    """The number of wrong answers, each of them printed."""
    wrong = checked = 0
    for goldens in sorted(PARITY.glob("*/goldens.safetensors")):
        model = PublishedModel(read_config(goldens.parent), "cpu", torch.float32)
        model.load(goldens.parent)
        with safe_open(goldens, framework="pt") as file:
            for case, facts in json.loads(file.metadata()["cases"]).items():
                expected = file.get_tensor(f"{case}/greedy").tolist()
                frames = file.get_tensor(f"{case}/pictures") if facts["frames"] else None
                for answer in answers(model, frames, torch.tensor(facts["ids"]), len(expected)):
                    checked += 1
                    if answer != expected:
                        wrong += 1
                        print(f"{goldens.parent.name}, {case}: {answer}, not {expected}")
    print(f"{checked} answers checked, {wrong} wrong")
    return wrong if checked else 1
