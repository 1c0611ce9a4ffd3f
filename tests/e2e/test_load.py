"""Many callers at once, callers that go away, are late or do not read; and nobody at all."""

import signal
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

import pictures
from harness import PROGRAM, WAIT_SECONDS, LlavaMiniError, Server, failure, texts, wait_until
from llavamini.client import make_request

LONG = {"max_tokens": 6000, "ignore_eos": True, "temperature": 1.0, "seed": 1}
CONTEXT = ("--max-context-tokens", "8192", "--kv-cache-tokens", "131072")


def start_stream(server: Server, question: str = "Go on.", **asked):
    """A stream of which the first delta has arrived."""
    call = server.chat.StreamChat(make_request(question, **asked))
    for event in call:
        if event.HasField("delta"):
            return call
    raise AssertionError("the stream ended before its first delta")


class OneServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(*CONTEXT)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def test_cancelled_stream_frees_its_place(self):
        call = start_stream(self.server, **LONG)
        self.assertTrue(wait_until(lambda: self.server.info().running_requests == 1))
        self.assertGreater(self.server.info().kv_cache_usage, 0)
        call.cancel()
        self.assertTrue(self.server.idle())
        self.assertEqual(self.server.info().kv_cache_usage, 0)

    def test_cancelled_whole_answer_frees_its_place(self):
        call = self.server.chat.Chat.future(make_request("Go on.", **LONG))
        self.assertTrue(wait_until(lambda: self.server.info().running_requests == 1))
        call.cancel()
        self.assertTrue(self.server.idle())

    def test_late_answer_ends_with_deadline_exceeded_and_frees_its_place(self):
        for method in (self.server.client.chat, lambda *a, **k: list(self.server.client.stream(*a, **k))):
            error = failure(lambda: method("Go on.", timeout=0.5, **LONG))
            self.assertEqual(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
            self.assertTrue(self.server.idle())

    def test_deadline_that_has_passed_is_told_at_once(self):
        error = failure(lambda: self.server.client.chat("Go on.", timeout=0.0001, **LONG))
        self.assertEqual(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertTrue(self.server.idle())

    def test_killed_client_process_frees_its_place(self):
        client = subprocess.Popen(
            [PROGRAM, "chat", "--address", self.server.address, "--max-tokens", "6000", "--ignore-eos", "Go on."],
            stdout=subprocess.DEVNULL,
        )
        self.assertTrue(wait_until(lambda: self.server.info().running_requests == 1))
        client.send_signal(signal.SIGKILL)
        client.wait()
        self.assertTrue(self.server.idle())

    def test_slow_reader_hurts_nobody(self):
        asked = LONG | {"max_tokens": 3000, "logprobs": True, "top_logprobs": 20}  # more than the transport's window holds
        with self.server.new_channel() as channel:
            stream = channel.unary_stream(
                "/llavamini.v1.ChatService/StreamChat",
                request_serializer=lambda request: request.SerializeToString(),
            )
            unread = stream(make_request("Go on.", **asked))
            next(unread)
            with ThreadPoolExecutor(4) as pool:
                quick = [pool.submit(self.server.client.chat, f"{i}?", max_tokens=16, ignore_eos=True) for i in range(8)]
                for answer in quick:
                    self.assertEqual(answer.result(WAIT_SECONDS).usage.completion_tokens, 16)
            self.assertTrue(self.server.idle(60), "an unread answer must not hold its place")
            unread.cancel()

    def test_slow_reader_gets_the_whole_answer_within_the_bound(self):
        call = self.server.chat.StreamChat(make_request("Go on.", **LONG | {"max_tokens": 500}))
        next(call)
        self.assertTrue(self.server.idle())
        self.assertEqual(texts(call), self.server.client.chat("Go on.", **LONG | {"max_tokens": 500}).text)

    def test_64_streams_give_the_answers_that_each_gives_alone(self):
        def answer(i: int) -> str:
            asked = {"temperature": 1.0, "seed": i, "max_tokens": 24, "ignore_eos": True}
            if i % 3 == 1:
                asked |= {"image": pictures.png(i), "detail": "low"}
            if i % 3 == 2:
                asked |= {"frames": [pictures.png(i + j) for j in range(4)]}
            return "".join(self.server.client.stream(f"Question {i}: " + "why " * i, **asked))

        alone = [answer(i) for i in range(64)]
        self.assertEqual(len(set(alone)), 64)
        with ThreadPoolExecutor(64) as pool:
            self.assertEqual(list(pool.map(answer, range(64))), alone)

    def test_idle_server_uses_no_cpu(self):
        self.server.client.chat("Hello", max_tokens=4)
        self.assertTrue(self.server.idle())
        time.sleep(0.3)  # the end of the last call's own work
        before = self.server.cpu_ticks()
        time.sleep(2)
        self.assertLessEqual(self.server.cpu_ticks() - before, 1)  # of 200


class FullServer(unittest.TestCase):
    def test_full_queue_refuses_at_once_with_a_time_to_wait(self):
        # An answer that takes most of a minute: the queue must be full however slow this machine is.
        context = ("--max-context-tokens", "65536", "--kv-cache-tokens", "131072")
        with Server(*context, "--max-running", "1", "--max-waiting", "1") as server:
            running = start_stream(server, **LONG | {"max_tokens": 60000})
            waiting = server.chat.StreamChat(make_request("Next.", max_tokens=4, ignore_eos=True))
            self.assertTrue(wait_until(lambda: server.info().waiting_requests == 1))
            for _ in range(5):
                start = time.monotonic()
                error = failure(lambda: server.client.chat("Me too.", max_tokens=4))
                self.assertLess(time.monotonic() - start, 2)
                self.assertEqual((error.code, error.reason), (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"))
                self.assertGreater(error.retry_after, 0)
            running.cancel()
            self.assertEqual(list(waiting)[-1].finished.usage.completion_tokens, 4)
            self.assertEqual(server.client.chat("Now me.", max_tokens=4, ignore_eos=True).usage.completion_tokens, 4)

    def test_overload_refuses_some_and_answers_all_others(self):
        with Server(*CONTEXT, "--max-running", "2", "--max-waiting", "4") as server:

            def ask(i: int) -> str:
                try:
                    return str(server.client.chat(f"{i}?", max_tokens=64, ignore_eos=True).usage.completion_tokens)
                except LlavaMiniError as error:
                    return error.reason

            with ThreadPoolExecutor(48) as pool:
                ends = list(pool.map(ask, range(96)))
            self.assertLessEqual(set(ends), {"64", "QUEUE_FULL"})
            self.assertIn("64", ends)
            self.assertTrue(server.idle())
            self.assertEqual(ask(0), "64")


if __name__ == "__main__":
    unittest.main()
