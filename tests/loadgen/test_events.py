"""`EventStream`: the same events as a plain reading of the whole body gives, in any split."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.loadgen.events import Event, EventStream
from tests.loadgen.wire import split

PARTS = [
    b"data: x",
    b"data:y",
    b"data",
    b"event: e",
    b": c",
    b"id: 1",
    b"odd",
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b"\xef\xbb\xbf",
]


def plainly(body: bytes) -> list[Event]:
    """The events of a body, read as the standard says, from the whole of it."""
    events: list[Event] = []
    data: list[bytes] = []
    name = b""
    *lines, _ = re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf"))
    for line in lines:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if not line:
            events += [(name, b"\n".join(data))] if data else []
            data, name = [], b""
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field not in (b"", b"id", b"retry"):
            events.append((None, line))
    return events


def read(pieces: list[bytes]) -> list[Event]:
    stream = EventStream()
    return [event for piece in pieces for event in stream.feed(piece)]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=14), st.lists(st.integers(0, 80), max_size=12))
@example([b"data: x", b"\r", b"\n", b"\n"], [8])
def test_events_are_those_of_the_standard_in_any_split(parts: list[bytes], cuts: list[int]) -> None:
    body = b"".join(parts)
    expected = plainly(body)
    assert read([body]) == expected
    assert read(split(body, cuts)) == expected
    assert read([body[place : place + 1] for place in range(len(body))]) == expected


def test_an_event_is_complete_with_the_first_half_of_its_last_line_end() -> None:
    stream = EventStream()
    assert [len(stream.feed(piece)) for piece in (b"data: x\r\n\r", b"\n", b"data: y\n", b"\n")] == [1, 0, 0, 1]
    assert stream.between_events
    assert not stream.unfinished


@pytest.mark.parametrize(
    ("rest", "stray"),
    [(b"<html>", True), (b"dat", False), (b"data: x", False), (b"dada: x", True), (b": c", False), (b"", False)],
)
def test_the_last_line_of_a_body_is_told_where_it_is_no_field(rest: bytes, stray: bool) -> None:
    stream = EventStream()
    stream.feed(b"data: x\n\n" + rest)
    assert stream.finish() == ([(None, rest)] if stray else [])
