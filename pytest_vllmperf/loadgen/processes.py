"""Client processes: how many, starting them, handing the job over, and collecting what came back."""

from __future__ import annotations

import math
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from pytest_vllmperf.errors import EngineError, WorkloadError
from pytest_vllmperf.loadgen import wire
from pytest_vllmperf.loadgen.audit import quantile_ns
from pytest_vllmperf.loadgen.job import Call, Job
from pytest_vllmperf.records.answers import Answer, ClientProcess

_REQUEST_S: Final = 150e-6
_TOKEN_S: Final = 15e-6
"""CPU seconds that a request and a streamed token cost, as `bench/client.py` measures them, rounded up."""

_FASTEST: Final = 200
"""Tokens a second of one stream of a closed loop, whose rate nobody knows beforehand; few servers exceed it."""

_CORE: Final = 0.5
"""The share of a core that a process is planned for. Above it requests wait for each other in the process."""

_TICK_S: Final = 0.25
_HANDOVER_S: Final = 60.0
_SILENCE_S: Final = 120.0
_LEAD_NS: Final = 30_000_000
"""From telling the processes when to start until then."""

_CHUNK: Final = 1 << 20
_KEPT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "TMPDIR",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TZ",
)
_BOOT: Final = (
    "import sys; sys.path[:1] = [sys.argv[1]]; from pytest_vllmperf.loadgen.process import main; "
    "main(sys.argv[2], *map(int, sys.argv[3:]))"
)
_READER: Final = "pytest_vllmperf.loadgen.reading"
_BUDGET: Final = 192 << 20
"""Bytes of memory that exchanges of all processes may take until they are read."""


@dataclass
class Collected:
    """What one client process handed over.

    Attributes:
        answers: of its share, in the order in which they ended.
        lags_ns: of each request that was sent.
        process: what it says of itself; None until it has told.
        notes: what a person should know.
    """

    answers: list[Answer] = field(default_factory=list)
    lags_ns: array[int] = field(default_factory=lambda: array("q"))
    process: ClientProcess | None = None
    notes: list[str] = field(default_factory=list)


def shares(job: Job, count: int) -> list[Job]:
    """A job dealt out round robin to processes; what follows another call stays with it. Places are split.

    Args:
        job: what to send.
        count: how many processes; never more than there are calls that follow none, and places of a closed loop.

    Raises:
        WorkloadError: for a call that follows one that is not before it.
    """
    beginnings = sum(call.after is None for call in job.calls)
    count = max(1, min(count, beginnings, count if job.concurrency is None else job.concurrency))
    dealt: list[list[Call]] = [[] for _ in range(count)]
    home: dict[int, int] = {}
    roots = 0
    for call in job.calls:
        if call.after is None:
            home[call.index], roots = roots % count, roots + 1
        elif call.after in home:
            home[call.index] = home[call.after]
        else:
            raise WorkloadError(f"request {call.index} follows request {call.after}, which is not before it")
        dealt[home[call.index]].append(call)
    return [
        Job(
            job.server,
            tuple(calls),
            None if job.concurrency is None else _part(job.concurrency, number, count),
            job.keep_alive,
            1,
            job.limits,
        )
        for number, calls in enumerate(dealt)
        if calls
    ]


def _part(places: int, number: int, count: int) -> int:
    return places // count + (number < places % count)


def needed(job: Job, cores: int) -> int:
    """How many client processes a job needs: its expected CPU time a second over half a core.

    The rate of an open loop is its schedule's; streams of a closed loop are taken to be as fast as a fast server's.

    Args:
        job: what to send; its `processes` decides where it is given.
        cores: processors of this machine: never more processes than these.
    """
    if job.processes is not None:
        return max(1, min(job.processes, cores))
    calls = job.calls
    if not calls:
        return 1
    tokens = sum(call.output_tokens if call.stream else 1 for call in calls) / len(calls)
    if job.concurrency is not None:
        rate = job.concurrency * _FASTEST / max(tokens, 1.0)
    else:
        rate = len(calls) / max(1.0, max(call.due_ns or 0 for call in calls) / 1e9)
    return max(1, min(cores, math.ceil(rate * (_REQUEST_S + tokens * _TOKEN_S) / _CORE)))


