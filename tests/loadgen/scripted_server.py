"""A server of OpenAI's interface that knows what it sent, and when: run as a process of its own.

    python scripted_server.py [--port N] [--tls CERT KEY] [--script JSON]

It prints one line of JSON with its port. What an answer is like stands in each request's body, `{"script": {...}}`,
over what the server's own script says: see `scripted_events.Script`. `GET /sent` tells, for each request by its `id`,
when its head and body had arrived and when each piece was sent, in monotonic nanoseconds; `POST /reset` forgets that.
`POST /conduct` sets how the server conducts itself until `/reset`: see `Conduct`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import heapq
import json
import os
import resource
import signal
import socket
import ssl
import struct
import sys
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic_ns
from typing import Any, cast

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from pytest_vllmperf.loadgen.alarm import Alarm
from tests.loadgen.scripted_events import Events, Script, whole


@dataclass
class Record:
    """What was seen and sent of one request, in monotonic nanoseconds."""

    arrived: int
    sent: array[int] = field(default_factory=lambda: array("q"))
    closed: bool = False


@dataclass(frozen=True)
class Conduct:
    """How a server conducts itself with all requests.

    Attributes:
        scripts: of answers, in turns by the order in which requests arrive.
        key: that requests have to bring; empty for any, or none.
        slots: answers that are made at once, others wait for their turn; 0 for all.
        model: the name that it lists.
    """

    scripts: tuple[dict[str, Any], ...] = ({},)
    key: str = ""
    slots: int = 0
    model: str = "scripted"


class Clock:
    """Calls functions when they are due, from one timer of the kernel."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._alarm = Alarm(loop, self._ring)

    def call_at(self, at_ns: int, function: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at_ns, next(self._numbers), function))
        if self._heap[0][0] == at_ns:
            self._alarm.set(at_ns)

    def _ring(self) -> None:
        heap = self._heap
        while heap and heap[0][0] <= monotonic_ns():
            heapq.heappop(heap)[2]()
        self._alarm.set(heap[0][0] if heap else None)


