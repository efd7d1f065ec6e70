"""What servers send: responses, events and objects as bytes, in pieces of any size, and the calls that they answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pytest_vllmperf.loadgen.exchange import Exchange, Piece
from pytest_vllmperf.loadgen.job import Api, Call
from pytest_vllmperf.loadgen.reading import read
from pytest_vllmperf.records.answers import Answer

KEY = "sk-very-secret-0123456789"
DONE = b"data: [DONE]\n\n"
HEAD = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 2\r\n\r\n".encode()
STREAM_TYPE = {"Content-Type": "text/event-stream; charset=utf-8"}
JSON_TYPE = {"Content-Type": "application/json"}


def call(api: Api = Api.COMPLETIONS, *, stream: bool = True, keep: bool = True) -> Call:
    return Call(index=3, head=HEAD, body=b"{}", api=api, stream=stream, keep=keep)


def head(status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Words", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def chunked(
    parts: Iterable[bytes], headers: dict[str, str] | None = None, status: int = 200, *, end: bool = True
) -> bytes:
    """A response whose parts are chunks; without the last, empty one where `end` is not set."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    whole = {**(STREAM_TYPE if headers is None else headers), "Transfer-Encoding": "chunked"}
    return head(status, whole) + body + (b"0\r\n\r\n" if end else b"")


def sized(body: bytes, headers: dict[str, str] | None = None, status: int = 200, *, short_of: int = 0) -> bytes:
    """A response with a length, which may promise more than there is."""
    whole = {**(JSON_TYPE if headers is None else headers), "Content-Length": str(len(body) + short_of)}
    return head(status, whole) + body


def event(parsed: Any) -> bytes:
    return b"data: " + json.dumps(parsed, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def text_event(text: str, **more: Any) -> bytes:
    """A token of a completion, as vLLM sends it."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": None, "stop_reason": None, **more}
    own = {"id": "cmpl-1", "object": "text_completion", "created": 1764366922, "model": "m"}
    return event({**own, "choices": [choice]})


def chat_event(delta: dict[str, Any], **more: Any) -> bytes:
    """A piece of a chat's answer, as vLLM sends it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **more}
    return event(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )


def usage_event(output_tokens: int, **more: Any) -> bytes:
    usage = {"prompt_tokens": 7, "completion_tokens": output_tokens, "total_tokens": 7 + output_tokens, **more}
    return event({"id": "cmpl-1", "choices": [], "usage": usage})


def completion(texts: Sequence[str], reason: str = "length") -> list[bytes]:
    """The events of a sound stream."""
    tokens = [text_event(text) for text in texts]
    return [*tokens, text_event("", finish_reason=reason), usage_event(len(texts)), DONE]


def timed(parts: Iterable[bytes], start: int = 1000, step: int = 10) -> list[Piece]:
    """Pieces that arrive one after another: the first at `start`, the others `step` apart."""
    return [(start + place * step, part) for place, part in enumerate(parts)]


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def exchange(pieces: Sequence[Piece], failure: str = "", detail: str = "") -> Exchange:
    end = pieces[-1][0] if pieces else 900
    return Exchange(3, 500, 600, end, list(pieces), failure, detail)


def answer(data: bytes | list[bytes], to: Call | None = None, failure: str = "", detail: str = "") -> Answer:
    """What is read of bytes that came in one piece, or in these pieces."""
    parts = data if isinstance(data, list) else [data]
    return read(to or call(), exchange(timed(parts), failure, detail))


def timeless(one: Answer) -> Answer:
    """An answer without its times, to be compared with one that came in other pieces."""
    seen = replace(one, first_ns=one.first_ns and 1, last_ns=one.last_ns and 1, end_ns=0)
    zeros = one.gaps_ns[:]
    for place in range(len(zeros)):
        zeros[place] = 0
    return replace(seen, first_answer_ns=one.first_answer_ns and 1, gaps_ns=zeros)
