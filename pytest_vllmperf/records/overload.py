"""A server under more load than it can serve: what is offered to it, and what it made of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_vllmperf.records.served import Slo


@dataclass(frozen=True)
class OverloadPlan:
    """What is offered, and what has to hold.

    Attributes:
        slo: the promise on each request that the server accepts.
        factor: offered rate over capacity; above 1.
        seconds: for which it is offered.
        margin: tolerated relative loss: of the goodput against that at capacity, and of the TTFT after the overload
            against that before it.
        recovery: seconds after the offered load has ended, within which the server has to be as before.
    """

    slo: Slo
    factor: float = 3.0
    seconds: float = 30.0
    margin: float = 0.1
    recovery: float = 10.0


@dataclass(frozen=True)
class Counts:
    """What became of the requests of one phase.

    Each request is counted once: in `answered`, `shed`, `refused` or `broken`.

    Attributes:
        due: all requests.
        answered: complete answers.
        kept: of these, the ones that kept the promise.
        shed: refused with 429 or 503.
        refused: no connection.
        broken: any other failure, by its kind in `records.answers.FAILURES`; `short` is an answer that ended with fewer
            tokens than were asked for, where the server gave all of them to requests that came one at a time.
        example: what the first broken one met, in words; empty without one.
    """

    due: int = 0
    answered: int = 0
    kept: int = 0
    shed: int = 0
    refused: int = 0
    broken: Mapping[str, int] = field(default_factory=dict)
    example: str = ""

    @property
    def late(self) -> int:
        """Complete answers that did not keep the promise."""
        return self.answered - self.kept

    @property
    def failed(self) -> int:
        """Requests without a complete answer."""
        return self.due - self.answered


@dataclass(frozen=True)
class Recovery:
    """Single requests that were sent at a low rate after the offered load had ended.

    Attributes:
        counts: of all of them.
        seconds: from the end of the offered load until the first request from which on every one was answered with the
            TTFT of before; None where there was none.
        ttft: seconds, the median of the last requests; None where none of them was answered.
        most: seconds, the TTFT up to which the server is as before.
    """

    counts: Counts
    seconds: float | None
    ttft: float | None
    most: float


@dataclass(frozen=True)
class Overload:
    """What a server did under more load than it can serve.

    Attributes:
        capacity: requests/s that a closed loop was answered; 0 where that could not be measured.
        concurrency: requests in flight of that closed loop.
        unloaded_ttft: seconds, the median of requests that were sent one at a time; None where none was answered.
        goodput_at_capacity: requests/s of the closed loop that kept the promise.
        offered: requests/s of the overload.
        seconds: for which it was offered.
        single: the requests that were sent one at a time before.
        closed: the requests of the closed loop.
        load: the requests of the overload; None where it was not offered, as there was no capacity to exceed.
        goodput_rate: requests/s of the overload that kept the promise, while the server was full.
        ttft_p50: seconds, of complete answers under overload; None without any.
        ttft_p99: the same, 99th percentile.
        shed_p99: seconds from when a request was due until it was refused, 99th percentile; None without any.
        retry_after: refusals that told when to come again.
        in_flight_max: most requests in flight at once, seen from the client.
        queue_max: most requests that waited in the server by its own figures, sampled once a second; None where it
            tells none.
        recovery: what followed; None where the overload was not offered.
        vram_before: bytes that the engine's processes held before the overload; None on a CPU or of an endpoint.
        vram_after: the same after the recovery.
        client: why the load generator was the limit, by phase; empty for a result that counts.
        notes: what a person should know.
    """

    capacity: float
    concurrency: int
    unloaded_ttft: float | None
    goodput_at_capacity: float
    offered: float
    seconds: float
    single: Counts
    closed: Counts
    load: Counts | None = None
    goodput_rate: float = 0.0
    ttft_p50: float | None = None
    ttft_p99: float | None = None
    shed_p99: float | None = None
    retry_after: int = 0
    in_flight_max: int = 0
    queue_max: float | None = None
    recovery: Recovery | None = None
    vram_before: int | None = None
    vram_after: int | None = None
    client: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> int:
        """Complete answers under overload."""
        return self._load.answered

    @property
    def shed(self) -> int:
        """Requests that were refused with 429 or 503 under overload."""
        return self._load.shed

    @property
    def refused(self) -> int:
        """Requests that got no connection under overload."""
        return self._load.refused

    @property
    def broken(self) -> Mapping[str, int]:
        """Requests that failed in any other way under overload, by kind."""
        return self._load.broken

    @property
    def recovery_seconds(self) -> float | None:
        """Seconds until the server was as before; None where it was not within the time."""
        return None if self.recovery is None else self.recovery.seconds

    @property
    def _load(self) -> Counts:
        return self.load or Counts()
