"""A server over HTTP in virtual time: slots, a queue, fixed times. It tells at once what would have come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_vllmperf.engines.over_http import Sent, ServerUse, run_result
from pytest_vllmperf.loadgen import audit
from pytest_vllmperf.loadgen.calls import Address
from pytest_vllmperf.loadgen.job import Server
from pytest_vllmperf.records.answers import Answer, ClientAudit, ClientProcess
from pytest_vllmperf.records.engine import EngineFacts, Sampling
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.served import Served, ServerMetrics
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request

S = 10**9


@dataclass
class VirtualServer:
    """It serves as many requests at once as it has slots, in the order in which they come.

    Attributes:
        slots: requests at once.
        queue: requests that may wait; None for any number, others are shed.
        ttft: seconds from a slot until the first token.
        gap: seconds between tokens.
        connections: that the client may have open; None for any number.
        deaf: seconds from the first request of an open loop, for which it refuses all.
        most_tokens: that it gives to a request; None for what is asked.
    """

    slots: int
    queue: int | None
    ttft: float = 0.1
    gap: float = 0.05
    connections: int | None = None
    deaf: float = 0.0
    most_tokens: int | None = None
    now: int = 0
    spec: EngineSpec = field(
        default_factory=lambda: EngineSpec.create("virtual", backend="endpoint", url="http://v/v1")
    )
    facts: EngineFacts = field(
        default_factory=lambda: EngineFacts("endpoint", "v", 2**20, 1000, (), False, {}, None, None)
    )
    pid: int | None = None
    address: Address = field(default_factory=lambda: Address(Server("v", 1), "virtual"))

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        schedule = sampling.arrivals.schedule(len(requests), sampling.seed)
        concurrency = None if schedule is not None else sampling.concurrency or len(requests)
        self._begin = self.now + S
        answers = tuple(self._answers(requests, schedule, concurrency, sampling.send_for))
        self.now = max(answer.end_ns for answer in answers)
        changes = audit.in_flight(answers)
        steady = audit.steady(changes, concurrency)
        served = Served(
            ClientAudit(0, 0, None, None, (ClientProcess(0.1, 0),)),
            answers,
            server=ServerMetrics(waiting_max=7.0),
            in_flight=changes,
            steady=None if steady is None else (steady[0] / S, steady[1] / S),
        )
        return run_result(Sent(served, (self.now - self._begin) / S), ServerUse())

    def close(self) -> None: ...

    def kill(self) -> None: ...

    def _answers(
        self, requests: Sequence[Request], schedule: Sequence[int] | None, concurrency: int | None, budget: float | None
    ) -> Iterator[Answer]:
        free = [self._begin] * self.slots
        places = [self._begin] * (concurrency or 0)
        inside: list[int] = []
        for request in requests:
            due = heapq.heappop(places) if schedule is None else self._begin + schedule[request.index]
            if budget is not None and due > self._begin + budget * S:
                return
            while inside and inside[0] <= due:
                heapq.heappop(inside)
            deaf = schedule is not None and due < self._begin + self.deaf * S
            answer = self._refusal(request, due, self.slots + 10**6 if deaf else len(inside)) or self._served(
                request, due, free
            )
            if not answer.failure:
                heapq.heappush(inside, answer.end_ns)
            if schedule is None:
                heapq.heappush(places, answer.end_ns)
            yield answer

    def _refusal(self, request: Request, due: int, inside: int) -> Answer | None:
        if self.connections is not None and inside >= self.connections:
            detail = "a client process may have 1 connections open, by its limit of open files (ulimit -Hn)"
            return Answer(request.index, due, end_ns=due + 1, failure="connect", detail=detail)
        if self.queue is not None and inside >= self.slots + self.queue:
            return Answer(request.index, due, due, end_ns=due + S // 1000, status=429, failure="shed", retry_after=1.0)
        return None

    def _served(self, request: Request, due: int, free: list[int]) -> Answer:
        tokens = min(request.output_tokens, self.most_tokens or request.output_tokens)
        first = max(due, heapq.heappop(free)) + round(self.ttft * S)
        last = first + round(self.gap * (tokens - 1) * S)
        heapq.heappush(free, last)
        given = {"output_tokens": tokens, "finish_reason": "length", "status": 200}
        return Answer(request.index, due, due, first, first, last, last, **given)  # type: ignore[arg-type]
