"""What a server on a GPU does when the GPU fails it: no GPU, too little memory, none left in a step, a context that is broken.

    client/python/generate.sh FOLDER && PYTHONPATH=FOLDER python3 failures.py --server COMMAND --break-gpu FILE --json FILE

FILE of --break-gpu is build/bin/llavamini_break_gpu.so. Needs Python's torch, and a GPU on which nothing else runs: the third case
takes all of its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
sys.path[:0] = [str(SOURCE / "client/python"), str(SOURCE / "tests/performance")]

from llavamini import Client, LlavaMiniError  # noqa: E402
from machine import describe  # noqa: E402
from server_process import NOT_SERVING, SERVING, ServerProcess, wait_until  # noqa: E402

DEMO = ["--model", str(SOURCE / "demo/checkpoint"), "--device", "cuda"]
LARGE = ["--model", str(SOURCE / "tests/performance/llava-mini-8b"), "--load-format", "dummy", "--device", "cuda"]
LARGE += ["--max-running", "8", "--image-cache-host-mib", "256"]
EXIT_DEVICE, EXIT_LOST = 69, 70
START_SECONDS, REFUSAL_SECONDS = 60, 30
STREAMS = 8
LEFT_MIB = 192  # of the GPU's memory, beside what the server has already
LONG_TOKENS, NEIGHBOUR_TOKENS = 15_000, 1000


@dataclass
class Case:
    """wrong: what was not as promised, in words; found: what was seen, for the report."""

    wrong: list[str]
    found: dict

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)


def critical(log: Path) -> list[str]:
    """Messages; a line that is no record of the log is another program's."""
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [record["message"] for record in records if record["level"] == "critical"]


def refused(case: Case, args: argparse.Namespace, log: Path, words: list[str], flags: list[str], **environment: str) -> None:
    """A start that must end with exit code 69 and one line, in which these words stand."""
    with ServerProcess([*args.server, *flags], log, environment) as server:
        code = server.wait(REFUSAL_SECONDS)
        messages = critical(log)
        case.found |= {"exit_code": code, "message": messages, "seconds": round(time.monotonic() - server.started, 2)}
    case.expect(code == EXIT_DEVICE, f"exit code {code}")
    case.expect(len(messages) == 1 and all(word in messages[0] for word in words), "not one line with the figures")


def no_gpu(case: Case, args: argparse.Namespace, log: Path) -> None:
    refused(case, args, log, ["device cuda"], DEMO, CUDA_VISIBLE_DEVICES="")


def too_little_memory(case: Case, args: argparse.Namespace, log: Path) -> None:
    refused(case, args, log, ["GiB needed", "4.0 GiB available"], [*LARGE, "--gpu-memory-limit-gib", "4"])


