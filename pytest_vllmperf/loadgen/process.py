"""What a client process runs: takes its share of the job, sends, reads what came back, and hands it over."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from importlib import import_module
from time import monotonic_ns
from typing import Any, Final

from pytest_vllmperf.loadgen import wire
from pytest_vllmperf.loadgen.alarm import Alarm
from pytest_vllmperf.loadgen.backlog import Backlog, Reader
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Call, Job
from pytest_vllmperf.loadgen.opening import Opener, descriptors_left, raise_limit
from pytest_vllmperf.loadgen.pacing import ClosedLoop, OpenLoop, Pacing
from pytest_vllmperf.loadgen.sender import Sender

_PR_SET_PDEATHSIG: Final = 1
_PULSE_NS: Final = 20_000_000
"""How often it is looked how late the event loop is."""

_S: Final = 10**9
_CHUNK: Final = 1 << 20


class Share:
    """One process's share of a job, from its start to the answers.

    Args:
        job: what to send.
        read: makes an answer of what happened.
        budget: bytes of memory that exchanges may take until they are read.
    """

    def __init__(self, job: Job, read: Reader, budget: int) -> None:
        self._job = job
        self._backlog = Backlog(read, budget)
        self._reading = False
        self._delays_ns: array[int] = array("q")
        self._due_ns = 0
        self._cpu_share = 0.0
        self.notes: list[str] = []
        self._ended = 0
        self._opener = Opener(job.server, job.limits.connect, keep_alive=job.keep_alive, most=descriptors_left())
        self._sender = Sender(self._opener, job.limits, self._finished)
        self.lags_ns: array[int] = array("q")

    async def prepare(self) -> None:
        """Do what is not to be timed: look up the server's address; open the connections that a closed loop keeps."""
        await self._opener.resolve()
        if self._job.keep_alive and self._job.concurrency is not None:
            first = sum(call.after is None for call in self._job.calls)
            await self._sender.open_beforehand(min(self._job.concurrency, first))

    async def run(self, start_ns: int, until_gone: int | None = None) -> None:
        """Send all calls and wait until each has ended.

        Args:
            start_ns: when the schedule begins, in monotonic nanoseconds.
            until_gone: a socket whose end means that the parent is gone: this process then ends at once.
        """
        loop = asyncio.get_running_loop()
        if until_gone is not None:
            loop.add_reader(until_gone, os._exit, 1)
        sender = self._sender
        loop.set_exception_handler(lambda _, context: self._wrong(sender, context))
        pulse = Alarm(loop, lambda: self._beat(pulse))
        self._due_ns = max(start_ns, monotonic_ns()) + _PULSE_NS
        pulse.set(self._due_ns)
        await asyncio.sleep(max(0.0, (start_ns - monotonic_ns()) / _S - 0.005))
        cpu, wall = time.process_time(), time.monotonic()
        try:
            await sender.run(self._pacing(start_ns), start_ns)
        finally:
            self._cpu_share = (time.process_time() - cpu) / max(time.monotonic() - wall, 1e-9)
            pulse.close()
            if until_gone is not None:
                loop.remove_reader(until_gone)
        self.lags_ns = sender.lags_ns
        self._tell(sender)

    def frames(self) -> Iterator[bytes]:
        """The answers, then what this process says of itself."""
        yield from self._backlog.frames()
        arrays = [wire.narrowed(values) for values in (self.lags_ns, self._delays_ns)]
        told = {
            "arrays": [(values.typecode, len(values)) for values in arrays],
            "cpu_share": self._cpu_share,
            "notes": self.notes,
        }
        yield wire.packed({"over": told}, b"".join(values.tobytes() for values in arrays))

    def _pacing(self, start_ns: int) -> Pacing:
        job = self._job
        budget = job.limits.send_for
        until = None if budget is None else start_ns + int(budget * _S)
        if job.concurrency is None:
            return OpenLoop(job.calls, start_ns, until)
        return ClosedLoop(job.calls, job.concurrency, start_ns, until)

    def _beat(self, pulse: Alarm) -> None:
        """Note how late the event loop is."""
        now = monotonic_ns()
        self._delays_ns.append(now - self._due_ns)
        self._due_ns = now + _PULSE_NS
        pulse.set(self._due_ns)

    def _finished(self, call: Call, exchange: Exchange) -> None:
        """Keep an exchange; where there is no room for more, read some, one at a time between other events."""
        self._ended += 1
        self._backlog.add(call, exchange)
        if self._backlog.over and not self._reading:
            self._reading = True
            asyncio.get_running_loop().call_soon(self._read_some)

    def _read_some(self) -> None:
        self._reading = self._backlog.over
        if self._reading:
            self._backlog.read_one()
            asyncio.get_running_loop().call_soon(self._read_some)

    @staticmethod
    def _wrong(sender: Sender, context: dict[str, Any]) -> None:
        """Called by the event loop: errors of a connection are told to its protocol; any other one ends the run."""
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):
            sender.fail(error)

    def _tell(self, sender: Sender) -> None:
        """Put down what a person should know."""
        if sender.retried:
            self.notes.append(f"requests sent again, as their idle connection had been closed: {len(sender.retried)}")
        if self._opener.refused:
            self.notes.append(f"requests without a connection: {self._opener.refused}; {self._opener.limit()}")
        left = len(self._job.calls) - self._ended
        if left:
            self.notes.append(f"requests not sent, as they were not due before the time was over: {left}")


def main(reader: str, control: int, parent: int, budget: int) -> None:
    """Run one client process.

    Args:
        reader: the module whose `read` makes answers.
        control: descriptor of the socket to the parent.
        parent: its process id.
        budget: bytes of memory that exchanges may take until they are read.
    """
    _die_with(parent)
    with socket.socket(fileno=control) as channel:
        try:
            _serve(channel, reader, budget)
        except (BrokenPipeError, ConnectionResetError):
            sys.exit(1)
        except ImportError as error:
            channel.sendall(wire.packed({"failed": f"{error}; install pytest-vllmperf[serve]"}))
        except Exception as error:
            channel.sendall(wire.packed({"failed": f"{type(error).__name__}: {error}"}))
            raise


def _serve(channel: socket.socket, reader: str, budget: int) -> None:
    import uvloop

    raise_limit()
    messages = _messages(channel)
    share = Share(wire.job_of(messages), import_module(reader).read, budget)
    loop = uvloop.new_event_loop()
    loop.run_until_complete(share.prepare())
    channel.sendall(wire.packed({"ready": True}))
    start_ns = next(messages).told["start_ns"]
    gc.collect()
    gc.freeze()
    gc.disable()
    loop.run_until_complete(share.run(start_ns, channel.fileno()))
    channel.setblocking(True)  # the event loop had made it non-blocking, to notice its end
    for frame in share.frames():
        channel.sendall(frame)


def _messages(channel: socket.socket) -> Iterator[wire.Frame]:
    """What the parent says, until it is gone."""
    unpacker = wire.Unpacker()
    while data := channel.recv(_CHUNK):
        yield from unpacker.feed(data)
    sys.exit(1)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
