"""`read`: every fault of a response has its name and a line of words, and shows no secret."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from pytest_vllmperf.loadgen.job import Api
from tests.loadgen import wire
from tests.loadgen.wire import answer, chunked, event, sized, text_event

TOKENS = [text_event(" a"), text_event(" b")]
OVER = text_event("", finish_reason="stop")
SOUND = [*TOKENS, OVER, wire.DONE]
ERROR = {"error": {"message": "the engine is dead", "type": "InternalServerError", "code": 500}}
CLOSED = wire.head(200, wire.STREAM_TYPE)
PACKED = gzip.compress(b"".join(SOUND))
GZIP = {**wire.STREAM_TYPE, "Content-Encoding": "gzip"}


def message(status: int, said: Any, headers: dict[str, str] | None = None) -> bytes:
    return sized(wire.json.dumps(said).encode(), {**wire.JSON_TYPE, **(headers or {})}, status)


FAULTS = {
    "wrong model": (message(404, {"error": {"message": "no model x"}}), "status", "HTTP 404: no model x"),
    "FastAPI's words": (message(422, {"detail": [{"msg": "field required"}]}), "status", "HTTP 422: field required"),
    "old words": (message(400, {"object": "error", "message": "too long"}), "status", "HTTP 400: too long"),
    "no JSON": (sized(b"Internal Server Error", {}, 500), "status", "HTTP 500: Internal Server Error"),
    "no words": (sized(b"", {}, 500), "status", "HTTP 500"),
    "switched": (wire.head(101, {"Upgrade": "x", "Connection": "Upgrade"}), "status", "HTTP 101"),
    "busy": (message(429, {"error": "slow down"}, {"Retry-After": "3"}), "shed", "slow down (Retry-After: 3)"),
    "unavailable": (sized(b"", {}, 503), "shed", "HTTP 503"),
    "redirect": (
        sized(b"", {"Location": "https://u:p@h/v2?k=1"}, 307),
        "redirect",
        "HTTP 307: redirected to https://h/v2",
    ),
    "redirect to nowhere": (sized(b"", {}, 302), "redirect", "without a location"),
    "200 with an error": (sized(wire.json.dumps(ERROR).encode()), "error", "the engine is dead"),
    "error event": (chunked([*TOKENS, event(ERROR), wire.DONE]), "error", "the engine is dead"),
    "error by name": (chunked([*TOKENS, b"event: error\ndata: overloaded\n\n"]), "error", "overloaded"),
    "error, then cut": (chunked([*TOKENS, event(ERROR)], end=False), "error", "the engine is dead"),
    "broken JSON": (chunked([*TOKENS, b"data: {nonsense}\n\n"]), "malformed", "after 2 pieces of content: not JSON"),
    "no object": (chunked([b"data: 7\n\n"]), "malformed", "not an object"),
    "choices": (chunked([event({"choices": {"a": 1}})]), "malformed", "choices"),
    "no field": (chunked([b"date: {}\n\n", *SOUND]), "malformed", "not a line of an event stream: date: {}"),
    "a page": (chunked([b"<html>\n<p>hello</p>"], {"Content-Type": "text/html"}), "malformed", "<html>"),
    "a page without lines": (chunked([b"<html>"], {"Content-Type": "text/html"}), "malformed", "<html>"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "malformed", "not HTTP"),
    "bad chunk": (chunked(TOKENS, end=False) + b"zz\r\n", "malformed", "not HTTP"),
    "whole for a stream": (message(200, {"choices": [{"text": "a"}]}), "malformed", "an event stream was requested"),
    "brotli": (sized(b"abc", {"Content-Encoding": "br"}), "malformed", "content encoding 'br'"),
    "not gzip": (sized(b"abcdefghijklmnop", GZIP), "malformed", "not gzip"),
    "gzip of chunks": (wire.head(200, {"Transfer-Encoding": "gzip, chunked"}) + b"0\r\n\r\n", "malformed", "gzip"),
    "nothing": (b"", "cut", "before the response was complete"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", "cut", "before the response was complete"),
    "chunks without end": (chunked(SOUND, end=False), "cut", "before the response was complete"),
    "too short": (sized(b"".join(SOUND), wire.STREAM_TYPE, short_of=3), "cut", "before the response was complete"),
    "closed in mid-stream": (CLOSED + b"".join(TOKENS), "cut", "before the response was complete"),
    "chunks end in mid-stream": (chunked(TOKENS), "cut", "before the response was complete"),
    "half an event": (CLOSED + TOKENS[0] + TOKENS[1][:20], "cut", "before the response was complete"),
    "half a gzip": (sized(PACKED[: len(PACKED) // 2], GZIP), "cut", "before the response was complete"),
    "no content": (chunked([text_event(""), OVER, wire.DONE]), "empty", "without content"),
    "no body": (sized(b"", wire.STREAM_TYPE), "empty", "without content"),
    "204": (wire.head(204), "empty", "without content"),
    "comments only": (chunked([b": ping\n\n"]), "empty", "without content"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_name_and_words(name: str) -> None:
    data, failure, words = FAULTS[name]
    seen = answer(data)
    assert (seen.failure, words in seen.detail) == (failure, True), seen.detail


SOUND_STREAMS = {
    "closed after [DONE]": CLOSED + b"".join(SOUND),
    "closed after the finish_reason": CLOSED + b"".join([*TOKENS, OVER]),
    "chunks without [DONE]": chunked([*TOKENS, OVER]),
    "comments": chunked([b": ping\n\n", *TOKENS, b":\n", OVER, wire.DONE]),
    "a byte order mark": chunked([b"\xef\xbb\xbf", *SOUND]),
    "no blank behind the colon": chunked([part.replace(b"data: ", b"data:") for part in SOUND]),
    "data in two lines": chunked([b'data: {"choices":\ndata: [{"text":" a"}]}\n\n', TOKENS[1], OVER, wire.DONE]),
    "other fields": chunked([b"id: 1\nretry: 5\nevent: message\n" + TOKENS[0], *SOUND[1:]]),
    "a continue before it": b"HTTP/1.1 100 Continue\r\n\r\n" + chunked(SOUND),
    "an object of another kind": chunked([event({"type": "ping"}), *SOUND]),
    "gzip in two members": sized(gzip.compress(TOKENS[0]) + gzip.compress(b"".join(SOUND[1:])), GZIP),
    "another response behind it": chunked(SOUND) + sized(b"", {}, 500),
}


@pytest.mark.parametrize("name", SOUND_STREAMS)
def test_what_is_no_fault(name: str) -> None:
    seen = answer(SOUND_STREAMS[name])
    assert (seen.failure, seen.detail, seen.text) == ("", "", " a b")


WHOLE = {
    "a stream": (chunked(SOUND), "malformed"),
    "half an object": (sized(b'{"choices": [{"te', short_of=9), "cut"),
    "half an object at the close": (wire.head(200) + b'{"choices": [{"te', "cut"),
    "broken": (sized(b'{"choices": [}]'), "malformed"),
    "ends early by its own length": (sized(b'{"choices": ['), "malformed"),
    "a list": (sized(b"[]"), "malformed"),
    "no text": (sized(b'{"choices": [{"text": ""}]}'), "empty"),
    "sound at the close": (wire.head(200) + b'{"choices": [{"text": "a"}]}', ""),
}


@pytest.mark.parametrize("name", WHOLE)
def test_answers_that_are_no_stream(name: str) -> None:
    data, failure = WHOLE[name]
    assert answer(data, wire.call(stream=False)).failure == failure


@pytest.mark.parametrize("failure", ["stalled", "deadline", "cancelled", "cut", "connect", "tls"])
def test_what_the_client_noted_stands_for_a_response_that_did_not_end(failure: str) -> None:
    seen = answer(chunked(TOKENS, end=False), failure=failure, detail=f"seen at the socket with {wire.KEY}\n")
    assert (seen.failure, seen.detail) == (failure, "seen at the socket with ***")
    assert (seen.first_ns, seen.text) == (1000, " a b")


def test_what_the_client_noted_is_nothing_beside_a_whole_response() -> None:
    for data in (chunked(SOUND), CLOSED + b"".join(SOUND)):
        assert answer(data, failure="deadline", detail="too late").failure == ""
    assert answer(sized(b"", {}, 500), failure="stalled", detail="no byte").failure == "status"


def test_a_stream_without_its_end_mark_may_go_on_until_its_connection_ends() -> None:
    data = CLOSED + b"".join([*TOKENS, OVER])
    assert answer(data).failure == ""
    assert answer(data, failure="stalled", detail="no byte").failure == "stalled"


def test_a_status_that_arrived_says_more_than_the_cut_after_it() -> None:
    data = sized(b"busy", {}, 503, short_of=10)
    assert answer(data, failure="cut", detail="reset").failure == "shed"
    assert answer(data, failure="deadline", detail="too late").failure == "deadline"


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        ("3", "", 3.0),
        ("0.5", "", 0.5),
        ("Sat, 28 Nov 2026 22:00:30 GMT", "Sat, 28 Nov 2026 22:00:00 GMT", 30.0),
        ("Sat, 28 Nov 2026 21:00:00 GMT", "Sat, 28 Nov 2026 22:00:00 GMT", 0.0),
        ("Sat, 28 Nov 2026 22:00:30 GMT", "", None),
        ("soon", "Sat, 28 Nov 2026 22:00:00 GMT", None),
        ("9" * 400, "", None),
        ("-1", "", None),
    ],
)
def test_retry_after(asked: str, date: str, seconds: float | None) -> None:
    headers = {"Retry-After": asked, **({"Date": date} if date else {})}
    assert answer(sized(b"", headers, 429)).retry_after == seconds


@pytest.mark.parametrize("status", [200, 401, 503])
def test_a_foreign_text_is_shown_short_clean_and_without_the_key(status: int) -> None:
    said = f"bad key {wire.KEY}\x1b[31m\r\n\u202e" + "z" * 5000
    seen = answer(message(status, {"error": {"message": said}}))
    assert wire.KEY not in seen.detail
    assert "bad key ***\\x1b[31m\\r\\n\\u202e" in seen.detail
    assert len(seen.detail) <= 220
    assert seen.detail.isprintable()


def test_a_chat_is_not_read_as_a_completion() -> None:
    data = chunked(SOUND)
    assert answer(data, wire.call(Api.CHAT)).failure == "empty"
