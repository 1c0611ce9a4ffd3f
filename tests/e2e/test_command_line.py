"""The command line `llavamini` against the real server: what it prints and its exit codes."""

import json
import os
import signal
import subprocess
import unittest

import pictures
from harness import PROGRAM, WORK, Server, chat_pb2, run_program, wait_until

server: Server
PICTURE = WORK / "picture.png"


def setUpModule():
    global server
    server = Server("--max-context-tokens", "8192", "--kv-cache-tokens", "32768")
    PICTURE.write_bytes(pictures.png(5))


def tearDownModule():
    server.close()


def run(*words: str, **more) -> subprocess.CompletedProcess:
    return run_program(*words, address=server.address, **more)


SAMPLED = ("--max-tokens", "30", "--temperature", "1", "--seed", "4", "--ignore-eos")
ASKED = {"max_tokens": 30, "temperature": 1.0, "seed": 4, "ignore_eos": True}


class CommandLine(unittest.TestCase):
    def test_chat_prints_the_answer(self):
        ended = run("chat", "--image", str(PICTURE), *SAMPLED, "What is this?")
        answer = server.client.chat("What is this?", image=PICTURE, **ASKED).text
        self.assertEqual((ended.stdout.decode(), ended.stderr, ended.returncode), (answer + "\n", b"", 0))

    def test_chat_takes_frames_detail_and_system(self):
        paths = []
        for i in range(3):
            paths.append(WORK / f"frame-{i}.png")
            paths[-1].write_bytes(pictures.png(i))
        ended = run("chat", "--detail", "low", "--system", "Short.", *SAMPLED, "--frames", *map(str, paths), "What moves?")
        answer = server.client.chat("What moves?", frames=paths, detail="low", system="Short.", **ASKED).text
        self.assertEqual(ended.stdout.decode(), answer + "\n")

    def test_chat_prints_events_as_json(self):
        ended = run("chat", "--json", *SAMPLED, "Hello")
        events = [json.loads(line) for line in ended.stdout.splitlines()]
        self.assertIn("started", events[0])
        self.assertEqual(events[-1]["finished"]["usage"]["completionTokens"], 30)
        text = "".join(event.get("delta", {}).get("text", "") for event in events)
        self.assertEqual(text, server.client.chat("Hello", **ASKED).text)

    def test_timings_and_logprobs_come_on_request(self):
        ended = run("chat", "--timings", "--logprobs", *SAMPLED, "Hello")
        self.assertIn(b"first token", ended.stderr)
        self.assertIn(b"30 generated", ended.stderr)
        answer = server.client.chat("Hello", **ASKED).text
        self.assertTrue(ended.stdout.decode().startswith(answer + "\n"))
        self.assertEqual(len(ended.stdout.decode()[len(answer) + 1 :].splitlines()), 30)

    def test_conversation_is_answered_as_a_whole(self):
        asked = ASKED | {"max_tokens": 6}
        ended = run("chat", *SAMPLED, "--max-tokens", "6", stdin="One?\nTwo?\n")
        first = server.client.chat("One?", **asked).text
        second = server.client.chat("Two?", history=[("One?", first)], **asked).text
        self.assertEqual(ended.stdout.decode(), f"{first}\n{second}\n")
        self.assertEqual(ended.returncode, 0)

    def test_interrupt_ends_the_answer_and_not_the_conversation(self):
        program = subprocess.Popen(
            [PROGRAM, "chat", "--address", server.address, "--max-tokens", "7000", "--ignore-eos", "--timings"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        program.stdin.write(b"Go on.\n")
        program.stdin.flush()
        self.assertNotEqual(os.read(program.stdout.fileno(), 1), b"")
        program.send_signal(signal.SIGINT)
        self.assertTrue(server.idle())
        self.assertIsNone(program.poll())
        program.send_signal(signal.SIGINT)  # now nothing is in progress
        self.assertEqual(program.wait(10), 130)
        program.communicate()

    def test_interrupt_of_a_single_question_exits_130(self):
        program = subprocess.Popen(
            [PROGRAM, "chat", "--address", server.address, "--max-tokens", "7000", "--ignore-eos", "Go on."],
            stdout=subprocess.PIPE,
        )
        os.read(program.stdout.fileno(), 1)
        program.send_signal(signal.SIGINT)
        self.assertEqual(program.wait(10), 130)
        program.communicate()
        self.assertTrue(server.idle())

    def test_count_models_info_and_health(self):
        counted = run("count", "--image", str(PICTURE), "--json", "What is this?")
        usage = json.loads(counted.stdout)["usage"]
        self.assertEqual(usage["promptTokens"], server.client.count_tokens("What is this?", image=PICTURE).prompt_tokens)
        (model,) = json.loads(run("models", "--json").stdout)["models"]
        self.assertEqual(model["name"], server.client.models()[0].name)
        self.assertIn(model["name"].encode(), run("models").stdout)
        self.assertIn(b"cpu", run("info").stdout)
        health = run("health")
        self.assertEqual((health.stdout, health.returncode), (b"SERVING\n", 0))

    def test_exit_codes_say_what_went_wrong(self):
        corrupt = WORK / "corrupt.jpg"
        corrupt.write_bytes(pictures.cut(pictures.JPEG))
        huge = WORK / "huge.png"
        with huge.open("wb") as file:
            file.truncate((64 << 20) + 1)
        for words, code, named in (
            (["chat", "--loud", "x"], 64, b"--loud"),
            (["chat", "--image", "/nowhere.png", "x"], 66, b"/nowhere.png"),
            (["chat", "--image", str(huge), "x"], 66, b"64 MiB"),
            (["chat", "--image", str(corrupt), "x"], 65, b"MEDIA_CORRUPT"),
            (["chat", "--top-p", "2", "x"], 65, b"params.top_p"),
            (["chat", "--temperature", "nan", "x"], 65, b"params.temperature"),
            (["chat", "--model", "other", "x"], 70, b"MODEL_NOT_FOUND"),
            (["chat", "--timeout", "0.3", "--max-tokens", "7000", "--ignore-eos", "x"], 75, b"out of time"),
            (["models", "--address", "127.0.0.1:1"], 69, b"127.0.0.1:1"),
            (["health", "--address", "127.0.0.1:1"], 69, b"127.0.0.1:1"),
        ):
            with self.subTest(words=words):
                ended = run(*words)
                self.assertEqual(ended.returncode, code, ended.stderr)
                self.assertIn(named, ended.stderr)
                self.assertLessEqual(len(ended.stderr.splitlines()), 2)

    def test_help_shows_the_exit_codes(self):
        ended = run("--help")
        self.assertEqual(ended.returncode, 0)
        self.assertIn(b"Exit codes", ended.stdout)

    def test_reader_that_closes_early_ends_the_program_and_frees_the_place(self):
        program = subprocess.Popen(
            [PROGRAM, "chat", "--address", server.address, "--max-tokens", "7000", "--ignore-eos", "Go on."],
            stdout=subprocess.PIPE,
        )
        os.read(program.stdout.fileno(), 1)
        program.stdout.close()
        self.assertTrue(wait_until(lambda: program.poll() is not None))
        self.assertNotEqual(program.returncode, 0)
        self.assertTrue(server.idle())

    def test_finish_reasons_have_the_names_of_the_contract(self):
        ended = run("chat", "--json", *SAMPLED, "Hello")
        reason = json.loads(ended.stdout.splitlines()[-1])["finished"]["finishReason"]
        self.assertEqual(reason, chat_pb2.FinishReason.Name(chat_pb2.FINISH_REASON_LENGTH))


if __name__ == "__main__":
    unittest.main()
