"""`Connection`: one connection to the server, with one request at a time on it."""

from __future__ import annotations

import asyncio
import os
import socket
from time import monotonic_ns
from typing import Protocol, cast

from pytest_vllmperf.loadgen.completion import END, Completion
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Call


class Owner(Protocol):
    """Who is told what becomes of a connection and of the exchange on it."""

    def ended(self, connection: Connection, call: Call, exchange: Exchange) -> None:
        """The exchange is over, well or not; the connection may be used again where it is `open`."""

    def unanswered(self, connection: Connection, call: Call, exchange: Exchange) -> None:
        """A connection that had been used before ended without a byte of a response: the server had closed it."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed; what was under way on it is told after that."""


class Connection(asyncio.Protocol):
    """Sends requests and keeps what arrives.

    Args:
        owner: told what becomes of it.
        sock: the connected socket. Where it is not encrypted, requests are written to it directly: the event loop would
            write them after all else that is ready, and the time of sending would not be that of the system call.
        direct: whether the socket may be written to directly.
        keep: whether the connection is to be used again.

    Attributes:
        call: the one that is under way; None while there is none.
        exchange: what happened for it.
        used: whether a request was sent on it before the present one.
        open: whether another request can be sent on it.
    """

    def __init__(self, owner: Owner, sock: socket.socket, *, direct: bool, keep: bool) -> None:
        self._owner = owner
        self._socket = sock
        self._direct = direct
        self._keep = keep
        self._completion = Completion()
        self._transport: asyncio.Transport | None = None
        self._blocked = False
        self._broken: OSError | None = None
        self.call: Call | None = None
        self.exchange: Exchange | None = None
        self.used = False
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the connection, with TLS where asked for, is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is of no class of asyncio
        self._transport.set_write_buffer_limits(high=0)  # so that we are told when all has been sent
        self.open = True

    def send(self, call: Call, exchange: Exchange) -> None:
        """Send a request; the time of sending is noted in the exchange.

        Args:
            call: what to send.
            exchange: where to keep what arrives.
        """
        assert self._transport is not None
        self.call, self.exchange = call, exchange
        self._completion.begin()
        self._blocked = False
        exchange.sent_ns = monotonic_ns()
        if not self._direct:
            self._transport.write(call.head + call.body)
            return
        size = len(call.head) + len(call.body)
        try:
            sent = self._socket.sendmsg((call.head, call.body))
        except BlockingIOError:
            sent = 0
        except OSError:  # the server had closed it; the event loop learns of that in its next turn
            self._blocked = True
            self._transport.abort()
            return
        if sent < size:
            self._blocked = True
            self._transport.write((call.head + call.body)[sent:])

    def data_received(self, data: bytes) -> None:
        """Called by the event loop with what has arrived: this is all that happens while a stream goes on."""
        now = monotonic_ns()
        exchange = self.exchange
        if exchange is None:  # nothing was asked for, such as "408 Request Timeout" on an idle connection
            self.close()
            return
        pieces = exchange.pieces
        pieces.append((now, data))
        completion = self._completion
        if completion.streaming and data[-4:] != END and len(data) >= 4:  # as `look` says, without a call
            return
        if completion.look(pieces):
            if completion.problem:
                exchange.failure, exchange.detail = "malformed", completion.problem
            self._over(now)

    def pause_writing(self) -> None:
        """Called by the event loop: what was written has not all been sent."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Called by the event loop: all has been sent."""
        self._blocked = False

    def eof_received(self) -> None:
        """Called by the event loop when no more will arrive; it closes the connection after that.

        libuv says the same of a connection that was reset, where it finds the reset together with data. The socket
        still knows: what ends so has not ended in good order.
        """
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._broken = OSError(code, os.strerror(code))

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop when the connection is closed, by either side."""
        error = error or self._broken
        self.open = False
        self._owner.lost(self)
        call, exchange = self.call, self.exchange
        if call is not None and exchange is not None:
            if self.used and not exchange.pieces:
                self.call = self.exchange = None
                self._owner.unanswered(self, call, exchange)
            else:
                failure = "sent" if self._blocked and not exchange.pieces else "cut"
                detail = f"{_how_it_broke(exchange, failure)}{f': {error}' if error else ''}"
                self.give_up(failure, detail, closed=error is None)
        self._completion.close()

    def give_up(self, failure: str, detail: str, *, closed: bool = False) -> None:
        """End what is under way, unless it turns out to be complete.

        Args:
            failure: its kind, a name in `records.answers.FAILURES`.
            detail: the same in words.
            closed: whether the server has ended the connection in good order.
        """
        exchange = self.exchange
        if exchange is None:
            return
        if not self._completion.finish(exchange.pieces, closed=closed):
            problem = self._completion.problem
            exchange.failure, exchange.detail = ("malformed", problem) if problem else (failure, detail)
        self._over(monotonic_ns(), usable=False)

    def close(self) -> None:
        """Close the connection at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _all_sent(self) -> bool:
        """Whether the whole request was sent: a server may answer before that."""
        return self._transport is not None and not self._transport.get_write_buffer_size()

    def _over(self, at: int, *, usable: bool = True) -> None:
        """The exchange has ended."""
        call, exchange = self.call, self.exchange
        assert call is not None
        assert exchange is not None
        exchange.end_ns = at
        self.call = self.exchange = None
        self.used = True
        if not (usable and self._keep and self._completion.reusable and not exchange.failure and self._all_sent()):
            self.close()
        self._owner.ended(self, call, exchange)


def _how_it_broke(exchange: Exchange, failure: str) -> str:
    """What is said of an exchange whose connection broke."""
    if failure == "sent":
        return "the connection broke before the whole request was sent"
    if not exchange.pieces:
        return "the connection ended without an answer"
    return f"the connection ended after {sum(len(data) for _, data in exchange.pieces)} bytes of the response"
