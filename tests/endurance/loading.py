"""How fast a large checkpoint is loaded onto the GPU: writes one of CONFIG_FOLDER's shapes into each folder, reads it as fast as the
machine can, and starts the server on it with the files cold (not in the system's memory) and warm.

    python3 loading.py --server COMMAND --config CONFIG_FOLDER --json FILE FOLDER ...

A folder on a disk and one in memory (/dev/shm) show the disk's share. The link to the GPU is timed by torch, a copy from page-locked
memory. Loading is counted from the server's first read to its last (/proc/PID/io); the rest until it serves is preparation. The
folders are removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.append(str(SOURCE / "tests/performance"))

from large_checkpoint import write_checkpoint  # noqa: E402
from machine import describe  # noqa: E402
from server_process import ServerProcess  # noqa: E402

GB = 1e9
PIECE, READERS = 2 << 20, 8  # as the server reads
SAMPLE_SECONDS = 0.01
START_SECONDS = 200
MOST_RSS_GROWTH = 0.25  # of the checkpoint's bytes
LINK = """
import time, torch
host = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True).fill_(1)
there = torch.empty_like(host, device="cuda")
best = 0
for _ in range(4):
    torch.cuda.synchronize(); begin = time.perf_counter()
    for _ in range(4): there.copy_(host, non_blocking=True)
    torch.cuda.synchronize(); best = max(best, 4 * host.numel() / (time.perf_counter() - begin))
print(best / 1e9)
"""


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def drop_from_memory(folder: Path) -> None:
    """Without effect on what lies in memory only."""
    for file in shards(folder):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_all(folder: Path) -> float:
    """GB/s."""
    pieces = [(file, at) for file in shards(folder) for at in range(0, file.stat().st_size, PIECE)]
    descriptors = {file: os.open(file, os.O_RDONLY) for file in shards(folder)}
    buffers = threading.local()

    def read(piece: tuple[Path, int]) -> int:
        if not hasattr(buffers, "memory"):
            buffers.memory = bytearray(PIECE)
        return os.preadv(descriptors[piece[0]], [buffers.memory], piece[1])

    begin = time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        total = sum(pool.map(read, pieces))
    seconds = time.monotonic() - begin
    for descriptor in descriptors.values():
        os.close(descriptor)
    return total / seconds / GB


def bytes_read(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def memory_mib(pid: int) -> dict[str, float]:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) / 1024 for words in lines if words[0] in ("VmHWM:", "VmRSS:", "RssAnon:", "RssFile:", "RssShmem:")}


def start(args: argparse.Namespace, folder: Path, log: Path, dummy: bool = False) -> dict:
    """One start of the server, up to its first answer."""
    flags = ["--model", str(folder), "--device", args.device, "--dtype", "bfloat16", "--image-cache-host-mib", "0"]
    flags += ["--gpu-memory-limit-gib", "32"]
    flags += ["--load-format", "dummy"] if dummy else []
    reads: list[tuple[float, int]] = []
    over = threading.Event()
    with ServerProcess([*args.server, *flags], log) as server:

        def sample() -> None:
            while not over.is_set():
                try:
                    reads.append((time.monotonic() - server.started, bytes_read(server.pid)))
                except OSError:  # it has ended
                    return
                over.wait(SAMPLE_SECONDS)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            server.wait_to_serve(START_SECONDS)
            ready, memory = time.monotonic() - server.started, memory_mib(server.pid)
        finally:
            over.set()
            sampler.join()
    first, last = reads[0][1], reads[-1][1]
    weights = sum(file.stat().st_size for file in shards(folder))
    # What else is read (libraries, the tokenizer) is less than a hundredth.
    begin = next((second for second, count in reads if count > first + weights / 100), 0)
    end = next(second for second, count in reads if count >= last - weights / 100)
    seconds = end - begin
    known = not dummy and seconds > 2 * SAMPLE_SECONDS
    return {"seconds_to_serving": ready, "loading_seconds": seconds if known else None,
            "gb_per_second": weights * 0.98 / seconds / GB if known else None, "memory_mib": memory}  # fmt: skip


def measure(args: argparse.Namespace, folder: Path, report: dict) -> None:
    begin = time.monotonic()
    size = report["bytes"] = write_checkpoint(args.config, folder)
    found = report["folders"][folder.name] = {"file_system": file_system(folder)}
    found["writing_gb_per_second"] = size / (time.monotonic() - begin) / GB
    drop_from_memory(folder)
    found["cold_reading_gb_per_second"] = read_all(folder)
    found["warm_reading_gb_per_second"] = read_all(folder)
    drop_from_memory(folder)
    found["cold"] = start(args, folder, args.logs / f"server-loading-{folder.name}-cold.log")
    found["warm"] = start(args, folder, args.logs / f"server-loading-{folder.name}-warm.log")


def file_system(folder: Path) -> str:
    return subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True).stdout.strip()


def link_gb_per_second(python: str) -> float | None:
    timed = subprocess.run([python, "-c", LINK], capture_output=True, text=True)
    return float(timed.stdout) if timed.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--server", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--logs", type=Path, default=Path("."), help="folder of the servers' logs")
    parser.add_argument("--python", default=sys.executable, help="has torch")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report: dict = {"what": "loading", "machine": describe(), "link_gb_per_second": link_gb_per_second(args.python), "folders": {}}
    report["without_weights"] = start(args, args.config, args.logs / "server-loading-dummy.log", dummy=True)
    wrong = report["wrong"] = []
    for folder in args.folders:
        try:
            measure(args, folder, report)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        most = max(report["folders"][folder.name][state]["memory_mib"]["VmHWM"] for state in ("cold", "warm"))
        more = most - report["without_weights"]["memory_mib"]["VmHWM"]
        if more * 2**20 > MOST_RSS_GROWTH * report["bytes"]:
            wrong.append(f"{folder.name}: {more:.0f} MiB more of the host's memory than without weights")
        print(json.dumps(report["folders"][folder.name]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("link_gb_per_second", "without_weights", "wrong")}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
