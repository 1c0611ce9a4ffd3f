"""Repeats a piece of work within a budget of seconds and says how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

WARM_UPS = 2


@dataclass(frozen=True)
class Clock:
    """Times work on one device: at least `least` runs, then more until `seconds` are over or there are `most`."""

    device: torch.device
    seconds: float
    least: int = 3
    most: int = 200

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def once(self, work: Callable[[], object]) -> float:
        """Seconds from the call to the end of what it started on the device."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def samples(self, work: Callable[[], object], warm_ups: int = WARM_UPS) -> list[float]:
        end = time.perf_counter() + self.seconds
        for _ in range(warm_ups):
            self.once(work)
        taken: list[float] = []
        while len(taken) < self.least or (time.perf_counter() < end and len(taken) < self.most):
            taken.append(self.once(work))
        return taken


def quantile(samples: list[float], share: float) -> float:
    """The smallest sample that at least `share` of all do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def in_milliseconds(samples: list[float]) -> dict:
    return {"median": 1e3 * quantile(samples, 0.5), "p99": 1e3 * quantile(samples, 0.99), "count": len(samples), "unit": "ms"}


def as_rate(samples: list[float], amount: int, unit: str) -> dict:
    """amount per run, as a rate: the median run's, and that of the slowest in a hundred."""
    median, slow = quantile(samples, 0.5), quantile(samples, 0.99)
    return {"median": amount / median, "p99": amount / slow, "count": len(samples), "unit": unit}
