"""Garbage is not collected while requests run: what has ended must go away by itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_vllmperf.loadgen import reading
from pytest_vllmperf.loadgen.completion import Completion
from pytest_vllmperf.loadgen.connection import Connection
from tests.loadgen.scripted import Scripted, call, send


@contextmanager
def found_in_garbage(kind: type) -> Iterator[list[int]]:
    """How many objects of a kind the collector finds, of those that this block has left behind."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    count: list[int] = []
    try:
        yield count
        gc.collect()
        count.append(sum(isinstance(one, kind) for one in gc.garbage))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("fault", ["", "die", "not-http", "bad-chunk", "malformed", "error-event", "fewer"])
def test_reading_leaves_nothing_behind(scripted: Scripted, fault: str) -> None:
    asked = call(0, {"fault": fault})
    exchange = send(scripted.server, [asked], concurrency=1).exchanges[0]
    with found_in_garbage(object) as left:
        reading.read(asked, exchange)
    assert left == [0]


@pytest.mark.parametrize("given", [{"keep_alive": False}, {}])
@pytest.mark.parametrize("fault", ["", "die", "half-close", "not-http"])
def test_connections_that_are_closed_leave_nothing_behind(
    scripted: Scripted, fault: str, given: dict[str, Any]
) -> None:
    calls = [call(n, {"fault": fault}) for n in range(8)]
    with found_in_garbage((Connection, Completion)) as kept:  # type: ignore[arg-type]
        send(scripted.server, calls, concurrency=2, **given)
    assert kept == [0]