class Server:
    """What all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, default: dict[str, Any]) -> None:
        self.clock = Clock(loop)
        self._first = self.conduct = Conduct((default,))
        self.records: dict[str, Record] = {}
        self.numbers = count()
        self.connections = 0
        self.open = 0
        self._events: dict[Any, Events] = {}
        self._turns = count()
        self._answering = 0
        self._waiting: deque[Answering] = deque()

    def change(self, asked: dict[str, Any]) -> None:
        """Conduct itself in another way from now on; what is left out is as it was at the start."""
        self.conduct = Conduct(**{**vars(self._first), **asked})
        self._turns = count()

    def reset(self) -> None:
        """Forget what was sent, and conduct itself as at the start."""
        self.records.clear()
        self.change({})

    def script(self, asked: dict[str, Any]) -> Script:
        """What the next answer is like."""
        scripts = self.conduct.scripts
        return Script(**{**scripts[next(self._turns) % len(scripts)], **asked.get("script", {})})

    def admit(self, one: Answering) -> None:
        """Begin an answer once there is a slot for it."""
        self._waiting.append(one)
        self._next()

    def leave(self) -> None:
        """An answer has ended, and its slot is free."""
        self._answering -= 1
        self._next()

    def _next(self) -> None:
        while self._waiting and (not self.conduct.slots or self._answering < self.conduct.slots):
            self._answering += 1
            self._waiting.popleft().begin()

    def events(self, chat: bool, script: Script, tokens: int, usage: bool) -> Events:
        key = chat, script.crlf, script.usage, script.role, tokens, usage
        if key not in self._events:
            self._events[key] = Events(chat, script, tokens, usage)
        return self._events[key]

    def told(self) -> bytes:
        records = {
            name: {"arrived": record.arrived, "sent": record.sent.tolist(), "closed": record.closed}
            for name, record in self.records.items()
        }
        return json.dumps({"requests": records, "connections": self.connections, "open": self.open}).encode()


class Connection(asyncio.Protocol):
    """One client: requests come one after the other."""

    def __init__(self, server: Server, direct: bool) -> None:
        self.server = server
        self._direct = direct
        self._buffer = b""
        self.record: Record | None = None
        self._answer: Answering | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is of no class of asyncio
        self.server.connections += 1
        self.server.open += 1
        raw = transport.get_extra_info("socket")
        self.socket: socket.socket | None = socket.socket(fileno=socket.dup(raw.fileno()))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.open -= 1
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self.record is not None:
            self.record.closed = True
        if self._answer is not None:
            self._answer.over()

    def send(self, data: bytes) -> None:
        """Send at once: the time of sending is that of the system call."""
        if self.record is not None:
            self.record.sent.append(monotonic_ns())
        if self.socket is None or not self._direct:
            if not self.transport.is_closing():
                self.transport.write(data)
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self.transport.write(data[sent:])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer[:1] not in (b"G", b"P"):
            self.send(whole("400 Bad Request", b""))
            self.transport.close()
            return
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].decode("latin-1")
            lines = head.split("\r\n")
            length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            key = f"authorization: bearer {self.server.conduct.key}".lower()
            if self.server.conduct.key and "/v1/" in lines[0] and key not in map(str.lower, lines):
                self.send(whole("401 Unauthorized", b'{"error": {"message": "another key is needed"}}'))
            else:
                self._request(*lines[0].split(" ")[:2], body, monotonic_ns())

    def _request(self, method: str, path: str, body: bytes, now: int) -> None:
        if method == "GET" and path == "/sent":
            self.send(whole("200 OK", self.server.told()))
        elif method == "POST" and path == "/reset":
            self.server.reset()
            self.send(whole("200 OK", b"{}"))
        elif method == "POST" and path == "/conduct":
            self.server.change(json.loads(body))
            self.send(whole("200 OK", b"{}"))
        elif method == "GET" and path == "/v1/models":
            listed = {"object": "list", "data": [{"id": self.server.conduct.model}]}
            self.send(whole("200 OK", json.dumps(listed).encode()))
        elif method == "POST" and path.endswith("/completions"):
            asked = json.loads(body)
            script = self.server.script(asked)
            name = script.id or str(next(self.server.numbers))
            self.record = self.server.records[name] = Record(now)
            self._answer = Answering(self, script, asked, path.endswith("/chat/completions"))
            self.server.admit(self._answer)
        else:
            self.send(whole("404 Not Found", b'{"error": {"message": "no such path"}}'))


class Answering:
    """One answer, piece by piece, as its script says."""

    def __init__(self, connection: Connection, script: Script, asked: dict[str, Any], chat: bool) -> None:
        self._connection = connection
        self._script = script
        self._stream = bool(asked.get("stream"))
        self._due = 0
        self._ttft = int(script.ttft * 1e9)
        self._gap = int(script.gap * 1e9)
        tokens = script.tokens if script.tokens is not None else asked.get("max_tokens", 16)
        self._tokens = tokens // 2 if script.fault == "fewer" else tokens
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._events = connection.server.events(chat, script, self._tokens, usage)
        self._sent = 0
        self._begun = self._over = False

    def over(self) -> None:
        """Give the slot to another answer, once; one that never had any has none to give."""
        if not self._over:
            self._over = True
            if self._begun:
                self._connection.server.leave()

    def begin(self) -> None:
        self._begun = True
        if self._over:
            self._connection.server.leave()
            return
        self._due = monotonic_ns() + self._ttft
        fault, connection = self._script.fault, self._connection
        refusals = {
            "500": whole("500 Internal Server Error", b'{"error": {"message": "scripted failure", "code": 500}}'),
            "429": whole("429 Too Many Requests", b'{"error": {"message": "scripted"}}', "Retry-After: 7\r\n"),
            "redirect": whole("307 Temporary Redirect", b"", "Location: http://127.0.0.1:1/elsewhere\r\n"),
            "error-body": whole("200 OK", b'{"error": {"message": "scripted failure", "code": 400}}'),
            "not-http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        }
        if fault in refusals:
            connection.send(refusals[fault])
            self.over()
        elif fault == "no-answer":
            connection.transport.abort()
        elif fault != "hold":
            connection.server.clock.call_at(self._due, self._step if self._stream else self._whole)

    def _whole(self) -> None:
        zipped = self._script.fault == "gzip"
        body = gzip.compress(self._events.whole) if zipped else self._events.whole
        self._out(whole("200 OK", body, "Content-Encoding: gzip\r\n" if zipped else ""))
        self._end()

    def _head(self) -> bytes:
        how = {"chunked": "Transfer-Encoding: chunked\r\n", "close": "Connection: close\r\n"}[self._script.framing]
        interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" if self._script.fault == "interim" else ""
        kept = "" if self._script.keep else "Connection: close\r\n"
        return f"{interim}HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{kept}{how}\r\n".encode()

    def _chunk(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._script.framing == "chunked" else data

    def _step(self) -> None:
        """Send one token, or what comes instead of it, and ask to be called for the next."""
        if self._connection.transport.is_closing():
            return
        first, self._sent = self._sent == 0, self._sent + 1
        last = self._sent >= self._tokens
        out = b"".join([self._head(), *map(self._chunk, self._events.role)]) if first else b""
        if self._sent == self._script.at + 1 and self._fault(out):
            return
        token = self._events.last_token if last else self._events.token
        self._out(out + self._chunk(token))
        if last:
            self._end()
            return
        self._due += self._gap
        self._connection.server.clock.call_at(self._due, self._step)

    def _fault(self, before: bytes) -> bool:
        """Do what the script says at this token; whether the answer ends with it."""
        fault, connection, events = self._script.fault, self._connection, self._events
        if fault == "die":
            assert connection.socket is not None
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.transport.abort()
            return True
        if fault == "exit":
            os._exit(1)
        if fault == "half-close":
            assert connection.socket is not None
            connection.socket.shutdown(socket.SHUT_WR)
            return True
        if fault == "stall":
            return True
        if fault == "error-event":
            connection.send(before + self._chunk(events.event({"error": {"message": "scripted failure", "code": 500}})))
            self._end()
            return True
        pieces = {
            "malformed": self._chunk(b'data: {"id": "scripted", "choices": [{\n\n'),
            "bad-chunk": b"zz\r\ndata: {}\n\n\r\n",
            "comments": self._chunk(b": a comment\n\n:another\n\n"),
        }
        if fault in pieces:
            connection.send(before + pieces[fault])
        if fault == "utf8-split":
            whole_one = before + self._chunk(events.token)
            middle = whole_one.index("ö".encode()) + 1
            connection.send(whole_one[:middle])
            connection.send(whole_one[middle:])
            self._sent += 1
        return False

    def _end(self) -> None:
        """Send what follows the tokens, and close the connection where that is due."""
        script, connection = self._script, self._connection
        if self._stream:
            final = b"0\r\nX-Trailer: yes\r\n\r\n" if script.fault == "trailers" else b"0\r\n\r\n"
            end = final if script.framing == "chunked" else b""
            tail = self._events.tail if script.fault != "error-event" else self._events.tail[-1:]
            self._out(b"".join(map(self._chunk, tail)) + end)
        connection.record = None
        self.over()
        if script.framing == "close" or not script.keep or script.fault == "close-idle":
            connection.transport.close()

    def _out(self, data: bytes) -> None:
        size = self._script.split or len(data)
        for start in range(0, len(data), size):
            self._connection.send(data[start : start + size])


async def serve(asked: argparse.Namespace) -> None:
    """Serve until the process is ended, or its standard input is."""
    loop = asyncio.get_running_loop()
    server = Server(loop, json.loads(asked.script))
    tls = None
    if asked.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*asked.tls)
    listener = await loop.create_server(
        lambda: Connection(server, tls is None), "127.0.0.1", asked.port, ssl=tls, backlog=8192
    )
    over = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, lambda: over.done() or over.set_result(None))
    loop.add_reader(sys.stdin.fileno(), lambda: over.done() or over.set_result(None))
    sys.stdout.write(json.dumps({"port": listener.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await over


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--script", default="{}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
