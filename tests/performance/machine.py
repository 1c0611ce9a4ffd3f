"""The machine that a figure comes from, as JSON:   python3 machine.py"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of each GPU; none where there is no driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(("name", "driver", "memory"), (field.strip() for field in line.split(",")), strict=True)) for line in lines]


def describe() -> dict:
    return {
        "gpus": gpus(), "processor": processor(), "cpus": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(describe(), indent=1))
