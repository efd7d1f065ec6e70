"""`frame`: status, headers and body of a response, and where it ends."""

from __future__ import annotations

import pytest

from pytest_vllmperf.loadgen.framing import frame
from tests.loadgen.wire import chunked, head, sized, split, timed


def body(data: bytes) -> bytes:
    return b"".join(piece for _, piece in frame(timed([data])).body)


def test_headers_are_known_by_lower_case_names_and_joined() -> None:
    data = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:2\r\nContent-Length: 0\r\nX-Empty:\r\n\r\n"
    response = frame([(1, data)])
    assert response.status == 200
    assert response.headers == {"x-a": "1, 2", "content-length": "0", "x-empty": ""}


def test_chunks_keep_the_times_of_their_pieces() -> None:
    data = chunked([b"abc", b"def"])
    place = data.index(b"bc\r\n")
    response = frame([(5, data[:place]), (9, data[place:])])
    assert response.body == [(5, b"a"), (9, b"bc"), (9, b"def")]
    assert response.complete


@pytest.mark.parametrize(
    ("data", "complete", "until_close"),
    [
        (chunked([b"a"]), True, False),
        (chunked([b"a"], end=False), False, False),
        (sized(b"abc"), True, False),
        (sized(b"abc", short_of=1), False, False),
        (head(200) + b"abc", False, True),
        (head(200, {"Transfer-Encoding": "identity"}) + b"abc", False, True),
        (head(204), True, False),
        (head(304), True, False),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", False, True),
        (b"", False, False),
        (b"HTTP/1.1 200 O", False, False),
    ],
)
def test_where_a_response_ends(data: bytes, complete: bool, until_close: bool) -> None:
    for pieces in ([data], split(data, range(len(data)))):
        response = frame(timed(pieces) if data else [])
        assert (response.complete, response.until_close, response.error) == (complete, until_close, "")


def test_what_follows_a_response_is_not_of_it() -> None:
    assert body(sized(b"abc") + sized(b"def")) == b"abc"
    assert body(chunked([b"abc"]) + b"garbage") == b"abc"
    assert frame([(1, sized(b"abc") + b"garbage")]).error == ""


def test_trailers_are_no_headers() -> None:
    data = chunked([b"abc"])[:-2] + b"Content-Encoding: br\r\n\r\n"
    response = frame([(1, data)])
    assert (response.complete, "content-encoding" in response.headers) == (True, False)


def test_interim_responses_are_passed_over() -> None:
    data = head(100) + head(103, {"X-Early": "1"}) + sized(b"abc")
    response = frame(timed(split(data, range(len(data)))))
    assert (response.status, "x-early" in response.headers, response.complete) == (200, False, True)
    assert b"".join(piece for _, piece in response.body) == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"<html>",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        head(200, {"Content-Length": "x"}),
        head(200, {"Content-Length": "3", "Transfer-Encoding": "chunked"}),
        chunked([b"a"], end=False) + b"-5\r\n",
        head(200, {"Bad name ": "x"}),
    ],
)
def test_what_is_not_http(data: bytes) -> None:
    for pieces in ([data], split(data, range(len(data)))):
        response = frame(timed(pieces))
        assert response.error.startswith("not HTTP: ")
        assert not response.complete
