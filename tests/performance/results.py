"""A folder of results as run_gpu.sh leaves it: any file may be missing, where its section failed or was not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bench_report import Point, points_of


class Results:
    """Figures by their sources; None where the source is missing."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> dict | None:
        path = self.folder / f"{name}.json"
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            return None

    def points(self, name: str) -> list[Point]:
        try:
            return points_of(self.folder / f"{name}.json")
        except (OSError, ValueError):
            return []

    def stage(self, *path: str, file: str = "stages") -> float | None:
        """A figure of llavamini-stages; path: its keys from the outermost on."""
        found: object = self.read(file)
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, float | int) else None

    def reference(self, key: str, field: str = "median") -> float | None:
        entry = ((self.read("reference") or {}).get("results") or {}).get(key)
        return entry.get(field) if entry else None

    def reference_memory(self) -> float | None:
        return ((self.read("reference") or {}).get("memory") or {}).get("reserved_gib")

    def first(self, name: str, figure: Callable[[Point], float]) -> float | None:
        """Of a run with one point that answered anything."""
        points = [point for point in self.points(name) if point.requests_per_second > 0]
        return figure(points[0]) if points else None

    def best(self, name: str, figure: Callable[[Point], float]) -> float | None:
        """The highest of all its points."""
        return max((figure(point) for point in self.points(name)), default=None)

    def answered(self, name: str) -> bool:
        points = self.points(name)
        return bool(points) and all(point.failed == 0 and point.requests_per_second > 0 for point in points)

    def gpu_memory(self, server: str, *loads: str) -> float | None:
        """GiB that this server took of the GPU, at most, with these loads; None unless it answered all of them."""
        sampled = self.read(f"memory-{server}")
        if not all(self.answered(f"{load}-{server}") for load in loads):
            return None
        return (sampled["most_mib"] - sampled["before_mib"]) / 1024 if sampled else None

    def machine(self) -> dict:
        return self.read("machine") or (self.read("reference") or {}).get("machine") or {}
