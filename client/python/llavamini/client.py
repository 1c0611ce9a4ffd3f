"""Client, its answers and its errors. Thread-safe: one Client serves any number of threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import grpc

from google.rpc import error_details_pb2, status_pb2
from llavamini.v1 import chat_pb2, chat_pb2_grpc, media_pb2, model_pb2, model_pb2_grpc

# A file's bytes, or its path.
Media = bytes | str | PathLike

MAX_MESSAGE_BYTES = 64 << 20
_DETAILS_KEY = "grpc-status-details-bin"
_DETAIL = {None: media_pb2.DETAIL_UNSPECIFIED, "low": media_pb2.DETAIL_LOW, "high": media_pb2.DETAIL_HIGH}


class LlavaMiniError(Exception):
    """A call that failed: the gRPC status and the google.rpc details that came with it."""

    def __init__(self, error: grpc.RpcError):
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        self.reason = ""  # ErrorInfo.reason, such as "MEDIA_CORRUPT"
        self.metadata: dict[str, str] = {}  # ErrorInfo.metadata
        self.fields: dict[str, str] = {}  # BadRequest: path of the field -> what is allowed
        self.retry_after: float | None = None  # RetryInfo, in seconds
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS_KEY:
                self._take_details(status_pb2.Status.FromString(value))
        notes = [f"{path}: {what}" for path, what in self.fields.items()]
        fields = "".join(f"; {note}" for note in notes if note not in self.message)
        reason = f" ({self.reason})" if self.reason else ""
        super().__init__(f"{self.code.name}: {self.message}{reason}{fields}")

    def _take_details(self, status: status_pb2.Status) -> None:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                self.fields = {each.field: each.description for each in bad_request.field_violations}
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9


@dataclass(frozen=True)
class Usage:
    """Token counts of one answer; see Usage in chat.proto."""

    prompt_tokens: int
    completion_tokens: int
    vision_tokens: int
    images: int
    cached_images: int


@dataclass(frozen=True)
class Answer:
    """A whole answer. finish_reason: "STOP", "STOP_STRING" or "LENGTH"; seconds: the server's timings by name."""

    text: str
    finish_reason: str
    usage: Usage
    seconds: dict[str, float]
    logprobs: list[Any] = field(default_factory=list)  # chat_pb2.TokenLogprob, when asked for


def _usage(usage: chat_pb2.Usage) -> Usage:
    return Usage(*(getattr(usage, name) for name in Usage.__dataclass_fields__))


def _answer(text: str, end: chat_pb2.Finished | chat_pb2.ChatResponse, logprobs: Iterable[Any]) -> Answer:
    reason = chat_pb2.FinishReason.Name(end.finish_reason).removeprefix("FINISH_REASON_")
    seconds = {each.name: value.seconds + value.nanos * 1e-9 for each, value in end.timings.ListFields()}
    return Answer(text, reason, _usage(end.usage), seconds, list(logprobs))


class AnswerStream(Iterator[str]):
    """The texts of an answer as they arrive. After the last one, `answer` holds the whole."""

    def __init__(self, call: Any):
        self._call = call
        self._texts: list[str] = []
        self._logprobs: list[Any] = []
        self.answer: Answer | None = None

    def __next__(self) -> str:
        try:
            for event in self._call:
                if event.HasField("finished"):
                    self.answer = _answer("".join(self._texts), event.finished, self._logprobs)
                elif event.HasField("delta"):
                    self._texts.append(event.delta.text)
                    self._logprobs.extend(event.delta.logprobs)
                    if event.delta.text:
                        return event.delta.text
        except grpc.RpcError as error:
            raise LlavaMiniError(error) from None
        raise StopIteration

    def cancel(self) -> None:
        """Ends the answer here and frees its place on the server; the iteration then raises CANCELLED."""
        self._call.cancel()


def _bytes(media: Media) -> bytes:
    return media if isinstance(media, bytes) else Path(media).read_bytes()