class MemoryHolder:
    def __init__(self, python: str):
        words = [python, str(HERE / "hold_memory.py"), str(LEFT_MIB)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said = self.process.stdout.readline().strip()

    def __enter__(self) -> MemoryHolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except LlavaMiniError as error:
        return error.code.name
    return "OK"


def long_text(client: Client, tokens: int) -> str:
    """About so many."""
    each = client.count_tokens("one " * 1000).prompt_tokens / 1000
    return "one " * int(tokens / each)


def no_memory_in_a_step(case: Case, args: argparse.Namespace, log: Path) -> None:
    flags = [*LARGE, "--gpu-memory-limit-gib", "32", "--max-context-tokens", "16384"]
    with ServerProcess([*args.server, *flags], log) as server:
        server.wait_to_serve(START_SECONDS)
        with Client(server.address, timeout=60) as client:
            text = long_text(client, LONG_TOKENS)

            def long() -> None:
                client.chat(text, max_tokens=1, ignore_eos=True)

            with MemoryHolder(args.python) as holder, ThreadPoolExecutor() as beside:
                asked = {"max_tokens": NEIGHBOUR_TOKENS, "ignore_eos": True, "temperature": 0}
                answer = beside.submit(client.chat, "Go on.", **asked)
                wait_until(lambda: client.info().running_requests > 0, 5)  # made-up weights may say nothing that is text
                without = code_of(long)
                rest = code_of(answer.result)
                tokens = answer.result().usage.completion_tokens if rest == "OK" else 0
                case.found |= {"holder": holder.said, "long_prompt": without, "neighbour": rest, "neighbour_tokens": tokens}
            case.found |= {"long_prompt_afterwards": code_of(long), "health": server.health(), "critical": critical(log)}
        code = case.found["exit_code"] = server.stop()
    case.expect(without == "RESOURCE_EXHAUSTED", "the prompt for which there was no memory was not refused for it")
    case.expect(rest == "OK" and tokens == NEIGHBOUR_TOKENS, "its neighbour did not go on to its end")
    case.expect(case.found["long_prompt_afterwards"] == "OK", "with memory, the same prompt was not answered")
    case.expect(case.found["health"] == SERVING and code == 0, "the server did not go on")


class Streams:
    """Endless answers, each in a thread; how and when each ended, in seconds of time.monotonic()."""

    def __init__(self, client: Client, count: int):
        self.ends: list[tuple[str, float]] = []
        self.begun = threading.Semaphore(0)
        self.threads = [threading.Thread(target=self._read, args=(client, i)) for i in range(count)]
        for thread in self.threads:
            thread.start()
        for _ in range(count):
            self.begun.acquire(timeout=30)

    def _read(self, client: Client, number: int) -> None:
        def read() -> None:
            for index, _ in enumerate(client.stream(f"Count from {number}.", max_tokens=4000, ignore_eos=True)):
                if index == 0:
                    self.begun.release()

        code = code_of(read)
        self.begun.release()
        self.ends.append((code, time.monotonic()))

    def join(self) -> None:
        for thread in self.threads:
            thread.join(30)


def broken_context(case: Case, args: argparse.Namespace, log: Path) -> None:
    """A store to address zero, from within the server's process, while answers run and one is read slowly."""
    health: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "break"
        os.mkfifo(pipe)
        environment = {"LD_PRELOAD": str(args.break_gpu.resolve()), "LLAVAMINI_BREAK_GPU": str(pipe)}
        with ServerProcess([*args.server, *DEMO, "--max-context-tokens", "8192"], log, environment) as server:
            server.wait_to_serve(START_SECONDS)
            watcher = threading.Thread(target=lambda: health.extend(server.watch_health()))
            watcher.start()
            with Client(server.address, timeout=60) as client:
                streams = Streams(client, STREAMS)
                wait_until(lambda: bool(health), 5)
                broken = time.monotonic()
                pipe.write_bytes(b"!")
                code = server.wait(30)
                ended = time.monotonic() - broken
                streams.join()
            watcher.join(10)
    codes = [code for code, _ in streams.ends]
    case.found |= {
        "exit_code": code, "seconds_to_exit": round(ended, 2), "streams": codes, "health": health, "critical": critical(log),
        "seconds_to_last_stream": round(max(end for _, end in streams.ends) - broken, 2),
        "driver": [line for line in log.read_text(errors="replace").splitlines() if line.startswith("break_gpu")],
    }  # fmt: skip
    case.expect(codes == [grpc.StatusCode.UNAVAILABLE.name] * STREAMS, "not all streams ended with UNAVAILABLE")
    case.expect(code == EXIT_LOST, f"exit code {code}")
    case.expect(ended < 5, f"{ended:.1f} s to the exit")
    told = health[:1] == [SERVING] and set(health[1:]) == {NOT_SERVING}  # once by us, and once more by gRPC's shutdown
    case.expect(told, "a watcher of health did not see NOT_SERVING")


CASES = {"no-gpu": no_gpu, "too-little-memory": too_little_memory, "no-memory-in-a-step": no_memory_in_a_step,
         "broken-context": broken_context}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--break-gpu", required=True, type=Path)
    parser.add_argument("--logs", type=Path, default=Path("."), help="folder of the servers' logs")
    parser.add_argument("--python", default=sys.executable, help="has torch")
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = {"what": "failures", "machine": describe(), "cases": {}}
    for name in args.only:
        case = Case([], {})
        try:
            CASES[name](case, args, args.logs / f"server-{name}.log")
        except (RuntimeError, OSError, subprocess.SubprocessError, LlavaMiniError, StopIteration) as error:
            case.wrong.append(f"{type(error).__name__}: {error}")
        report["cases"][name] = case.found | {"wrong": case.wrong}
        print(f"{name}: {'; '.join(case.wrong) or 'as promised'}: {json.dumps(case.found)}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(1 if any(case["wrong"] for case in report["cases"].values()) else 0)


if __name__ == "__main__":
    main()
