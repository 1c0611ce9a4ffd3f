"""Starts and stops the real server, and speaks to it: what every test module here uses."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import grpc

from tiny_checkpoint import write_checkpoint

SOURCE = Path(__file__).resolve().parents[2]
DEMO = SOURCE / "demo"
SERVER_PROGRAM = os.environ["LLAVAMINI_SERVER_PROGRAM"]
PROGRAM = os.environ["LLAVAMINI_PROGRAM"]
START_SECONDS = 60
WAIT_SECONDS = 30

WORK = Path(tempfile.mkdtemp(prefix="llavamini-e2e-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)

# The compiled contract and the Python client, as a user of the repository gets them.
subprocess.run([SOURCE / "client/python/generate.sh", WORK / "python"], check=True)
sys.path[:0] = [str(SOURCE / "client/python"), str(WORK / "python")]
subprocess.run(
    ["protoc", f"--proto_path={SOURCE / 'proto'}", f"--python_out={WORK / 'python'}"]
    + ["grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto"],
    check=True,
)

from llavamini import Client, LlavaMiniError  # noqa: E402
from llavamini.v1 import chat_pb2, chat_pb2_grpc, model_pb2, model_pb2_grpc  # noqa: E402


def _module_beside_grpc(path: str) -> ModuleType:
    """A compiled module whose package, grpc, is also that of the library."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, WORK / "python" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


health_pb2 = _module_beside_grpc("grpc/health/v1/health_pb2.py")
reflection_pb2 = _module_beside_grpc("grpc/reflection/v1/reflection_pb2.py")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def tiny_checkpoint() -> Path:
    folder = WORK / "tiny"
    if not folder.exists():
        write_checkpoint(folder)
    return folder


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    """Asks until it holds; False when it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Server:
    """One server process. Wait for it to serve, unless told not to."""

    _made = 0

    def __init__(self, *flags: str, model: Path | None = None, wait: bool = True):
        Server._made += 1
        self.folder = WORK / f"server-{Server._made}"
        self.folder.mkdir()
        self._port_file = self.folder / "port"
        self._error_path = self.folder / "stderr"
        self._out_path = self.folder / "stdout"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAVAMINI_")}
        with self._error_path.open("wb") as error, self._out_path.open("wb") as out:
            self.process = subprocess.Popen(
                [SERVER_PROGRAM, "--model", str(model or tiny_checkpoint()), "--device", "cpu"]
                + ["--grpc-address", "127.0.0.1:0", "--port-file", str(self._port_file), "--threads", "2", *flags],
                stdout=out,
                stderr=error,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.channel: grpc.Channel | None = None
        if wait:
            self.connect()
            if not wait_until(lambda: self.health() == SERVING, START_SECONDS):
                self.kill()
                raise AssertionError(f"the server does not serve:\n{self.output()}")

    def connect(self) -> None:
        if not wait_until(lambda: self.process.poll() is not None or self._has_port(), START_SECONDS):
            self.kill()
            raise AssertionError("no port within the time")
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.output()}")
        self.address = f"127.0.0.1:{int(self._port_file.read_text())}"
        self.channel = self.new_channel()
        self.chat = chat_pb2_grpc.ChatServiceStub(self.channel)
        self.model = model_pb2_grpc.ModelServiceStub(self.channel)
        self.client = Client(self.address, timeout=120)

    def _has_port(self) -> bool:
        return self._port_file.exists() and self._port_file.read_text().strip() != ""

    def new_channel(self) -> grpc.Channel:
        """A connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        return grpc.insecure_channel(self.address, options)

    def health(self, service: str = "") -> int | None:
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            return check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return None
            raise

    def info(self) -> model_pb2.ServerInfo:
        return self.model.GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=10)

    def idle(self, seconds: float = WAIT_SECONDS) -> bool:
        """Whether nothing runs or waits any more within the time."""

        def nothing_in_hand() -> bool:
            info = self.info()
            return info.running_requests + info.waiting_requests == 0

        return wait_until(nothing_in_hand, seconds)

    def output(self) -> str:
        return self._error_path.read_text(errors="replace") + self._out_path.read_text(errors="replace")

    def log_records(self) -> list[dict]:
        """The log of a server that was started with --log-format json."""
        return [json.loads(line) for line in self.output().splitlines()]

    def cpu_ticks(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.channel is not None:
            self.client.close()
            self.channel.close()
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def texts(events: Iterable[chat_pb2.ChatEvent]) -> str:
    return "".join(event.delta.text for event in events)


def run_program(*words: str, address: str | None = None, stdin: str | bytes = b"") -> subprocess.CompletedProcess:
    """The command line `llavamini`."""
    environment = os.environ | ({"LLAVAMINI_ADDRESS": address} if address else {})
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run([PROGRAM, *words], input=data, capture_output=True, env=environment, timeout=120)


def failure(call: Callable[[], object]) -> LlavaMiniError:
    """The error that the call ends with; it must end with one."""
    try:
        call()
    except LlavaMiniError as error:
        return error
    except grpc.RpcError as error:
        return LlavaMiniError(error)
    raise AssertionError("the call did not fail")
