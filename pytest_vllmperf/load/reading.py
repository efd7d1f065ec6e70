"""Reads what arrived for a call: HTTP, events, OpenAI's objects. Pure; done after the run."""

from __future__ import annotations

from pytest_vllmperf.load.exchange import Exchange
from pytest_vllmperf.load.job import Call
from pytest_vllmperf.records.answers import Answer


def read(call: Call, exchange: Exchange) -> Answer:
    """What came back for a call; whatever arrived, an answer and never an exception.

    Args:
        call: what was sent.
        exchange: what happened at the socket.
    """
    raise NotImplementedError
