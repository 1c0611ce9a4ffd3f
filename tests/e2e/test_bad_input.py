"""Everything that a caller can get wrong: the status, its reason, the field's path; and the next good request is answered."""

import unittest

import grpc

import pictures
from harness import DEMO, Server, chat_pb2, chat_pb2_grpc, failure
from llavamini.client import make_request
from llavamini.v1 import media_pb2, media_pb2_grpc

INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
MAX_CONTEXT_TOKENS = 512
MAX_FRAMES = 8
MP4 = (DEMO / "samples" / "moves.mp4").read_bytes()

server: Server


def setUpModule():
    global server
    server = Server("--max-context-tokens", str(MAX_CONTEXT_TOKENS), "--max-frames", str(MAX_FRAMES))


def tearDownModule():
    server.close()


def user(*parts: dict) -> dict:
    return {"role": chat_pb2.ROLE_USER, "content": list(parts)}


def text(words: str) -> dict:
    return {"text": words}


def image(data: bytes, **more) -> dict:
    return {"image": {"source": {"data": data}, **more}}


def messages(*each: dict) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=list(each))


def params(**each) -> chat_pb2.ChatRequest:
    return make_request("Hello", **each)


def frames(count: int, data: bytes = b"") -> dict:
    return {"frames": {"frames": [{"source": {"data": data or pictures.png(i)}} for i in range(count)]}}


IMAGE_SOURCE = "messages[0].content[0].image.source"
NAN = float("nan")