def run_shares(
    parts: Sequence[Job], on_tick: Callable[[float], None], reader: str = _READER, budget: int = _BUDGET
) -> tuple[int, list[Collected]]:
    """Run one process for each share, from one start.

    Args:
        parts: of `shares`.
        on_tick: called about four times a second with the seconds since the start; what it raises ends the processes.
        reader: the module whose `read` makes answers.
        budget: bytes of memory that exchanges of all processes may take until they are read.

    Returns:
        When the schedule began, in monotonic nanoseconds, and what each process handed over.

    Raises:
        EngineError: when a process cannot be started, or does not do its work.
    """
    with ExitStack() as ends:
        clients = []
        for _ in parts:
            clients.append(_Client(reader, budget // len(parts)))
            ends.callback(clients[-1].close)
        for client, part in zip(clients, parts, strict=True):
            client.hand_over(part)
        for client in clients:
            client.wait_ready()
        start_ns = time.monotonic_ns() + _LEAD_NS
        for client in clients:
            client.send(wire.packed({"start_ns": start_ns}))
        _collect(clients, start_ns, parts[0].limits.total if parts else 0.0, on_tick)
    return start_ns, [client.collected for client in clients]


def _collect(clients: Sequence[_Client], start_ns: int, total: float, on_tick: Callable[[float], None]) -> None:
    """Take what the processes say until each has said all."""
    poll = select.poll()
    open_ones = {client.fileno(): client for client in clients}
    for number in open_ones:
        poll.register(number, select.POLLIN)
    last_word, next_tick = time.monotonic() + total, time.monotonic() + _TICK_S
    while open_ones:
        for number, _ in poll.poll(max(0.0, next_tick - time.monotonic()) * 1000):
            last_word = max(last_word, time.monotonic())
            if open_ones[number].receive():
                poll.unregister(number)
                del open_ones[number]
        if time.monotonic() >= next_tick:
            next_tick = time.monotonic() + _TICK_S
            on_tick((time.monotonic_ns() - start_ns) / 1e9)
        if time.monotonic() > last_word + _SILENCE_S:
            raise EngineError(f"the load generator has said nothing for {_SILENCE_S:g} s after the end of its run")


class _Client:
    """One client process, seen from the parent.

    Args:
        reader: the module whose `read` makes answers.
        budget: bytes of memory that exchanges may take until they are read.

    Raises:
        EngineError: when it cannot be started.
    """

    def __init__(self, reader: str, budget: int) -> None:
        self.collected = Collected()
        self._unpacker = wire.Unpacker()
        self._ready = False
        try:
            self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            self._channel, child_end = socket.socketpair()
            with child_end:
                self._process = _started(reader, child_end.fileno(), budget, self._errors)
        except OSError as error:
            raise EngineError(f"the load generator cannot be started: {error.strerror or error}") from None

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._channel.fileno()

    def hand_over(self, job: Job) -> None:
        """Send the process its share."""
        self._channel.settimeout(_HANDOVER_S + job.limits.connect)
        for frame in wire.job_frames(job, job.calls):
            self.send(frame)

    def send(self, frame: bytes) -> None:
        """Send one message."""
        try:
            self._channel.sendall(frame)
        except OSError as error:
            self._failed(f"does not take its work ({error})")

    def wait_ready(self) -> None:
        """Until the process can start."""
        while not self._ready:
            self.receive()

    def receive(self) -> bool:
        """Take what there is; whether the process has said all."""
        try:
            data = self._channel.recv(_CHUNK)
        except OSError as error:
            self._failed(f"does not answer ({error})")
        if not data:
            self._failed("has ended before its work was done")
        for frame in self._unpacker.feed(data):
            self._take(frame)
        return self.collected.process is not None

    def _take(self, frame: wire.Frame) -> None:
        told = frame.told
        if "answers" in told:
            self.collected.answers.extend(wire.answers_of(frame))
        elif "ready" in told:
            self._ready = True
        elif "failed" in told:
            raise EngineError(f"the load generator failed: {told['failed']}", self._tail())
        elif "over" in told:
            over = told["over"]
            found, place = [], 0
            for code, count in over["arrays"]:
                end = place + count * array(code).itemsize
                found.append(wire.integers(code, frame.raw[place:end]))
                place = end
            self.collected.lags_ns, delays = found
            self.collected.notes = over["notes"]
            self.collected.process = ClientProcess(over["cpu_share"], quantile_ns(delays, 0.99))

    def _failed(self, what: str) -> None:
        """Raise for a process that did not do its work, with how it ended and its last words.

        Raises:
            EngineError: always.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.returncode
        how = "" if code is None else f", exit status {code}" if code >= 0 else f", by signal {-code}"
        raise EngineError(f"a process of the load generator {what}{how}", self._tail())

    def _tail(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-4000:]

    def close(self) -> None:
        """End the process at once, if it has not ended."""
        self._channel.close()
        if self.collected.process is None:
            self._process.kill()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def _started(reader: str, control: int, budget: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a process.

    The kernel sends a process its parent-death signal when the *thread* that started it ends: here that thread waits
    until the run is over. What the environment holds of keys is not handed on.
    """
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", _BOOT, root, reader, str(control), str(os.getpid()), str(budget)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=[control],
        env=environment(os.environ),
        start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
    )


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a client process: the variables that Python and TLS need, and none that may hold a key."""
    return {name: value for name, value in ours.items() if name in _KEPT or name.startswith(("LC_", "PYTHON"))}
