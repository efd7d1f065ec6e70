"""A gateway for tests: admission with a bounded queue and a circuit breaker, in front of a backend with a few slots.

    python gateway.py [--slots N] [--queue N] [--flaw NAME]

It runs as a process of its own and prints one line of JSON with its port. The backend is scripted: it streams tokens at
fixed times, and as many streams at once as it has slots, so that capacity is a matter of slots and not of processors. A
flaw, a name in `FLAWS`, is what one may get wrong in such a gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

FIRST_S = 0.10
GAP_S = 0.04
FLAWS = (
    "",
    "endless-queue",  # accepts everything
    "panic",  # refuses all for as long as requests come quickly, once the queue was full
    "breaks",  # of accepted requests some are cut off, some get an error with a 200, some too few tokens
    "never-closes",  # the circuit breaker opens and stays open
    "grudge",  # refuses all once the overload is over
    "leak",  # every refusal makes later requests slower
    "slow-refusal",  # refuses late
    "jumpy",  # refuses every fourth request at any load
)
_LONG_S = 1.6
_PANIC_S = 0.2
_LEAK_S = 0.01
_MOST_LEAKED_S = 0.4


class Breaker:
    """Opens when most of the latest requests were refused, and lets requests through again after a while."""

    def __init__(self, flaw: str) -> None:
        self._flaw = flaw
        self._latest: deque[bool] = deque(maxlen=20)
        self._until = 0.0

    def is_open(self) -> bool:
        return monotonic() < self._until

    def saw(self, refused: bool) -> None:
        """Take in what became of a request."""
        self._latest.append(refused)
        if refused and self._flaw == "panic":
            self._until = monotonic() + _PANIC_S
        elif not self.is_open() and sum(self._latest) >= 10:
            self._until = float("inf") if self._flaw == "never-closes" else monotonic() + 0.2
            self._latest.clear()


@dataclass
class Gateway:
    """Admission, breaker and backend."""

    slots: int
    queue: int
    flaw: str

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.flaw)
        self.free = asyncio.Semaphore(self.slots)
        self.inside = 0
        self.refused = 0
        self.numbers = count(1)
        self.last = monotonic()
        self.bears_grudge = False

    async def completions(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        number = next(self.numbers)
        pause, self.last = monotonic() - self.last, monotonic()
        # Requests that come alone, after more than a few were refused: the overload is over.
        self.bears_grudge |= self.flaw == "grudge" and self.refused > 20 and pause > 0.15 and self.inside <= 1
        if self.flaw == "leak":
            await asyncio.sleep(min(_MOST_LEAKED_S, self.refused * _LEAK_S))
        if (self.flaw == "jumpy" and number % 4 == 0) or self.bears_grudge:
            return self._refusal(429)
        if self.breaker.is_open():
            return await self._refuse(503)
        if self.flaw != "endless-queue" and self.inside >= self.slots + self.queue:
            return await self._refuse(429)
        self.breaker.saw(refused=False)
        return await self._admit(asked, number)

    async def _refuse(self, status: int) -> Response:
        self.refused += 1
        self.breaker.saw(refused=True)
        if self.flaw == "slow-refusal":
            await asyncio.sleep(_LONG_S)
        return self._refusal(status)

    def _refusal(self, status: int) -> Response:
        return JSONResponse({"error": {"message": "too busy"}}, status, {"Retry-After": "1"})

    async def _admit(self, asked: dict[str, Any], number: int) -> Response:
        strained = self.inside >= self.slots
        self.inside += 1
        try:
            await self.free.acquire()
        except BaseException:
            self.inside -= 1
            raise
        fault = {0: "cut", 1: "error", 2: "short"}.get(number % 6, "") if self.flaw == "breaks" and strained else ""
        if fault == "error":
            self._over()
            return JSONResponse({"error": {"message": "upstream is gone"}})
        return StreamingResponse(self._stream(int(asked["max_tokens"]), fault), media_type="text/event-stream")

    async def _stream(self, tokens: int, fault: str) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        due = loop.time() + FIRST_S
        sent = tokens // 2 if fault else tokens
        try:
            for place in range(sent):
                await asyncio.sleep(due - loop.time())
                due += GAP_S
                choice = {"index": 0, "text": " a", "finish_reason": "length" if place == sent - 1 else None}
                yield event({"choices": [choice]})
                if fault == "cut" and place == sent - 2:
                    raise ConnectionError("scripted")
        finally:
            self._over()
        usage = {"prompt_tokens": 8, "completion_tokens": sent, "total_tokens": 8 + sent}
        yield event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"

    def _over(self) -> None:
        self.inside -= 1
        self.free.release()


def event(content: dict[str, Any]) -> bytes:
    told = {"id": "scripted", "object": "text_completion", "created": 1, "model": "scripted", **content}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


async def models(_: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "scripted"}]})


async def serve(asked: argparse.Namespace) -> None:
    gateway = Gateway(asked.slots, asked.queue, asked.flaw)
    app = Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/completions", gateway.completions, methods=["POST"]),
        ]
    )
    # With its protocol named, asyncio sets TCP_NODELAY: else a refusal waits 40 ms for the client's acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    sys.stdout.write(json.dumps({"port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_keep_alive=60)
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--queue", type=int, default=4)
    parser.add_argument("--flaw", choices=FLAWS, default="")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
