"""Reads what arrived for a call: HTTP, events, OpenAI's objects. Pure; done after the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.loadgen.coding import Unpacked, unpack
from pytest_vllmperf.loadgen.events import EventStream
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.faults import key_of, quoted, retry_after, status_fault
from pytest_vllmperf.loadgen.framing import Response, frame
from pytest_vllmperf.loadgen.job import Call
from pytest_vllmperf.loadgen.objects import UnreadableError, parse
from pytest_vllmperf.loadgen.tally import Tally
from pytest_vllmperf.records.answers import Answer

_KNOWN: Final = ("error", "status", "shed", "redirect")
"""Failures that hold although the response did not end. They say more than `cut`."""


@dataclass(frozen=True)
class _Fault:
    """Why an answer is not sound: the kind of failure and what happened; both empty for a sound one."""

    failure: str = ""
    detail: str = ""


_SOUND: Final = _Fault()
_CUT: Final = "the connection ended before the response did"


def read(call: Call, exchange: Exchange) -> Answer:
    """What came back for a call; whatever arrived, an answer and never an exception.

    What went wrong at the socket is the failure, with two exceptions. A response that is whole counts by what it says.
    So does one whose connection broke after the server had said what was wrong.

    Args:
        call: what was sent.
        exchange: what happened at the socket.
    """
    key = key_of(call.head)
    response = frame(exchange.pieces)
    tally = Tally(call.api, keep=call.keep)
    ended, found = _read_response(call, response, tally, not exchange.failure, key)
    fault = found
    if exchange.failure and not ended and not (exchange.failure == "cut" and found.failure in _KNOWN):
        fault = _Fault(exchange.failure, exchange.detail)
    elif not found.failure and not ended:
        fault = _Fault("cut", _CUT)
    elif not found.failure and not tally.times:
        fault = _Fault("empty", "a response without any content")
    words = quoted(fault.detail, key) or fault.failure
    return _answer(exchange, response, tally, _Fault(fault.failure, words))


def _read_response(call: Call, response: Response, tally: Tally, closed: bool, key: str) -> tuple[bool, _Fault]:
    """Read a response into the tally; returns whether it is whole, and what is wrong with it.

    Args:
        call: what was sent.
        response: what came.
        tally: what the body adds up to.
        closed: whether a body that ends with its connection has ended so.
        key: what must not be shown.
    """
    if response.status is None:
        if response.error:
            return False, _Fault("malformed", response.error)
        return False, _SOUND
    framed = response.complete or (response.until_close and closed)
    unpacked = unpack(response.body, response.headers.get("content-encoding", ""))
    failure, detail = status_fault(response.status, response.headers, unpacked.body, key)
    if failure:
        return framed, _Fault(failure, detail)
    problem = response.error or unpacked.error or _transfer_problem(response)
    if problem:
        return framed, _Fault("malformed", problem)
    if _is_stream(response, unpacked):
        return _read_stream(call, response, unpacked, tally, closed)
    if not (response.complete or response.until_close):
        return False, _SOUND
    return _read_object(call, response, unpacked, tally)


def _transfer_problem(response: Response) -> str:
    codings = {name.strip() for name in response.headers.get("transfer-encoding", "").lower().split(",")}
    others = codings - {"", "identity", "chunked"}
    return f"transfer encoding {', '.join(sorted(others))}, which was not asked for" if others else ""


def _is_stream(response: Response, unpacked: Unpacked) -> bool:
    """Whether a body is an event stream, by its type; where that tells neither, one that does not begin as JSON."""
    kind = response.headers.get("content-type", "").lower()
    if "text/event-stream" in kind or "json" in kind:
        return "json" not in kind
    start = next((start for _, piece in unpacked.body if (start := piece.lstrip()[:1])), b"")
    return start not in (b"", b"{", b"[")


def _read_stream(call: Call, response: Response, unpacked: Unpacked, tally: Tally, closed: bool) -> tuple[bool, _Fault]:
    stream = EventStream()
    if not call.stream:
        return response.complete, _Fault("malformed", "an event stream, though a whole answer was asked for")
    tally.read_stream(unpacked.body, stream)
    framed = response.complete or (response.until_close and (tally.done or closed))
    ended = framed and (tally.done or tally.finish_reason is not None)
    if tally.error:
        return ended, _Fault("error", tally.error)
    if tally.unreadable:
        return ended, _Fault("malformed", f"after {len(tally.times)} pieces of content: {tally.unreadable}")
    nothing = response.complete and not tally.events and not stream.unfinished
    return ended or nothing, _SOUND


def _read_object(call: Call, response: Response, unpacked: Unpacked, tally: Tally) -> tuple[bool, _Fault]:
    body, whole = b"".join(piece for _, piece in unpacked.body), unpacked.whole
    if not body.strip():
        return response.complete and whole, _SOUND
    try:
        tally.add(parse(body), response.body[-1][0], "message")
    except UnreadableError as error:
        half = error.at_end and not (response.complete and whole)
        return not half, _SOUND if half else _Fault("malformed", str(error))
    if tally.error:
        return True, _Fault("error", tally.error)
    if call.stream:
        return True, _Fault("malformed", "a whole answer, though an event stream was asked for")
    return True, _SOUND


def _answer(exchange: Exchange, response: Response, tally: Tally, fault: _Fault) -> Answer:
    times = tally.times
    last_piece = exchange.pieces[-1][0] if exchange.pieces else exchange.sent_ns or exchange.due_ns
    usage = tally.usage
    first = times[0] if times else None
    return Answer(
        index=exchange.index,
        due_ns=exchange.due_ns,
        sent_ns=exchange.sent_ns,
        first_ns=first,
        first_answer_ns=tally.first_answer_ns if tally.reasoned else first,
        last_ns=times[-1] if times else None,
        end_ns=exchange.end_ns or last_piece,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=tally.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        gaps_ns=tally.gaps_ns(),
        piece_tokens=tally.piece_tokens(),
        finish_reason=tally.finish_reason,
        status=response.status,
        failure=fault.failure,
        detail=fault.detail,
        retry_after=retry_after(response.headers) if fault.failure else None,
        server_ttft=tally.server_ttft,
        text=tally.text if tally.keep else None,
        tool_calls=tally.tool_calls,
    )
