"""What the parent and a client process tell each other: frames of JSON with raw bytes behind it. No pickle.

A frame is the length of the JSON (4 bytes), that of the raw bytes (8 bytes), both little-endian, then these.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import orjson

from pytest_vllmperf.loadgen.job import Api, Call, Job, Limits, Server
from pytest_vllmperf.records.answers import Answer

_HEADER: Final = struct.Struct("<IQ")
_CALLS_OF_A_FRAME: Final = 256
_WIDTHS: Final = tuple((code, 8 * array(code).itemsize - 1) for code in "bhiq")
_NAMES: Final = tuple(item.name for item in fields(Answer))
_ARRAYS: Final = ("gaps_ns", "piece_tokens")


@dataclass(frozen=True)
class Frame:
    """A message.

    Attributes:
        told: the JSON.
        raw: the bytes behind it.
    """

    told: dict[str, Any]
    raw: bytes = b""


def packed(told: dict[str, Any], raw: bytes = b"") -> bytes:
    """A message as bytes."""
    text = orjson.dumps(told)
    return b"".join((_HEADER.pack(len(text), len(raw)), text, raw))


class Unpacker:
    """Takes bytes as they come and gives out the messages that are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The messages that are complete with these bytes."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            told, raw = _HEADER.unpack_from(self._buffer, start)
            middle = start + _HEADER.size + told
            if len(self._buffer) < middle + raw:
                break
            frame = Frame(
                orjson.loads(self._buffer[start + _HEADER.size : middle]), bytes(self._buffer[middle : middle + raw])
            )
            start = middle + raw
            yield frame
        del self._buffer[:start]


def job_frames(job: Job, calls: Sequence[Call]) -> Iterator[bytes]:
    """A share of a job.

    Args:
        job: everything but its calls is sent along.
        calls: of this share.
    """
    yield packed(
        {
            "server": asdict(job.server),
            "limits": asdict(job.limits),
            "concurrency": job.concurrency,
            "keep_alive": job.keep_alive,
            "calls": len(calls),
        }
    )
    for start in range(0, len(calls), _CALLS_OF_A_FRAME):
        some = calls[start : start + _CALLS_OF_A_FRAME]
        rows = [
            (
                call.index,
                len(call.head),
                len(call.body),
                call.api.value,
                call.stream,
                call.due_ns,
                call.after,
                call.output_tokens,
                call.keep,
            )
            for call in some
        ]
        yield packed({"calls": rows}, b"".join(part for call in some for part in (call.head, call.body)))


def job_of(frames: Iterable[Frame]) -> Job:
    """A share of a job, from the frames that `job_frames` made; later frames are left in place."""
    source = iter(frames)
    told = next(source).told
    calls: list[Call] = []
    heads: dict[bytes, bytes] = {}  # heads differ by the length of the body alone: one object for equal ones
    while len(calls) < told["calls"]:
        frame = next(source)
        place = 0
        for index, head, body, api, stream, due_ns, after, output_tokens, keep in frame.told["calls"]:
            middle, end = place + head, place + head + body
            text = frame.raw[place:middle]
            rest = Api(api), stream, due_ns, after, output_tokens, keep
            calls.append(Call(index, heads.setdefault(text, text), frame.raw[middle:end], *rest))
            place = end
    return Job(
        Server(**told["server"]),
        tuple(calls),
        told["concurrency"],
        keep_alive=told["keep_alive"],
        limits=Limits(**told["limits"]),
    )


def answers_frame(answers: Sequence[Answer]) -> bytes:
    """Answers as one frame; arrays of integers follow the JSON, each in the narrowest type that holds it."""
    raw: list[bytes] = []
    rows = []
    for answer in answers:
        row = []
        for name in _NAMES:
            value = getattr(answer, name)
            if name in _ARRAYS:
                value = narrowed(value)
                raw.append(value.tobytes())
                value = (value.typecode, len(value))
            row.append(value)
        rows.append(row)
    return packed({"answers": rows}, b"".join(raw))


def answers_of(frame: Frame) -> Iterator[Answer]:
    """The answers in a frame of `answers_frame`."""
    place = 0
    for row in frame.told["answers"]:
        values = dict(zip(_NAMES, row, strict=True))
        for name in _ARRAYS:
            code, count = values[name]
            end = place + count * array(code).itemsize
            values[name] = integers(code, frame.raw[place:end])
            place = end
        yield Answer(**{**values, "tool_calls": tuple(values["tool_calls"])})


def narrowed(values: array[int]) -> array[int]:
    """The same integers in the narrowest type that holds them."""
    if not values:
        return array("b")
    bits = max(max(values), ~min(values)).bit_length()
    return array(next(code for code, width in _WIDTHS if bits <= width), values)


def integers(code: str, raw: bytes) -> array[int]:
    """Integers of 64 bits from those of a narrower type."""
    narrow: array[int] = array(code)
    narrow.frombytes(raw)
    return narrow if code == "q" else array("q", narrow)
