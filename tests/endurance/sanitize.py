"""compute-sanitizer over the kernels' tests, the model's and a server that answers: memory errors, races, barriers, uninitialised memory.

    client/python/generate.sh FOLDER && PYTHONPATH=FOLDER python3 sanitize.py --server COMMAND --tests COMMAND --json FILE

COMMAND of --tests runs model_tests. Each run has a time limit; what it came to until then counts. Fails where a tool found an error;
reads of uninitialised memory are reported only, since padding may be read and is then thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
sys.path.append(str(SOURCE / "tests/performance"))

from machine import describe  # noqa: E402
from server_process import ServerProcess, wait_until  # noqa: E402

OURS = ["--kernel-name", "kns=llavamini"]
# Streams of weights wait for one another across the grid: apart, in case a tool keeps their blocks from running side by side.
KERNELS = "Dtypes/*BFloat16-*CpuOps*:*StreamedBlocks*:*Graphs*:*Timed*"
STREAMS = "Dtypes/StreamedBlocks*BFloat16"
SHARED_MEMORY = "Dtypes/Attention*BFloat16:Dtypes/LayerNorm*BFloat16:Dtypes/FewRows*BFloat16:Dtypes/Sample*BFloat16:Dtypes/Fp8.*BFloat16:Dtypes/ActivatedKernel.Rows*BFloat16"
GRAPHS = "Checkpoints/Steps*/grouped_gpu:Checkpoints/OnGpu.Images*/grouped:Checkpoints/OnGpu.Deterministic*/grouped"
FOUND = re.compile(r"^========= (Invalid|Misaligned|Race|Error: Race|Error: Potential|Barrier|Uninitialized|Program hit|Address|Unaligned)")
SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard")
SMALL = ["--max-running", "4", "--max-step-rows", "64", "--max-images-per-batch", "2", "--max-context-tokens", "2048"]
SMALL += ["--gpu-memory-limit-gib", "6", "--image-cache-mib", "16", "--image-cache-host-mib", "16", "--tuning-cache="]


@dataclass(frozen=True)
class Run:
    name: str
    tool: str
    seconds: float
    tests: str = ""  # a filter; none: the server
    options: list[str] = field(default_factory=list)
    # Each tensor is an allocation of its own, so that what lies beyond one is not another. Nothing can be recorded as a graph then.
    uncached: bool = False
    counts: bool = True  # whether what it finds is a failure


RUNS = [
    Run("server", "memcheck", 150),
    Run("model", "memcheck", 240, GRAPHS),
    Run("kernels", "memcheck", 300, KERNELS, uncached=True),
    Run("shared-memory-races", "racecheck", 300, SHARED_MEMORY, OURS),
    Run("streams", "memcheck", 45, STREAMS, uncached=True),
    Run("barriers", "synccheck", 200, SHARED_MEMORY, OURS),
    Run("stream-races", "racecheck", 400, STREAMS, OURS),
    Run("uninitialised", "initcheck", 60, SHARED_MEMORY, OURS, counts=False),
]


def command(run: Run, args: argparse.Namespace) -> list[str]:
    words = [args.sanitizer, "--tool", run.tool, "--target-processes", "all", "--error-exitcode", "99", *run.options]
    return words + (["--report-api-errors", "no"] if run.tool == "memcheck" else [])  # refused launches are tested for


def end_group(process: subprocess.Popen) -> None:
    for each in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, each)
            wait_until(lambda: process.poll() is not None, 5)


def run_tests(run: Run, args: argparse.Namespace, log: Path) -> dict:
    words = [*command(run, args), *args.tests, f"--gtest_filter={run.tests}"]
    environment = os.environ | ({"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if run.uncached else {})
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env=environment, start_new_session=True)
        finished = wait_until(lambda: process.poll() is not None, run.seconds)
        end_group(process)
    lines = log.read_text(errors="replace").splitlines()
    begun = [line for line in lines if line.startswith("[ RUN")]
    failed = {line.split()[3].rstrip(",") for line in lines if line.startswith("[  FAILED  ] ") and "(" in line}
    return {"finished": finished, "passed": sum(line.startswith("[       OK") for line in lines), "failed": sorted(failed),
            "last": begun[-1].split()[-1] if begun else None}  # fmt: skip


def server_within(port_file: str) -> int | None:
    """The process of the server, below the sanitizer's own."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if (folder / "comm").read_text().startswith("llavamini-serve") and port_file.encode() in words:
                return int(folder.name)
        except OSError:
            continue
    return None


