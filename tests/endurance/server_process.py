"""A server process on a free port: for scripts, and to run one command beside one.

    python3 server_process.py --server COMMAND --log FILE [FLAG ...] -- WORD ...

starts COMMAND with the flags, runs the words, in which {address} and {pid} are the server's, when it serves, and stops it. The exit
code is the command's, or the server's where only that fails.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

SERVING, NOT_SERVING = 1, 2  # grpc.health.v1.HealthCheckResponse
HEALTH = "/grpc.health.v1.Health/"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Asks until it holds; False when it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def health_of(response: bytes) -> int:
    """Its only field is the status; absent: 0, unknown."""
    return response[1] if response else 0


class ServerProcess:
    """command: the program's words, and its flags but those for the port. environment: more variables."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.log = log
        self._folder = tempfile.TemporaryDirectory()
        self.port_file = Path(self._folder.name) / "port"
        self.started = time.monotonic()
        with log.open("wb") as error:
            self.process = subprocess.Popen(
                [*command, "--grpc-address", "127.0.0.1:0", "--port-file", str(self.port_file), "--log-format", "json"],
                stdout=error, stderr=error, stdin=subprocess.DEVNULL, env=os.environ | (environment or {}),
            )  # fmt: skip
        self.channel: grpc.Channel | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{int(self.port_file.read_text())}"

    def health(self) -> int | None:
        check = self.channel.unary_unary(HEALTH + "Check")
        try:
            return health_of(check(b"", timeout=10))
        except grpc.RpcError:
            return None

    def watch_health(self) -> Iterator[int]:
        """Each new status, until the connection ends."""
        try:
            yield from map(health_of, self.channel.unary_stream(HEALTH + "Watch")(b""))
        except grpc.RpcError:
            return

    def wait_to_serve(self, seconds: float) -> None:
        wait_until(lambda: self._ended() or self.port_file.exists(), seconds)
        if not self._ended() and self.port_file.exists():
            self.channel = grpc.insecure_channel(self.address)
            wait_until(lambda: self._ended() or self.health() == SERVING, seconds)
            if not self._ended() and self.health() == SERVING:
                return
        self.stop()
        raise RuntimeError(f"the server does not serve ({self.process.returncode}):\n{self.log.read_text()[-2000:]}")

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        if self.channel is not None:
            self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--server", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--log", required=True, type=Path)
    parser.add_argument("--start-seconds", type=float, default=120)
    split = sys.argv.index("--") if "--" in sys.argv else parser.error("-- and a command are missing")
    args, flags = parser.parse_known_args(sys.argv[1:split])
    with ServerProcess([*args.server, *flags], args.log) as server:
        server.wait_to_serve(args.start_seconds)
        print(f"serving after {time.monotonic() - server.started:.1f} s", flush=True)
        filled = [word.replace("{address}", server.address).replace("{pid}", str(server.pid)) for word in sys.argv[split + 1 :]]
        code = subprocess.run(filled).returncode
        sys.exit(code or server.stop())


if __name__ == "__main__":
    main()
