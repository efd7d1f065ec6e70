"""The scripted server seen from tests and benches: starting it, calls for it, and a client's share in this process."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Api, Call, Job, Limits, Server
from pytest_vllmperf.loadgen.process import Share
from pytest_vllmperf.records.answers import Answer

SCRIPT = Path(__file__).with_name("scripted_server.py")
NOTHING_LONG = Limits(connect=20.0, stall=20.0, total=40.0)


@dataclass(frozen=True)
class Scripted:
    """A server that runs."""

    port: int
    pid: int

    @property
    def server(self) -> Server:
        return Server("127.0.0.1", self.port)

    def ask(self, method: str, path: str, content: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if content is None else json.dumps(content))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def conduct(self, *scripts: dict[str, Any], **given: object) -> None:
        """Say how the server is to conduct itself until it is reset: scripts of answers, in turns, and its settings."""
        self.ask("POST", "/conduct", {**({"scripts": scripts} if scripts else {}), **given})

    def told(self) -> Any:
        """What it knows of requests, and how many connections it has seen; this question's own is left out."""
        told = self.ask("GET", "/sent")
        return {**told, "connections": told["connections"] - 1, "open": told["open"] - 1}


@contextmanager
def scripted_server(*arguments: str) -> Iterator[Scripted]:
    """A scripted server in a process of its own, which ends with this block."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Scripted(json.loads(process.stdout.readline())["port"], process.pid)
    finally:
        process.kill()
        process.communicate()


def call(index: int, script: dict[str, Any] | None = None, **given: Any) -> Call:
    """A call that the scripted server answers by its script; it knows it by its index."""
    api, stream = given.pop("api", Api.COMPLETIONS), given.pop("stream", True)
    tokens = given.pop("tokens", 4)
    asked: dict[str, Any] = {"model": "scripted", "max_tokens": tokens, "script": {"id": str(index), **(script or {})}}
    asked |= {"messages": [{"role": "user", "content": "x"}]} if api is Api.CHAT else {"prompt": "x"}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(asked | given.pop("extra", {})).encode()
    head = (
        f"POST /v1/{api.value} HTTP/1.1\r\nHost: scripted\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Call(index, head.encode(), body, api, stream, output_tokens=tokens, **given)


@dataclass
class Seen:
    """What a share of a job saw."""

    start_ns: int
    exchanges: dict[int, Exchange]
    notes: list[str]
    lags_ns: list[int]

    @property
    def failures(self) -> list[str]:
        return [self.exchanges[index].failure for index in sorted(self.exchanges)]

    def body(self, index: int) -> bytes:
        """All bytes that came for a call."""
        return b"".join(data for _, data in self.exchanges[index].pieces)


def send(server: Server, calls: Sequence[Call], **given: Any) -> Seen:
    """Send calls from an event loop in this process, and give what happened, unread."""
    kept: dict[int, Exchange] = {}

    def read(call: Call, exchange: Exchange) -> Answer:
        kept[call.index] = exchange
        return Answer(call.index, exchange.due_ns)

    job = Job(server, tuple(calls), **{"limits": NOTHING_LONG, **given})

    async def main() -> tuple[Share, int]:
        share = Share(job, read, 1 << 30)
        await share.prepare()
        start = time.monotonic_ns() + 5_000_000
        await share.run(start)
        return share, start

    share, start = uvloop.run(main())
    for _ in share.frames():
        pass
    return Seen(start, kept, share.notes, share.lags_ns.tolist())