# What is sent, the status, ErrorInfo's reason, BadRequest's field.
BAD_REQUESTS = {
    "no message": (messages(), INVALID, "INVALID_FIELD", "messages"),
    "last one not the user's": (
        messages(user(text("a")), {"role": chat_pb2.ROLE_ASSISTANT, "content": [text("b")]}),
        INVALID, "INVALID_FIELD", "messages[1].role",
    ),
    "role not set": (messages({"content": [text("a")]}), INVALID, "INVALID_FIELD", "messages[0].role"),
    "unknown role": (messages({"role": 9, "content": [text("a")]}), INVALID, "INVALID_FIELD", "messages[0].role"),
    "second system message": (
        messages(user(text("a")), {"role": chat_pb2.ROLE_SYSTEM, "content": [text("b")]}, user(text("c"))),
        INVALID, "INVALID_FIELD", "messages[1].role",
    ),
    "no content": (messages(user()), INVALID, "INVALID_FIELD", "messages[0].content"),
    "white space only": (messages(user(text(" \n\t"))), INVALID, "INVALID_FIELD", "messages[0].content"),
    "part of no kind": (messages(user({}, text("a"))), INVALID, "INVALID_FIELD", "messages[0].content[0]"),
    "image of no source": (messages(user({"image": {}}, text("a"))), INVALID, "INVALID_FIELD", IMAGE_SOURCE),
    "image of no bytes": (messages(user(image(b""), text("a"))), INVALID, "INVALID_FIELD", IMAGE_SOURCE + ".data"),
    "unknown detail": (
        messages(user(image(pictures.JPEG, detail=7), text("a"))),
        INVALID, "INVALID_FIELD", "messages[0].content[0].image.detail",
    ),
    "two images": (
        messages(user(image(pictures.JPEG), image(pictures.WEBP), text("a"))),
        INVALID, "INVALID_FIELD", "messages[0].content[1].image",
    ),
    "images in two turns": (
        messages(
            user(image(pictures.JPEG), text("a")),
            {"role": chat_pb2.ROLE_ASSISTANT, "content": [text("b")]},
            user(image(pictures.JPEG), text("c")),
        ),
        INVALID, "INVALID_FIELD", "messages[2].content[0].image",
    ),
    "the assistant's image": (
        messages(
            user(text("a")),
            {"role": chat_pb2.ROLE_ASSISTANT, "content": [image(pictures.JPEG)]},
            user(text("c")),
        ),
        INVALID, "INVALID_FIELD", "messages[1].content[0].image",
    ),
    "no frame": (messages(user(frames(0), text("a"))), INVALID, "INVALID_FIELD", "messages[0].content[0].frames.frames"),
    "too many frames": (
        messages(user(frames(MAX_FRAMES + 1), text("a"))),
        INVALID, "INVALID_FIELD", "messages[0].content[0].frames.frames",
    ),
    "a corrupt frame": (
        messages(user(frames(2, pictures.cut(pictures.JPEG)), text("a"))),
        INVALID, "MEDIA_CORRUPT", "messages[0].content[0].frames.frames[0].source",
    ),
    "temperature below 0": (params(temperature=-0.1), INVALID, "INVALID_FIELD", "params.temperature"),
    "temperature not a number": (params(temperature=NAN), INVALID, "INVALID_FIELD", "params.temperature"),
    "temperature infinite": (params(temperature=float("inf")), INVALID, "INVALID_FIELD", "params.temperature"),
    "top_p 0": (params(top_p=0.0), INVALID, "INVALID_FIELD", "params.top_p"),
    "top_p above 1": (params(top_p=1.5), INVALID, "INVALID_FIELD", "params.top_p"),
    "top_p not a number": (params(top_p=NAN), INVALID, "INVALID_FIELD", "params.top_p"),
    "top_k above the vocabulary": (params(top_k=4_000_000_000), INVALID, "INVALID_FIELD", "params.top_k"),
    "min_p 1": (params(min_p=1.0), INVALID, "INVALID_FIELD", "params.min_p"),
    "min_p not a number": (params(min_p=NAN), INVALID, "INVALID_FIELD", "params.min_p"),
    "repetition_penalty 0": (params(repetition_penalty=0.0), INVALID, "INVALID_FIELD", "params.repetition_penalty"),
    "frequency_penalty 3": (params(frequency_penalty=3.0), INVALID, "INVALID_FIELD", "params.frequency_penalty"),
    "presence_penalty -3": (params(presence_penalty=-3.0), INVALID, "INVALID_FIELD", "params.presence_penalty"),
    "max_tokens 0": (params(max_tokens=0), INVALID, "INVALID_FIELD", "params.max_tokens"),
    "17 stop strings": (params(stop=[str(i) for i in range(17)]), INVALID, "INVALID_FIELD", "params.stop"),
    "empty stop string": (params(stop=["a", ""]), INVALID, "INVALID_FIELD", "params.stop[1]"),
    "21 alternatives": (params(logprobs=True, top_logprobs=21), INVALID, "INVALID_FIELD", "params.top_logprobs"),
    "alternatives without logprobs": (params(top_logprobs=2), INVALID, "INVALID_FIELD", "params.top_logprobs"),
    "request id of control characters": (params(request_id="a\nb"), INVALID, "INVALID_FIELD", "request_id"),
    "unknown model": (params(model="other"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", None),
    "prompt longer than the context": (
        params(system="word " * MAX_CONTEXT_TOKENS), INVALID, "CONTEXT_LENGTH_EXCEEDED", "messages",
    ),
    "stored media": (
        messages(user({"image": {"source": {"media_id": "x"}}}, text("a"))), UNIMPLEMENTED, "NOT_SERVED", None,
    ),
    "cut off video file": (
        messages(user({"video": {"source": {"data": b"\0\0\0\x18ftypmp42"}}}, text("a"))),
        INVALID, "MEDIA_CORRUPT", "messages[0].content[0].video.source",
    ),
    "a picture as a video file": (
        messages(user({"video": {"source": {"data": pictures.JPEG}}}, text("a"))),
        INVALID, "MEDIA_UNSUPPORTED", "messages[0].content[0].video.source",
    ),
    "frames per second of a video": (
        messages(user({"video": {"source": {"data": MP4}, "sampling": {"fps": -1}}}, text("a"))),
        INVALID, "INVALID_FIELD", "messages[0].content[0].video.sampling.fps",
    ),
}

BAD_PICTURES = {
    "GIF": (pictures.GIF, "MEDIA_UNSUPPORTED"),
    "text": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "MEDIA_UNSUPPORTED"),
    "zeros": (bytes(4096), "MEDIA_UNSUPPORTED"),
    "one byte": (b"\xff", "MEDIA_UNSUPPORTED"),
    "half a JPEG": (pictures.cut(pictures.JPEG), "MEDIA_CORRUPT"),
    "half a PNG": (pictures.cut(pictures.png(1)), "MEDIA_CORRUPT"),
    "half a WebP": (pictures.cut(pictures.WEBP), "MEDIA_CORRUPT"),
    "JPEG without its last byte": (pictures.JPEG[:-2], "MEDIA_CORRUPT"),
    "PNG whose pixels do not unpack": (pictures.corrupt_png(), "MEDIA_CORRUPT"),
    "PNG with too few pixels": (pictures.png_of(32, 32, b"\0" * 97), "MEDIA_CORRUPT"),
    "over 10 MiB": (pictures.png_over_bytes(), "MEDIA_TOO_LARGE"),
    "over 16.7 million pixels": (pictures.png_over_pixels(), "MEDIA_TOO_LARGE"),
    "side over 16384": (pictures.png_over_side(), "MEDIA_TOO_LARGE"),
}
BAD_REQUESTS |= {
    f"picture: {name}": (messages(user(image(data), text("a"))), INVALID, reason, IMAGE_SOURCE)
    for name, (data, reason) in BAD_PICTURES.items()
}


class BadInput(unittest.TestCase):
    def assert_still_answers(self):
        answer = server.client.chat("What is this?", image=pictures.JPEG, max_tokens=3, ignore_eos=True)
        self.assertEqual(answer.usage.completion_tokens, 3)

    def test_each_is_refused_by_reason_and_field_and_the_next_request_is_answered(self):
        for name, (request, code, reason, field) in BAD_REQUESTS.items():
            for method in (server.chat.Chat, lambda request, timeout: list(server.chat.StreamChat(request, timeout))):
                with self.subTest(name):
                    error = failure(lambda: method(request, timeout=30))
                    self.assertEqual((error.code, error.reason), (code, reason), error)
                    if code == INVALID:
                        self.assertEqual(list(error.fields), [field], error)
                        self.assertNotEqual(error.fields[field], "")
                    self.assertNotEqual(error.message, "")
            self.assert_still_answers()

    def test_count_tokens_refuses_the_same(self):
        for name in ("no message", "unknown role", "temperature not a number", "two images", "unknown model"):
            with self.subTest(name):
                request, code, reason, _ = BAD_REQUESTS[name]
                error = failure(lambda: server.chat.CountTokens(request, timeout=10))
                self.assertEqual((error.code, error.reason), (code, reason))

    def test_too_long_prompt_is_told_limit_and_length(self):
        request = BAD_REQUESTS["prompt longer than the context"][0]
        error = failure(lambda: server.chat.Chat(request, timeout=10))
        self.assertEqual(error.metadata["limit"], str(MAX_CONTEXT_TOKENS))
        self.assertGreater(int(error.metadata["length"]), MAX_CONTEXT_TOKENS)

    def test_message_over_the_limit_is_refused(self):
        request = messages(user(image(bytes(65 << 20)), text("a")))
        error = failure(lambda: server.chat.Chat(request, timeout=60))
        self.assertIn(error.code, (grpc.StatusCode.RESOURCE_EXHAUSTED, INVALID))
        self.assert_still_answers()

    def test_bytes_that_are_no_message_are_refused(self):
        call = server.channel.unary_unary("/llavamini.v1.ChatService/Chat")
        error = failure(lambda: call(b"\xff\xff\xff\xff", timeout=10))
        self.assertIn(error.code, (grpc.StatusCode.INTERNAL, UNIMPLEMENTED))  # whichever gRPC itself says
        self.assert_still_answers()

    def test_unknown_method_is_unimplemented(self):
        call = server.channel.unary_unary("/llavamini.v1.ChatService/Sing")
        self.assertEqual(failure(lambda: call(b"", timeout=10)).code, UNIMPLEMENTED)

    def test_media_service_is_not_served(self):
        media = media_pb2_grpc.MediaServiceStub(server.channel)
        for call in (
            lambda: media.GetMedia(media_pb2.GetMediaRequest(media_id="x"), timeout=10),
            lambda: media.UploadMedia(iter([media_pb2.UploadMediaRequest()]), timeout=10),
        ):
            self.assertEqual(failure(call).code, UNIMPLEMENTED)

    def test_errors_hold_nothing_of_the_content(self):
        secret = "zebra-4711"
        request = make_request(secret, image=b"GIF" + secret.encode())
        error = failure(lambda: chat_pb2_grpc.ChatServiceStub(server.channel).Chat(request, timeout=10))
        self.assertNotIn(secret, str(error) + str(error.metadata))


if __name__ == "__main__":
    unittest.main()
