"""`Sender`: keeps a schedule on one event loop. Sends calls when they are due, and ends each one way or another."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from contextlib import suppress
from time import monotonic_ns
from typing import Final

from pytest_vllmperf.loadgen.alarm import Alarm
from pytest_vllmperf.loadgen.connection import Connection
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Call, Limits
from pytest_vllmperf.loadgen.opening import NotOpened, Opener
from pytest_vllmperf.loadgen.pacing import Pacing

_S: Final = 10**9
_LOOKS: Final = 4
"""How often stalled streams are looked for within the time in which a stream may pause."""

_LONGEST_LOOK_S: Final = 1.0
_OPENED_AT_ONCE: Final = 64
"""Connections that are opened together beforehand: a server may take no more new ones at a time."""

Finished = Callable[[Call, Exchange], None]


class Sender:
    """Sends calls and keeps what comes back.

    Args:
        opener: opens connections.
        limits: how long things may take.
        finished: given each call when it has ended, with what happened.

    Attributes:
        lags_ns: of each call that was sent: from when it was due until it was sent, without the time that opening its
            connection took, which is the network's and the server's.
        retried: calls that were sent again, as the server had closed the idle connection that they were sent on.
    """

    def __init__(self, opener: Opener, limits: Limits, finished: Finished) -> None:
        self._pacing: Pacing
        self._start = 0
        self._opener = opener
        self._limits = limits
        self._finished = finished
        self._idle: dict[Connection, None] = {}
        self._busy: dict[Connection, None] = {}
        self._opening: dict[asyncio.Task[None], tuple[Call, Exchange]] = {}
        self._sending = False
        self._over: asyncio.Future[None] | None = None
        self._alarm: Alarm | None = None
        self.lags_ns: array[int] = array("q")
        self.retried: set[int] = set()

    async def open_beforehand(self, count: int) -> None:
        """Open connections that the first calls will be sent on, so that none of them waits for one.

        Where that fails nothing is said: the calls will open their own, and fail by their own reason.

        Args:
            count: how many.
        """

        async def one() -> None:
            with suppress(NotOpened):
                connection = await self._opener.open(self)
                if connection.open:
                    self._idle[connection] = None

        for begun in range(0, count, _OPENED_AT_ONCE):
            before = len(self._idle)
            await asyncio.gather(*(one() for _ in range(min(_OPENED_AT_ONCE, count - begun))))
            if len(self._idle) == before:
                return

    async def run(self, pacing: Pacing, start_ns: int) -> None:
        """Until every call has ended, or the run's time is over.

        Args:
            pacing: says which call is due when.
            start_ns: when the schedule begins, in monotonic nanoseconds.
        """
        self._pacing, self._start = pacing, start_ns
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._alarm = Alarm(loop, self._send_due)
        look = loop.create_task(self._look_for_stalled())
        try:
            self._alarm.set(max(self._start, monotonic_ns()))
            left = self._limits.total + (self._start - monotonic_ns()) / _S
            await asyncio.wait_for(asyncio.shield(self._over), max(0.0, left))
        except asyncio.TimeoutError:
            self._end_all()
        finally:
            look.cancel()
            self._alarm.close()
            for connection in (*self._idle, *self._busy):
                connection.close()

    def _send_due(self) -> None:
        """Send all that is due, and set the alarm for what comes next."""
        assert self._over is not None
        assert self._alarm is not None
        if self._sending or self._over.done():  # a call that fails at once makes room for the next: the loop sees it
            return
        self._sending = True
        while (due := self._pacing.take(monotonic_ns())) is not None:
            at, call = due
            self._dispatch(call, Exchange(call.index, at))
        self._sending = False
        wake = self._pacing.wake()
        self._alarm.set(wake)
        if wake is None and not self._busy and not self._opening:
            self._over.set_result(None)

    def _dispatch(self, call: Call, exchange: Exchange) -> None:
        """Send on an idle connection, or else on a new one.

        The server is least likely to have closed the one that was used last.
        """
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.open:
                self._send(connection, call, exchange, 0)
                return
        self._on_fresh(call, exchange)

    def _on_fresh(self, call: Call, exchange: Exchange) -> None:
        """Send on a new connection."""
        began = monotonic_ns()

        async def opened() -> None:
            try:
                connection = await self._opener.open(self)
            except NotOpened as error:
                self._not_sent(call, exchange, error.failure, str(error))
            else:
                if exchange.end_ns:  # given up in the meantime
                    connection.close()
                elif not connection.open:
                    self._not_sent(call, exchange, "sent", "the server closed the connection as soon as it was open")
                else:
                    self._send(connection, call, exchange, monotonic_ns() - began)

        task = asyncio.get_running_loop().create_task(opened())
        self._opening[task] = call, exchange
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)
        self._send_due()

    def fail(self, error: BaseException) -> None:
        """End the run with an error of the load generator itself."""
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _send(self, connection: Connection, call: Call, exchange: Exchange, connecting: int) -> None:
        self._busy[connection] = None
        connection.send(call, exchange)
        if exchange.index not in self.retried:
            assert exchange.sent_ns is not None
            self.lags_ns.append(exchange.sent_ns - exchange.due_ns - connecting)

    def _not_sent(self, call: Call, exchange: Exchange, failure: str, detail: str) -> None:
        """A call for which there was no connection."""
        if exchange.end_ns:
            return
        exchange.end_ns, exchange.failure, exchange.detail = monotonic_ns(), failure, detail
        self._over_with(call, exchange)

    def _over_with(self, call: Call, exchange: Exchange) -> None:
        """A call has ended."""
        self._pacing.ended(call, exchange.end_ns)
        self._send_due()
        self._finished(call, exchange)

    def ended(self, connection: Connection, call: Call, exchange: Exchange) -> None:
        """Called by a connection: the exchange is over; the next one may be sent on it."""
        self._busy.pop(connection, None)
        if connection.open:
            self._idle[connection] = None
        self._over_with(call, exchange)

    def unanswered(self, connection: Connection, call: Call, exchange: Exchange) -> None:
        """Called by a connection: the server had closed it before the call was sent; that is tried again, once."""
        self._busy.pop(connection, None)
        if exchange.index in self.retried:
            self._not_sent(call, exchange, "cut", "the connection ended without an answer")
            return
        self.retried.add(exchange.index)
        self._on_fresh(call, exchange)

    def lost(self, connection: Connection) -> None:
        """Called by a connection: it is closed."""
        self._opener.closed()
        self._idle.pop(connection, None)

    async def _look_for_stalled(self) -> None:
        """End streams that pause for too long."""
        stall = self._limits.stall
        while True:
            await asyncio.sleep(min(_LONGEST_LOOK_S, stall / _LOOKS))
            oldest = monotonic_ns() - int(stall * _S)
            for connection in tuple(self._busy):
                exchange = connection.exchange
                if exchange is None or exchange.sent_ns is None:
                    continue
                since = exchange.pieces[-1][0] if exchange.pieces else exchange.sent_ns
                if since < oldest:
                    connection.give_up("stalled", f"no byte for {stall:g} s")

    def _end_all(self) -> None:
        """The run's time is over: give up what is under way, and send nothing more."""
        assert self._over is not None
        if not self._over.done():
            self._over.set_result(None)
        total = f"not over when the run's time was, {self._limits.total:g} s"
        now = monotonic_ns()
        waiting = self._pacing.waiting(now)
        for task, (call, exchange) in tuple(self._opening.items()):
            task.cancel()
            self._not_sent(call, exchange, "deadline", total)
        for connection in tuple(self._busy):
            connection.give_up("deadline", total)
        before = "the call before it was not over when the run's time was"
        for at, call in waiting:
            exchange = Exchange(call.index, at, end_ns=now, failure="cancelled", detail=before)
            self._finished(call, exchange)
