"""What llavamini-bench --json writes, as far as tables and plots need it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Times:
    """Milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True)
class Point:
    """One load: `load` requests at any time (closed loop) or `load` a second (open loop)."""

    load: float
    failed: int
    most_in_flight: int
    first_token: Times
    inter_token: Times
    requests_per_second: float
    tokens_per_second: float
    images_per_second: float


def times(raw: dict) -> Times:
    return Times(**{name: raw[name] for name in Times.__dataclass_fields__})


def point_of(raw: dict) -> Point:
    return Point(
        load=raw["concurrency" if raw["mode"] == "closed" else "rate"],
        failed=raw["requests"]["failed"],
        most_in_flight=raw["most_in_flight"],
        first_token=times(raw["ttft_ms"]),
        inter_token=times(raw["itl_ms"]),
        requests_per_second=raw["requests_per_s"],
        tokens_per_second=raw["output_tokens_per_s"],
        images_per_second=raw["images_per_s"],
    )


def points_of(path: Path) -> list[Point]:
    return [point_of(raw) for raw in json.loads(path.read_text())["points"]]
