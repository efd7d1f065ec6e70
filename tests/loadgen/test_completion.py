"""When a response is complete: for every way in which its bytes can be split."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.loadgen.completion import Body, Completion

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


RESPONSES = {
    "a chunk": CHUNKED + chunk(b"data: {}\n\n") + b"0\r\n\r\n",
    "the end inside a chunk": CHUNKED + chunk(b"0\r\n\r\n") + chunk(b"\r\n0\r\n\r\n") + b"0\r\n\r\n",
    "events with CRLF": CHUNKED + chunk(b"data: 1\r\n\r\n") + chunk(b"data: 2\r\n\r\n") + b"0\r\n\r\n",
    "trailers": CHUNKED + chunk(b"x") + b"0\r\nA: b\r\n\r\n",
    "an extension of the last chunk": CHUNKED + chunk(b"x") + b"0;a=b\r\n\r\n",
    "more than one zero": CHUNKED + chunk(b"x") + b"000\r\n\r\n",
    "no chunk": CHUNKED + b"0\r\n\r\n",
    "a length": HEAD + b"Content-Length: 9\r\n\r\n0\r\n\r\n\r\n\r\n",
    "no body": HEAD + b"Content-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "an interim response": b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\nx",
    "an interim response before chunks": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + chunk(b"x") + b"0\r\n\r\n",
}


def fed(completion: Completion, pieces: list[bytes]) -> list[bool]:
    """What is said after each piece."""
    kept: list[tuple[int, bytes]] = []
    said = []
    for piece in pieces:
        kept.append((0, piece))
        said.append(completion.look(kept))
    return said


def split(data: bytes, places: tuple[int, ...]) -> list[bytes]:
    return [data[begin:end] for begin, end in zip((0, *places), (*places, len(data)), strict=True)]


@pytest.mark.parametrize("response", RESPONSES.values(), ids=list(RESPONSES))
def test_is_complete_with_its_last_byte_and_not_before_for_every_split_in_two_and_three(response: bytes) -> None:
    places = range(1, len(response))
    for cut in [*combinations(places, 1), *combinations(places, 2)]:
        completion = Completion()
        assert fed(completion, split(response, cut)) == [False] * len(cut) + [True], cut
        assert completion.reusable


@given(st.sampled_from(sorted(RESPONSES)), st.data())
def test_is_complete_with_its_last_byte_for_any_split(name: str, data: st.DataObject) -> None:
    response = RESPONSES[name]
    places = sorted(data.draw(st.sets(st.integers(1, len(response) - 1))))
    assert fed(Completion(), split(response, tuple(places))) == [False] * len(places) + [True]


@given(st.lists(st.lists(st.sampled_from([b"0\r\n\r\n", b"\r\n", b"0", b"x", b"\r\n\r\n"])).map(b"".join)), st.data())
def test_content_that_looks_like_an_end_is_none(contents: list[bytes], data: st.DataObject) -> None:
    response = CHUNKED + b"".join(chunk(content) for content in contents if content) + b"0\r\n\r\n"
    places = sorted(data.draw(st.sets(st.integers(1, len(response) - 1))))
    assert fed(Completion(), split(response, tuple(places))) == [False] * len(places) + [True]


def test_responses_of_one_connection_follow_each_other() -> None:
    completion = Completion()
    for response in (*RESPONSES.values(), *reversed(RESPONSES.values())):
        completion.begin()
        assert fed(completion, split(response, (5,))) == [False, True]


def test_a_stream_is_not_parsed_while_it_cannot_be_over() -> None:
    completion = Completion()
    pieces = [(0, CHUNKED)]
    completion.look(pieces)
    for content in (b"data: 1\n\n", b"data: 2\r\n\r\n"):
        pieces.append((0, chunk(content)))
        assert not completion.look(pieces)
    pieces.append((0, b"no chunk at all\n\n"))
    assert not completion.look(pieces)
    assert completion.problem == ""  # it would be known if that had been parsed
    assert not completion.finish(pieces, closed=True)
    assert "chunk size" in completion.problem


def test_a_body_that_ends_with_the_connection_is_complete_when_that_ends() -> None:
    completion = Completion()
    assert fed(completion, [HEAD + b"\r\n", b"x\r\n\r\n", b"0\r\n\r\n"]) == [False] * 3
    assert completion.body is Body.CLOSED
    assert not completion.finish([(0, HEAD + b"\r\n")], closed=False)
    assert completion.finish([(0, HEAD + b"\r\n")], closed=True)
    assert not completion.reusable


@pytest.mark.parametrize("so_far", [HEAD, CHUNKED + b"5\r\nab", HEAD + b"Content-Length: 3\r\n\r\nab", b""])
def test_a_response_that_is_cut_is_not_complete(so_far: bytes) -> None:
    completion = Completion()
    pieces = [(0, so_far)] if so_far else []
    if pieces:
        completion.look(pieces)
    assert not completion.finish(pieces, closed=True)
    assert completion.problem == ""


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    completion = Completion()
    assert fed(completion, [HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nx"]) == [True]
    assert not completion.reusable


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b"HTT"])
def test_what_follows_a_complete_response_spoils_the_connection_and_not_the_response(more: bytes) -> None:
    completion = Completion()
    pieces = [(0, HEAD + b"Content-Length: 1\r\n\r\nx" + more)]
    assert completion.look(pieces)
    assert (completion.complete, completion.reusable, completion.problem) == (True, False, "")


@pytest.mark.parametrize("wrong", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x16\x03\x01", CHUNKED + b"zz\r\n\r\n"])
def test_what_is_not_http_is_said(wrong: bytes) -> None:
    completion = Completion()
    assert fed(completion, [wrong]) == [True]
    assert completion.problem.startswith("not HTTP: ")
    assert not completion.complete


def test_another_protocol_ends_the_response() -> None:
    completion = Completion()
    assert fed(completion, [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]) == [True]
    assert not completion.reusable
