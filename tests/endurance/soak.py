"""The long mixed run: thousands of calls of all kinds, with the server's memory watched. Prints JSON; fails where memory grows, an
answer changes, or the server does what it must not.

    client/python/generate.sh FOLDER && PYTHONPATH=FOLDER python3 soak.py --address HOST:PORT --server-pid PID --minutes 10

GPU memory is the server's own where the driver tells it, else that of the whole GPU: then nothing else may run there.

Start the server with small image caches (--image-cache-mib 64 --image-cache-host-mib 64), so that they are full within the first fifth
of the run: memory is compared between its second fifth and its last. Unless the server runs with --deterministic, a greedy answer may
differ with what else is in its batch: --differing-share says how many may.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc

sys.path.append(str(Path(__file__).resolve().parents[1] / "performance"))

from machine import describe  # noqa: E402
from soak_calls import MIX, Answers, Caller, Client, LlavaMiniError, Wrong  # noqa: E402

SAMPLE_SECONDS = 2
REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED,)  # too much at once: the caller's turn to wait
REMEMBERED = 20  # failures and differing answers that are reported with their texts


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def ask_gpu(query: str) -> list[list[str]]:
    """Lines of fields; none where there is no GPU."""
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits", "-i", "0"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split(", ") for line in output.splitlines()]


def gpu_mib_of(pid: int) -> float | None:
    """Of this process alone; None where the driver does not tell, as in containers."""
    for process, used in ask_gpu("--query-compute-apps=pid,used_memory"):
        if process == str(pid) and used.isdigit():
            return float(used)
    return None


def gpu_mib() -> float | None:
    """Of the first GPU, all processes together."""
    used = ask_gpu("--query-gpu=memory.used")
    return float(used[0][0]) if used else None


@dataclass
class Watch:
    """Samples memory until told to stop; ends the run when the server has ended."""

    pid: int
    over: threading.Event
    alone: bool  # whether GPU memory is the server's own
    samples: list[tuple[float, float, float | None]] = field(default_factory=list)  # seconds, RSS, GPU
    gone: bool = False

    def run(self, start: float) -> None:
        while not self.over.is_set():
            try:
                gpu = gpu_mib_of(self.pid) if self.alone else gpu_mib()
                self.samples.append((time.monotonic() - start, resident_mib(self.pid), gpu))
            except (ProcessLookupError, FileNotFoundError):
                self.gone = True
                self.over.set()
            self.over.wait(SAMPLE_SECONDS)

    def growth(self, column: int) -> float | None:
        """MiB from the highest of the run's second fifth to the highest of its last."""
        count = len(self.samples)
        early = [s[column] for s in self.samples[count // 5 : 2 * count // 5] if s[column] is not None]
        late = [s[column] for s in self.samples[4 * count // 5 :] if s[column] is not None]
        return max(late) - max(early) if early and late else None


@dataclass
class Run:
    over: threading.Event
    answers: Answers = field(default_factory=Answers)
    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, caller: Caller, rng: random.Random) -> None:
        call = rng.choices([call for call, _ in MIX], [weight for _, weight in MIX])[0]
        name, failure, outcome = call.__name__, None, "failed"
        try:
            outcome = call(caller, rng)
        except Wrong as wrong:
            failure = f"{name}: {wrong}"
        except LlavaMiniError as error:
            if error.code in REFUSED:
                outcome = "refused for now"
            else:
                failure = f"{name}: {error}"
        with self.lock:
            self.counts[f"{name}: {outcome}"] += 1
            if failure:
                self.failures.append(failure)
        if outcome == "refused for now":
            self.over.wait(0.2)

    def worker(self, address: str, seed: int) -> None:
        rng = random.Random(seed)
        with Client(address, timeout=300) as client:
            while not self.over.is_set():
                self.one(Caller(client, self.answers), rng)


def idle(address: str, seconds: float) -> bool:
    """Whether the server has nothing in hand any more within the time."""
    with Client(address, timeout=10) as client:
        end = time.monotonic() + seconds
        while True:
            info = client.info()
            if info.running_requests + info.waiting_requests == 0:
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.2)


def wait_to_serve(address: str, seconds: float) -> None:
    with Client(address, timeout=60) as client:
        end = time.monotonic() + seconds
        while True:
            try:
                client.chat("Hello!", max_tokens=1)
                return
            except LlavaMiniError as error:
                if error.code != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
            time.sleep(0.2)


def verdicts(args: argparse.Namespace, run: Run, watch: Watch) -> list[str]:
    """What failed, in words; none: the run is good."""
    wrong = [f"{len(run.failures)} calls failed"] if run.failures else []
    for name, column, bound in (("resident memory", 1, args.rss_growth_mib), ("GPU memory", 2, args.gpu_growth_mib)):
        growth = watch.growth(column)
        if growth is not None and growth > bound:
            wrong.append(f"{name} grew by {growth:.0f} MiB, more than {bound:g}")
    differing, greedy = run.answers.differing(), run.answers.count()
    if differing > args.differing_share * greedy:
        wrong.append(f"{differing} of {greedy} greedy answers differ from the usual one to their question")
    if watch.gone:
        wrong.append("the server ended")
    elif not idle(args.address, 30):
        wrong.append("the server still has requests in hand 30 s after the last")
    if sum(run.counts.values()) < args.least_requests:
        wrong.append(f"only {sum(run.counts.values())} calls were made")
    return wrong


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--server-pid", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--concurrency", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rss-growth-mib", type=float, default=64, help="most that is allowed (default 64)")
    parser.add_argument("--gpu-growth-mib", type=float, default=20, help="most that is allowed (default 20: one of LibTorch's blocks)")
    parser.add_argument("--differing-share", type=float, default=0, help="of repeated greedy answers that may differ (default 0)")
    parser.add_argument("--least-requests", type=int, default=1, help="fewer calls than this are a failure")
    parser.add_argument("--json", type=Path, help="also write the summary there")
    return parser.parse_args()


def main() -> None:
    args = parse()
    wait_to_serve(args.address, 300)
    over, start = threading.Event(), time.monotonic()
    run, watch = Run(over), Watch(args.server_pid, over, gpu_mib_of(args.server_pid) is not None)
    threads = [threading.Thread(target=run.worker, args=(args.address, args.seed * 1000 + i)) for i in range(args.concurrency)]
    threads.append(threading.Thread(target=watch.run, args=(start,)))
    for thread in threads:
        thread.start()
    over.wait(60 * args.minutes)
    over.set()
    for thread in threads:
        thread.join()
    seconds, wrong = time.monotonic() - start, verdicts(args, run, watch)
    summary = {
        "what": "soak", "machine": describe(), "minutes": seconds / 60, "concurrency": args.concurrency, "seed": args.seed,
        "calls": sum(run.counts.values()), "counts": dict(sorted(run.counts.items())),
        "greedy_answers": run.answers.count(), "greedy_questions": len(run.answers.texts), "differing": run.answers.differing(),
        "rss_growth_mib": watch.growth(1), "gpu_growth_mib": watch.growth(2),
        "gpu_memory_of": "the server" if watch.alone else "all processes",
        "memory": [f"{s:.0f} s: {rss:.0f} MiB, GPU {gpu}" for s, rss, gpu in watch.samples[:: 1 + len(watch.samples) // REMEMBERED]],
        "examples": {"failures": run.failures[:REMEMBERED], "differing": run.answers.examples()[:REMEMBERED]}, "wrong": wrong,
    }  # fmt: skip
    text = json.dumps(summary, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
