"""From the command line to the exit code: flags, bad checkpoints, start, drain."""

import json
import shutil
import signal
import socket
import struct
import subprocess
import unittest
from collections.abc import Callable
from pathlib import Path

import grpc

from harness import (
    NOT_SERVING, SERVER_PROGRAM, SERVING, START_SECONDS, WORK, Server, failure, texts, tiny_checkpoint, wait_until,
)  # fmt: skip
from llavamini.client import make_request

CONTEXT = ("--max-context-tokens", "8192", "--kv-cache-tokens", "32768")


def run_server(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """A server that is expected to end by itself."""
    return subprocess.run([SERVER_PROGRAM, *words], capture_output=True, timeout=START_SECONDS, text=True, env=environment)


def long_answer(server: Server, tokens: int):
    """A running stream, its first delta read and given back with it."""
    call = server.chat.StreamChat(make_request("Go on.", max_tokens=tokens, ignore_eos=True, temperature=1.0, seed=1))
    for event in call:
        if event.HasField("delta"):
            return call, event.delta.text
    raise AssertionError("the stream ended before its first delta")


class Drain(unittest.TestCase):
    def test_running_answer_finishes_new_calls_are_refused_and_the_exit_code_is_0(self):
        with Server(*CONTEXT, "--shutdown-timeout", "60") as server:
            alone = server.client.chat("Go on.", max_tokens=3000, ignore_eos=True, temperature=1.0, seed=1).text
            call, first = long_answer(server, 3000)
            server.terminate()
            self.assertTrue(wait_until(lambda: server.health() == NOT_SERVING))
            error = failure(lambda: server.client.chat("Hello", max_tokens=1))
            self.assertEqual(error.code, grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(error.reason, "DRAINING")
            self.assertGreater(error.retry_after, 0)
            self.assertIsNone(server.process.poll())
            self.assertEqual(first + texts(call), alone)
            self.assertEqual(server.wait(), 0)

    def test_drain_that_takes_too_long_ends_the_answers(self):
        with Server(*CONTEXT, "--shutdown-timeout", "0.2") as server:
            call, _ = long_answer(server, 8000)
            server.terminate()
            self.assertEqual(failure(lambda: list(call)).code, grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(server.wait(), 0)

    def test_idle_server_ends_at_once_on_either_signal(self):
        for each in (signal.SIGTERM, signal.SIGINT):
            with Server(*CONTEXT) as server:
                server.process.send_signal(each)
                self.assertEqual(server.wait(10), 0)

    def test_killed_server_is_told_to_its_clients(self):
        with Server(*CONTEXT) as server:
            call, _ = long_answer(server, 8000)
            server.kill()
            self.assertEqual(failure(lambda: list(call)).code, grpc.StatusCode.UNAVAILABLE)


class Start(unittest.TestCase):
    def test_health_is_never_serving_before_it_answers(self):
        with Server(*CONTEXT, wait=False) as server:
            server.connect()
            seen = set()
            self.assertTrue(wait_until(lambda: seen.add(server.health()) or SERVING in seen, START_SECONDS))
            self.assertLessEqual(seen, {None, NOT_SERVING, SERVING})
            self.assertEqual(server.client.chat("Hello", max_tokens=2, ignore_eos=True).usage.completion_tokens, 2)

    def test_flags_are_also_variables(self):
        port_file = WORK / "variable-port"
        process = subprocess.Popen(
            [SERVER_PROGRAM],
            env={
                "LLAVAMINI_MODEL": str(tiny_checkpoint()),
                "LLAVAMINI_DEVICE": "cpu",
                "LLAVAMINI_GRPC_ADDRESS": "127.0.0.1:0",
                "LLAVAMINI_PORT_FILE": str(port_file),
            },
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self.assertTrue(wait_until(lambda: port_file.exists() and port_file.read_text().strip() != "", START_SECONDS))
        finally:
            process.terminate()
            self.assertEqual(process.wait(30), 0)

    def test_wrong_command_line_exits_64_and_names_the_flag(self):
        model = str(tiny_checkpoint())
        for words, named in (
            (["--model", model, "--loud"], "loud"),
            (["--model", model, "--max-running", "many"], "max-running"),
            (["--model", model, "--max-running", "0"], "max-running"),
            (["--model", model, "--device", "abacus"], "device"),
            (["--model", model, "--dtype", "int3"], "dtype"),
            (["--model", model, "--log-format", "xml"], "log-format"),
            (["--model", model, "--grpc-address", "nowhere"], "grpc-address"),
            (["--model", model, "--max-context-tokens", "1000000000"], "max-context-tokens"),
            (["--model", model, "--shutdown-timeout"], "shutdown-timeout"),
            (["--model", model, "surplus"], "--help"),
            ([], "model"),
        ):
            with self.subTest(words=words):
                ended = run_server(*words)
                self.assertEqual(ended.returncode, 64, ended.stderr)
                self.assertIn(named, ended.stderr)

    def test_wrong_variable_exits_64_and_is_named(self):
        ended = run_server("--model", str(tiny_checkpoint()), LLAVAMINI_MAX_RUNNING="many")
        self.assertEqual(ended.returncode, 64)
        self.assertIn("LLAVAMINI_MAX_RUNNING", ended.stderr)

    def test_port_file_that_cannot_be_written_is_named(self):
        words = ["--model", str(tiny_checkpoint()), "--grpc-address", "127.0.0.1:0", "--port-file", "/nowhere/port"]
        ended = run_server(*words)
        self.assertEqual(ended.returncode, 74)
        self.assertIn("--port-file", ended.stderr)

    def test_taken_port_is_named(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            address = f"127.0.0.1:{holder.getsockname()[1]}"
            ended = run_server("--model", str(tiny_checkpoint()), "--device", "cpu", "--grpc-address", address)
        self.assertEqual(ended.returncode, 74)
        self.assertIn(address, ended.stderr + ended.stdout)


def edit_config(**changes) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def edit_header(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Changes the header of model.safetensors; the data stay."""

    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        file = path.read_bytes()
        (length,) = struct.unpack("<Q", file[:8])
        header = json.loads(file[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + file[8 + length :])

    return edit


def write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, by: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


def rename(old: str, new: str) -> Callable[[dict], None]:
    return lambda header: header.update({new: header.pop(old)})


def shrink_vocabulary(folder: Path) -> None:
    edit_config(vocab_size=999, eos_token_id=[995])(folder)
    write("generation_config.json", b"{}")(folder)


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


class BadCheckpoint(unittest.TestCase):
    CASES = {
        "no config": (remove("config.json"), "config.json"),
        "config is no JSON": (write("config.json", b"{"), "config.json"),
        "hidden size of another model": (edit_config(hidden_size=128, head_dim=32), "expected"),
        "heads that do not divide": (edit_config(num_attention_heads=5), "num_attention_heads"),
        "no layers": (edit_config(num_hidden_layers=0), "num_hidden_layers"),
        "too many layers": (edit_config(num_hidden_layers=3), "model.layers.2."),
        "too few layers": (edit_config(num_hidden_layers=1), "model.layers.1."),
        "no weights": (remove("model.safetensors"), "model.safetensors"),
        "weights cut off": (cut("model.safetensors", 4), "model.safetensors"),
        "weights are not weights": (write("model.safetensors", b"\xff" * 64), "model.safetensors"),
        "missing tensor": (edit_header(rename("model.norm.weight", "model.extra.weight")), "model.norm.weight"),
        "another shape": (edit_header(lambda header: header["lm_head.weight"].update(shape=[64, 1000])), "lm_head.weight"),
        "another type": (edit_header(lambda header: header["model.norm.weight"].update(dtype="I32")), "model.norm.weight"),
        "no tokenizer": (remove("tokenizer.json"), "tokenizer.json"),
        "left-over tensor": (edit_header(lambda header: header.update({"model.extra.weight": EMPTY})), "model.extra.weight"),
        "tokenizer larger than the vocabulary": (shrink_vocabulary, "tokenizer.json"),
    }

    def test_exits_65_with_one_line_that_names_the_thing(self):
        for name, (damage, named) in self.CASES.items():
            with self.subTest(name):
                folder = WORK / "damaged"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(tiny_checkpoint(), folder)
                damage(folder)
                ended = run_server("--model", str(folder), "--device", "cpu", "--grpc-address", "127.0.0.1:0")
                output = ended.stderr + ended.stdout
                self.assertEqual(ended.returncode, 65, output)
                lines = [line for line in output.splitlines() if named in line]
                self.assertEqual(len(lines), 1, output)

    def test_folder_that_does_not_exist_is_named(self):
        ended = run_server("--model", "/nowhere/model", "--device", "cpu", "--grpc-address", "127.0.0.1:0")
        self.assertEqual(ended.returncode, 65)
        self.assertIn("/nowhere/model", ended.stderr + ended.stdout)


if __name__ == "__main__":
    unittest.main()
