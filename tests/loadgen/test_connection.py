"""How a connection ended, where the event loop does not tell: on a real socket, with the loop's calls made by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

import pytest

from pytest_vllmperf.loadgen.connection import Connection
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Call
from tests.loadgen.wire import DONE, call, head, text_event

UNTIL_THE_END = head(200, {"Content-Type": "text/event-stream", "Connection": "close"}) + text_event("a") + DONE
"""A response that lasts until its connection ends."""


class Transport(asyncio.Transport):
    """Nothing of it is needed: the socket is written to directly."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


class Owner:
    def __init__(self) -> None:
        self.seen: list[Exchange] = []

    def ended(self, connection: Connection, call: Call, exchange: Exchange) -> None:
        self.seen.append(exchange)

    def unanswered(self, connection: Connection, call: Call, exchange: Exchange) -> None:
        raise AssertionError("there was a response")

    def lost(self, connection: Connection) -> None:
        pass


@pytest.mark.parametrize(
    ("reset", "failure", "detail"),
    [
        (False, "", ""),
        (True, "cut", "the connection ended after {size} bytes of the response: [Errno 104] Connection reset by peer"),
    ],
    ids=["closed", "reset"],
)
def test_a_reset_that_the_loop_takes_for_an_end_in_good_order(reset: bool, failure: str, detail: str) -> None:
    owner, exchange = Owner(), Exchange(3, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            connection = Connection(owner, client, direct=True, keep=True)
            connection.connection_made(cast(asyncio.BaseTransport, Transport()))
            connection.send(call(), exchange)
            server.recv(1 << 16)
            connection.data_received(UNTIL_THE_END)
            assert owner.seen == []
            if reset:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.eof_received()
        connection.connection_lost(None)
    assert owner.seen == [exchange]
    assert (exchange.failure, exchange.detail) == (failure, detail.format(size=len(UNTIL_THE_END)))
