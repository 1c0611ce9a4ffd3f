"""The checkpoint that ships with the project: its samples are answered as recorded, alone and 64 at a time; the Python tools."""

import json
import os
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor

from harness import DEMO, SOURCE, WORK, Client, Server
from llavamini.client import make_request

RECORDS = json.loads((DEMO / "samples" / "questions.json").read_text())
VIDEO = DEMO / "samples" / "moves.mp4"
STREAMS = 64

server: Server


def setUpModule():
    global server
    server = Server(model=DEMO / "checkpoint")


def tearDownModule():
    server.close()


def ask(record: dict) -> str:
    asked = {"history": [tuple(turn) for turn in record["history"]], "max_tokens": 80}
    if record["file"]:
        kind = "video" if record["file"].endswith(".mp4") else "image"
        asked[kind] = DEMO / "samples" / record["file"]
        asked["detail"] = "high" if record["resolution_ratio"] == 2 else "low"
    return "".join(server.client.stream(record["question"], **asked))


class Demo(unittest.TestCase):
    def test_samples_are_answered_as_recorded(self):
        self.assertGreater(len(RECORDS), 10)
        for record in RECORDS:
            with self.subTest(file=record["file"], question=record["question"]):
                self.assertEqual(ask(record), record["answer"])

    def test_64_streams_give_the_answers_that_each_gives_alone(self):
        alone = [ask(record) for record in RECORDS]
        chosen = [i % len(RECORDS) for i in range(STREAMS)]
        with ThreadPoolExecutor(STREAMS) as pool:
            together = list(pool.map(lambda i: ask(RECORDS[i]), chosen))
        self.assertEqual(together, [alone[i] for i in chosen])

    def test_sampling_says_which_frames_of_a_video_are_seen(self):
        for field, value, frames in (("num_frames", 4, 4), ("fps", 2.0, 16), ("max_frames", 3, 3)):
            with self.subTest(field=field):
                request = make_request("Does it move?", video=VIDEO, max_tokens=20)
                setattr(request.messages[-1].content[0].video.sampling, field, value)
                self.assertEqual(server.chat.Chat(request, timeout=60).usage.images, frames)

    def test_ask_cases_writes_one_answer_per_case(self):
        folder = WORK / "cases"
        folder.mkdir()
        picture = os.path.relpath(DEMO / "samples" / RECORDS[0]["file"], folder)
        cases = [
            {"id": "a", "family": "describe", "files": [picture], "resolution_ratio": 1, "history": [],
             "question": RECORDS[0]["question"]},
            {"id": "b", "family": "small talk", "files": [], "resolution_ratio": 1, "history": [], "question": "Hello!"},
            {"id": "c", "family": "video moves", "files": [picture] * 3, "resolution_ratio": 1,
             "history": [["Hello!", "Hello."]], "question": "Does it move?"},
        ]  # fmt: skip
        (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
        subprocess.run(
            ["/usr/bin/python3", "-m", "llavamini.ask_cases", folder / "cases.jsonl", folder / "answers.jsonl"]
            + ["--address", server.address],
            env=os.environ | {"PYTHONPATH": f"{SOURCE / 'client/python'}:{WORK / 'python'}"},
            check=True,
            capture_output=True,
        )
        answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        self.assertEqual([answer["id"] for answer in answers], ["a", "b", "c"])
        self.assertEqual(answers[0]["answer"], ask(RECORDS[0]))

    def test_package_reads_as_its_documentation_says(self):
        with Client(server.address) as client:
            picture = str(DEMO / "samples" / RECORDS[0]["file"])
            stream = client.stream("What is this?", image=picture)
            self.assertEqual("".join(stream), client.chat("What is this?", image=picture).text)
            self.assertEqual(stream.answer.finish_reason, "STOP")
            self.assertEqual(stream.answer.usage.images, 1)


if __name__ == "__main__":
    unittest.main()