def run_server(run: Run, args: argparse.Namespace, log: Path) -> dict:
    begin = time.monotonic()
    flags = ["--model", str(SOURCE / "demo/checkpoint"), "--device", args.device, *SMALL]
    with ServerProcess([*command(run, args), *args.server, *flags], log) as server:
        server.wait_to_serve(run.seconds)
        ready = time.monotonic() - begin
        pid = server_within(str(server.port_file))
        soak = [sys.executable, str(HERE / "soak.py"), "--address", server.address, "--server-pid", str(pid), "--concurrency", "4"]
        soak += ["--minutes", str(max(10, run.seconds - ready - 30) / 60), "--gpu-growth-mib", "4096", "--rss-growth-mib", "4096"]
        asked = subprocess.run([*soak, "--differing-share", "1"], capture_output=True, text=True, timeout=run.seconds + 120)
        os.kill(pid, signal.SIGTERM)
        server.process.wait(60)
    report = json.loads(asked.stdout) if asked.stdout else {"counts": {}, "wrong": [asked.stderr[-500:]]}
    return {"finished": True, "seconds_to_serving": round(ready, 1), "counts": report["counts"], "failed": report["wrong"]}


def check(run: Run, args: argparse.Namespace) -> dict:
    log, begin = args.logs / f"sanitize-{run.name}.log", time.monotonic()
    try:
        found = run_tests(run, args, log) if run.tests else run_server(run, args, log)
    except (RuntimeError, OSError, TypeError, subprocess.SubprocessError) as error:
        found = {"finished": False, "failed": [f"{type(error).__name__}: {error}"]}
    lines = log.read_text(errors="replace").splitlines()
    summaries = [int(match[1] or match[2]) for line in lines if (match := SUMMARY.search(line))]
    at = [i for i, line in enumerate(lines) if FOUND.match(line)]
    found |= {"tool": run.tool, "errors": max([len(at), *summaries]), "summary": bool(summaries), "counts_as_failure": run.counts,
              "seconds": round(time.monotonic() - begin, 1), "first": lines[at[0] : at[0] + 12] if at else []}  # fmt: skip
    print(f"{run.name} ({run.tool}): {json.dumps({key: found[key] for key in found if key != 'first'})}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--tests", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--sanitizer", default=shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--at-once", type=int, default=3, help="runs side by side")
    parser.add_argument("--only", nargs="+", choices=[run.name for run in RUNS], default=[run.name for run in RUNS])
    parser.add_argument("--logs", type=Path, default=Path("."))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    version = subprocess.run([args.sanitizer, "--version"], capture_output=True, text=True).stdout.strip().splitlines()
    report: dict = {"what": "sanitize", "machine": describe(), "sanitizer": version[-1:], "runs": {}}
    chosen = [run for run in RUNS if run.name in args.only]
    with ThreadPoolExecutor(args.at_once) as pool:
        for run, found in zip(chosen, pool.map(lambda run: check(run, args), chosen), strict=True):
            report["runs"][run.name] = found
            if args.json:
                args.json.write_text(json.dumps(report, indent=1) + "\n")
    ran = [found for found in report["runs"].values() if found["counts_as_failure"]]
    sys.exit(1 if any(found["errors"] or found["failed"] or found.get("passed") == 0 for found in ran) else 0)


if __name__ == "__main__":
    main()
