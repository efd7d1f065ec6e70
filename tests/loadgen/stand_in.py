"""Readers that client processes of tests are given, by the name of this module or of its like."""

from __future__ import annotations

import re
from array import array
from itertools import pairwise

from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Call
from pytest_vllmperf.records.answers import Answer

_STATUS = re.compile(rb"HTTP/1.1 ([2-5]\d\d)")


def read(call: Call, exchange: Exchange) -> Answer:
    """Times of pieces with content, as the scripted server sends them: one piece an event, unless they were joined."""
    times = [at for at, data in exchange.pieces if b'"text"' in data or b'"content"' in data]
    status = _STATUS.search(exchange.pieces[0][1]) if exchange.pieces else None
    return Answer(
        call.index,
        exchange.due_ns,
        exchange.sent_ns,
        first_ns=times[0] if times else None,
        last_ns=times[-1] if times else None,
        end_ns=exchange.end_ns,
        output_tokens=sum(data.count(b'"text"') for _, data in exchange.pieces),
        gaps_ns=array("q", [after - before for before, after in pairwise(times)]),
        piece_tokens=array("q", [1] * len(times)),
        status=int(status[1]) if status else None,
        failure=exchange.failure,
        detail=exchange.detail,
    )
