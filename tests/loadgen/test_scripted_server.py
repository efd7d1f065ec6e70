"""The scripted server is what clients are judged by: it does what its script says, and tells what it did."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from typing import Any

import pytest

from pytest_vllmperf.loadgen.job import Api
from tests.loadgen.scripted import Scripted, call, scripted_server


def raw(scripted: Scripted, script: dict[str, Any] | None = None, **given: Any) -> bytes:
    """All bytes that come for a request until the server has nothing more to say."""
    asked = call(0, {"keep": False, **(script or {})}, **given)
    with socket.create_connection(("127.0.0.1", scripted.port), timeout=30) as connection:
        connection.sendall(asked.head + asked.body)
        found = b""
        try:
            while data := connection.recv(1 << 16):
                found += data
        except ConnectionResetError:
            found += b"<reset>"
    return found


def body(scripted: Scripted, script: dict[str, Any] | None = None, **given: Any) -> bytes:
    """The body of an answer, unchunked by Python's own client."""
    asked = call(0, script, **given)
    connection = http.client.HTTPConnection("127.0.0.1", scripted.port, timeout=30)
    try:
        connection.request("POST", f"/v1/{asked.api.value}", asked.body, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


def events(text: bytes) -> list[Any]:
    found = [line[6:] for line in text.split(b"\n\n") if line.startswith(b"data: ")]
    return [json.loads(event) if event != b"[DONE]" else "done" for event in found]


def test_streams_a_completion_token_by_token_then_usage_then_the_end(scripted: Scripted) -> None:
    found = events(body(scripted, tokens=3))
    assert [event["choices"][0]["text"] for event in found[:3]] == [" tök"] * 3
    assert [event["choices"][0]["finish_reason"] for event in found[:3]] == [None, None, "length"]
    assert found[3]["choices"] == []
    assert found[3]["usage"] == {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
    assert found[4:] == ["done"]


def test_a_chat_begins_with_an_empty_chunk_that_names_the_role(scripted: Scripted) -> None:
    found = events(body(scripted, api=Api.CHAT, tokens=2))
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["delta"]["content"] for event in found[1:3]] == [" tök"] * 2


def test_an_answer_that_is_no_stream_comes_whole(scripted: Scripted) -> None:
    found = json.loads(body(scripted, stream=False, tokens=2))
    assert found["choices"][0]["text"] == " tök tök"
    assert found["usage"]["completion_tokens"] == 2


def test_sends_nothing_before_its_time_and_knows_when_it_sent(scripted: Scripted) -> None:
    body(scripted, {"ttft": 0.02, "gap": 0.003}, tokens=5)
    told = scripted.told()["requests"]["0"]
    since = [at - told["arrived"] for at in told["sent"]]
    assert len(since) == 6  # five tokens, and the end
    assert all(at >= 20_000_000 + number * 3_000_000 for number, at in enumerate(since[:5]))


def test_forgets_when_it_is_told_to(scripted: Scripted) -> None:
    body(scripted)
    scripted.ask("POST", "/reset")
    assert scripted.told()["requests"] == {}


def test_a_script_on_the_command_line_is_for_all_requests() -> None:
    with scripted_server("--script", '{"tokens": 7}') as running:
        assert events(body(running, tokens=2))[-2]["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize(
    ("fault", "status"),
    [("500", b"500 Internal Server Error"), ("429", b"429 Too Many Requests"), ("redirect", b"307 Temporary Redirect")],
)
def test_refuses_with_a_status(scripted: Scripted, fault: str, status: bytes) -> None:
    asked = call(0, {"fault": fault})
    with socket.create_connection(("127.0.0.1", scripted.port), timeout=30) as connection:
        connection.sendall(asked.head + asked.body)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 " + status)


def test_breaks_off_in_mid_stream(scripted: Scripted) -> None:
    died = raw(scripted, {"fault": "die", "gap": 0.01}, tokens=6)
    assert (died.count(b'"text"'), died.endswith(b"<reset>")) == (2, True)
    closed = raw(scripted, {"fault": "half-close", "gap": 0.01}, tokens=6)
    assert (closed.count(b'"text"'), closed.endswith(b"\r\n"), b"[DONE]" in closed) == (2, True, False)


def test_makes_faulty_streams(scripted: Scripted) -> None:
    assert b'choices": [{\n\n' in body(scripted, {"fault": "malformed"})
    assert b": a comment\n\n" in body(scripted, {"fault": "comments"})
    assert b'"error"' in body(scripted, {"fault": "error-event"})
    assert b'"error"' in body(scripted, {"fault": "error-body"})
    assert b"zz\r\n" in raw(scripted, {"fault": "bad-chunk"})
    assert raw(scripted, {"fault": "trailers"}).endswith(b"0\r\nX-Trailer: yes\r\n\r\n")
    assert raw(scripted, {"fault": "interim"}).startswith(b"HTTP/1.1 103 ")
    assert b"\r\n\r\ndata: " in body(scripted, {"crlf": True})
    assert "usage" not in events(body(scripted, {"usage": False}))[-2]
    assert events(body(scripted, {"fault": "fewer"}, tokens=8))[-2]["usage"]["completion_tokens"] == 4
    assert b"chunked" not in raw(scripted, {"framing": "close"})


def test_splits_a_character(scripted: Scripted) -> None:
    text = body(scripted, {"fault": "utf8-split", "gap": 0.001}, tokens=5)
    assert text.decode().count(" tök") == 5
    assert len(scripted.told()["requests"]["0"]["sent"]) == 7  # one event more than without


def test_splits_everything_into_pieces_of_a_size(scripted: Scripted) -> None:
    whole = body(scripted, tokens=2)
    scripted.ask("POST", "/reset")
    assert body(scripted, {"split": 5}, tokens=2) == whole
    assert len(scripted.told()["requests"]["0"]["sent"]) > len(whole) / 5


def test_compresses(scripted: Scripted) -> None:
    assert b'"text": " t' in gzip.decompress(body(scripted, {"fault": "gzip"}, stream=False))