def _media_parts(
    image: Media | None, frames: Sequence[Media] | None, video: Media | None, detail: str | None
) -> Iterator[chat_pb2.ContentPart]:
    amount = _DETAIL[detail]
    if image is not None:
        source = media_pb2.MediaSource(data=_bytes(image))
        yield chat_pb2.ContentPart(image=media_pb2.Image(source=source, detail=amount))
    if frames is not None:
        sequence = [media_pb2.Frame(source=media_pb2.MediaSource(data=_bytes(frame))) for frame in frames]
        yield chat_pb2.ContentPart(frames=media_pb2.FrameSequence(frames=sequence, detail=amount))
    if video is not None:
        source = media_pb2.MediaSource(data=_bytes(video))
        yield chat_pb2.ContentPart(video=media_pb2.Video(source=source, detail=amount))


def make_request(
    question: str,
    *,
    image: Media | None = None,
    frames: Sequence[Media] | None = None,
    video: Media | None = None,
    detail: str | None = None,
    system: str = "",
    history: Sequence[tuple[str, str]] = (),
    model: str = "",
    request_id: str = "",
    **params: Any,
) -> chat_pb2.ChatRequest:
    """The ChatRequest of a question.

    image, frames, video: bytes or paths; they belong to the first question of the conversation. detail: "low", "high" or
    None (the checkpoint's own). history: the earlier turns as (question, answer). params: fields of GenerationParams
    (max_tokens, temperature, top_p, top_k, min_p, seed, stop, logprobs, ...).
    """
    if isinstance(params.get("stop"), str):
        params["stop"] = [params["stop"]]
    request = chat_pb2.ChatRequest(model=model, request_id=request_id, params=chat_pb2.GenerationParams(**params))
    if system:
        request.messages.add(role=chat_pb2.ROLE_SYSTEM).content.add(text=system)
    media = list(_media_parts(image, frames, video, detail))
    for earlier_question, earlier_answer in [*history, (question, None)]:
        parts = [*media, chat_pb2.ContentPart(text=earlier_question)]
        request.messages.add(role=chat_pb2.ROLE_USER, content=parts)
        media = []
        if earlier_answer is not None:
            request.messages.add(role=chat_pb2.ROLE_ASSISTANT).content.add(text=earlier_answer)
    return request


class Client:
    """One connection to a server. timeout: seconds per call where a call names none; None waits without end."""

    def __init__(self, address: str = "127.0.0.1:50051", *, timeout: float | None = None):
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ]
        self._channel = grpc.insecure_channel(address, options)
        self._chat = chat_pb2_grpc.ChatServiceStub(self._channel)
        self._model = model_pb2_grpc.ModelServiceStub(self._channel)
        self._timeout = timeout

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        try:
            return method(request, timeout=self._timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise LlavaMiniError(error) from None

    def chat(self, question: str, *, timeout: float | None = None, **asked: Any) -> Answer:
        """The whole answer. Arguments as of make_request()."""
        response = self._call(self._chat.Chat, make_request(question, **asked), timeout)
        return _answer(response.text, response, response.logprobs)

    def stream(self, question: str, *, timeout: float | None = None, **asked: Any) -> AnswerStream:
        """The answer's text piece by piece. Arguments as of make_request()."""
        return AnswerStream(self._call(self._chat.StreamChat, make_request(question, **asked), timeout))

    def count_tokens(self, question: str, **asked: Any) -> Usage:
        """The tokens that the question would use; nothing is generated."""
        return _usage(self._call(self._chat.CountTokens, make_request(question, **asked)).usage)

    def models(self) -> list[model_pb2.Model]:
        return list(self._call(self._model.ListModels, model_pb2.ListModelsRequest()).models)

    def info(self) -> model_pb2.ServerInfo:
        return self._call(self._model.GetServerInfo, model_pb2.GetServerInfoRequest())
