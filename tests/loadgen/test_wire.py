"""What parent and client processes tell each other."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.loadgen import wire
from pytest_vllmperf.loadgen.job import Api, Call, Job, Limits, Server
from pytest_vllmperf.records.answers import Answer

INT64 = st.integers(-(2**63), 2**63 - 1)


def unpacked(data: bytes, size: int = 1 << 20) -> list[wire.Frame]:
    unpacker = wire.Unpacker()
    return [frame for at in range(0, len(data), size) for frame in unpacker.feed(data[at : at + size])]


@given(st.lists(INT64))
def test_integers_come_back_as_they_were(values: list[int]) -> None:
    narrow = wire.narrowed(array("q", values))
    assert wire.integers(narrow.typecode, narrow.tobytes()) == array("q", values)


def test_integers_take_no_more_room_than_they_need() -> None:
    sizes = [wire.narrowed(array("q", [value])).itemsize for value in (127, -128, 128, -129, 32767, 32768, 2**31)]
    assert sizes == [1, 1, 2, 2, 2, 4, 8]


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 30))
def test_messages_come_back_however_they_are_split(contents: list[bytes], size: int) -> None:
    data = b"".join(wire.packed({"n": number}, raw) for number, raw in enumerate(contents))
    assert [(frame.told["n"], frame.raw) for frame in unpacked(data, size)] == list(enumerate(contents))


def test_a_job_comes_back_with_its_calls() -> None:
    calls = tuple(
        Call(n, b"head%d" % (n % 3), b"body" * n, Api.CHAT, n % 2 == 0, n or None, n - 1 if n else None, n, n % 3 == 0)
        for n in range(600)
    )
    job = Job(Server("::1", 8, True, "/x"), calls, 7, False, None, Limits(1, 2, 3, 4))
    back = wire.job_of(unpacked(b"".join(wire.job_frames(job, calls))))
    assert back == job
    assert back.calls[0].head is back.calls[3].head  # kept once


def test_a_job_without_limits_of_time_comes_back() -> None:
    job = Job(Server("localhost", 8), ())
    assert wire.job_of(unpacked(b"".join(wire.job_frames(job, ())))) == job


def test_answers_come_back_whole() -> None:
    answers = [
        Answer(0, 5),
        Answer(
            1, 2**62, 3, 4, 5, 6, 7, 8, 9, 10, 11, array("q", [2**40, -1]), array("q", [1, 1, 3]), "stop", 200, "cut",
            "why", 1.5, 0.25, "tök", ("{}", '{"a": 1}'),
        ),
    ]  # fmt: skip
    (frame,) = unpacked(wire.answers_frame(answers))
    assert list(wire.answers_of(frame)) == answers
