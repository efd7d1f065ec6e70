"""Offers more load than a server can serve, and looks whether it comes through: on one engine, phase by phase.

Warm-up; single requests, for the TTFT of an unloaded server; a closed loop, for the capacity; then, in one run of the
client, the overload and single requests after it. What is seen is judged elsewhere (`verdict.overload`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import ceil

from pytest_vllmperf.engines.base import Engine, Serves, able
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.lab.driving import Driver, OnIteration
from pytest_vllmperf.metrics import overload as figures
from pytest_vllmperf.metrics.promises import keeps
from pytest_vllmperf.records.overload import Counts, Overload, OverloadPlan
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.validity import client
from pytest_vllmperf.workload import Workload
from pytest_vllmperf.workload.arrivals import CLOSED, Arrivals

Vram = Callable[[], "int | None"]
"""Tells the bytes that the engine's processes hold of their devices now; None where that cannot be known."""

_SINGLE = 10
"""Requests that are sent one at a time, before the overload."""
_ROUNDS = 4
"""Requests of a closed loop for each of its places."""
_FEWEST_CLOSED = 8
_GAIN = 1.15
"""Twice the requests in flight bring at least this factor, or the server is full."""
_MOST_IN_FLIGHT = 2048
_FEWEST_OFFERED = 20
"""With fewer requests, single ones would decide."""
_PROBES = 20
_FEWEST_PROBES = 4
_APART = 1.25
"""Time between two probes, in times that a single request takes: the one before has ended."""
_PAUSE_S = 0.2
OWN_LIMITS = ("ulimit -Hn", "no local port is left")
"""What the load generator says where this machine, not the server, had no connection left."""
_NS = 1e-9


@dataclass(frozen=True)
class _Closed:
    """One closed loop.

    Attributes:
        concurrency: requests in flight.
        result: what came back.
        sound: the complete answers.
        counts: of all of them.
        rate: complete answers/s.
    """

    concurrency: int
    result: RunResult
    sound: Sequence[RequestRecord]
    counts: Counts
    rate: float


class _Phases:
    """The phases on one engine; they never send the same prompts, as far as the workload has others."""

    def __init__(
        self, engine: Engine, workload: Workload, plan: OverloadPlan, processes: int | None, tell: OnIteration
    ) -> None:
        self._engine, self._workload, self._plan, self._processes, self._tell = engine, workload, plan, processes, tell
        self._sent = 0
        self._may_end_early = not workload.ignore_eos or bool(workload.asked.tools)
        self.lead = 0.0

    def send(self, count: int, doing: str, **load: object) -> tuple[RunResult, Mapping[int, int]]:
        """Send this many requests; returns what came back, and how many tokens each asked for."""
        self._tell(doing)
        # Arrivals and numbers of requests are made here, so that no combination of them is invalid.
        sent = replace(repeated(self._workload, count, self._sent), **load)  # type: ignore[arg-type]
        self._sent += count
        driver = Driver(self._engine, sent, self._processes)
        asked = {} if self._may_end_early else {one.index: one.output_tokens for one in driver.requests}
        return driver.iterate(), asked

    def warm_up(self) -> None:
        """A few requests that do not count."""
        concurrency = self._workload.concurrency or 2
        result, _ = self.send(2 * concurrency, "warm-up", concurrency=concurrency)
        if len(result.finished) < len(result.requests):
            self._settle()

    def single(self) -> tuple[RunResult, Counts]:
        """Requests one at a time; a server that gives fewer tokens than asked for may do so under load, too."""
        result, asked = self.send(
            _SINGLE, "one request at a time", concurrency=1, send_for=max(self._plan.seconds, self._plan.recovery)
        )
        if any(figures.is_short(one, asked) for one in result.requests):
            self._may_end_early, asked = True, {}
        return result, figures.counts(result.requests, self._plan.slo, asked)

    def closed(self, concurrency: int) -> _Closed:
        """A closed loop with this many requests in flight."""
        count = max(_FEWEST_CLOSED, _ROUNDS * concurrency)
        result, asked = self.send(count, f"{concurrency:,} requests in flight", concurrency=concurrency)
        sound = [one for one in result.requests if figures.complete(one, asked)]
        rate = figures.rate_within(sound, figures.closed_window(result), self.lead, figures.mean_tokens(sound))
        return _Closed(concurrency, result, sound, figures.counts(result.requests, self._plan.slo, asked), rate)

    def capacity(self) -> _Closed:
        """The closed loop that fills the server: the workload's own, else the smallest of a doubling series."""
        if self._workload.concurrency is not None:
            return self.closed(self._workload.concurrency)
        best = self.closed(1)
        while not best.counts.failed and best.concurrency < _MOST_IN_FLIGHT:
            more = self.closed(best.concurrency * 2)
            if more.counts.failed:
                self._settle()
                return best
            if more.rate < best.rate * _GAIN:
                return self.closed(best.concurrency)
            best = more
        return best

    def _settle(self) -> None:
        """Until a server that has begun to shed answers again, for as long as it may take to recover."""
        until = time.monotonic() + self._plan.recovery
        while time.monotonic() < until:
            time.sleep(_PAUSE_S)
            if self.send(1, "one request", concurrency=1)[0].finished:
                return

    def overload(self, rate: float, single: float) -> tuple[RunResult, Mapping[int, int], int]:
        """The overload, and single requests after it, in one run.

        Args:
            rate: requests/s.
            single: seconds that a request takes on an unloaded server.

        Returns:
            What came back, the tokens that each was to get, and how many requests are of the overload.
        """
        plan = self._plan
        count = round(rate * plan.seconds)
        if count < _FEWEST_OFFERED:
            raise WorkloadError(
                f"{self._engine.spec.name}: {rate:.3g} requests/s for seconds={plan.seconds:g} give only "
                f"{count} requests, too few to judge; set seconds= to at least {ceil(_FEWEST_OFFERED / rate)}"
            )
        load = Arrivals("poisson", rate).schedule(count, self._workload.seed) or ()
        apart = min(max(plan.recovery / _PROBES, single * _APART), plan.recovery / _FEWEST_PROBES)
        end = load[-1] * _NS
        probes = [end + apart * number for number in range(1, int(plan.recovery / apart + 1e-6) + 1)]
        due = (*(one * _NS for one in load), *probes)
        result, asked = self.send(
            len(due), f"{rate:.3g} requests/s, {plan.factor:g} times the capacity", arrivals=Arrivals("trace", due=due)
        )
        return result, asked, count


def repeated(workload: Workload, count: int, sent: int) -> Workload:
    """So many requests of a workload, without timing: new ones, or its own from where those before have ended.

    Turns of conversations come each on its own: a turn that waits for another one would be no load.

    Args:
        workload: what is sent.
        count: how many.
        sent: how many were sent before.
    """
    changed = replace(
        workload, count=count, after=(), send_for=None, arrivals=CLOSED, concurrency=None, seed=workload.seed + sent
    )
    if workload.kind == "synthetic":
        return changed
    start = sent % workload.count
    return replace(
        changed,
        inputs=tuple(islice(cycle(workload.inputs), start, start + count)),
        output_lengths=tuple(islice(cycle(workload.output_lengths), start, start + count)),
    )


def overload(
    engine: Engine, workload: Workload, plan: OverloadPlan, processes: int | None, tell: OnIteration, vram: Vram
) -> Overload:
    """Offer more load than a server can serve.

    Args:
        engine: running, driven over HTTP.
        workload: what is sent; a concurrency of its own is that at which the capacity is measured.
        plan: what is offered.
        processes: of the load generator; None for as many as it needs.
        tell: told before each phase.
        vram: what the engine holds of its devices.

    Raises:
        SpecError: for an engine that is not driven over HTTP.
        WorkloadError: when the workload does not fit it, or too few requests are offered to judge.
        EngineError: when the engine fails on the way.
    """
    able(engine, Serves)
    phases = _Phases(engine, workload, plan, processes, tell)
    phases.warm_up()
    result, single = phases.single()
    sound = result.finished
    if single.failed:
        return Overload(0.0, 0, None, 0.0, 0.0, plan.seconds, single, Counts())
    unloaded = [figures.ttft_of(one) for one in sound]
    phases.lead = figures.percentile(unloaded, 50) or 0.0
    closed = phases.capacity()
    good, tokens = [one for one in closed.sound if keeps(one, plan.slo)], figures.mean_tokens(closed.sound)
    before = Overload(
        capacity=closed.rate,
        concurrency=closed.concurrency,
        unloaded_ttft=phases.lead,
        goodput_at_capacity=figures.rate_within(good, figures.closed_window(closed.result), phases.lead, tokens),
        offered=closed.rate * plan.factor,
        seconds=plan.seconds,
        single=single,
        closed=closed.counts,
        client=_client("the closed loop", closed.result),
        vram_before=vram(),
    )
    if closed.counts.failed or not closed.rate:
        return before
    took = figures.percentile([one.last_token_ts - one.queued_ts for one in sound], 50) or 0.0
    run = phases.overload(before.offered, took)
    return replace(_seen(before, plan, run, unloaded, tokens), vram_after=vram())


def _seen(
    before: Overload,
    plan: OverloadPlan,
    run: tuple[RunResult, Mapping[int, int], int],
    unloaded: Sequence[float],
    tokens: float,
) -> Overload:
    """What was seen of the overload and after it, beside what was before."""
    result, asked, count = run
    load = [one for one in result.requests if one.index < count]
    probes = [one for one in result.requests if one.index >= count]
    served = result.served
    assert served is not None  # only engines that are driven over HTTP come here
    end = max(one.queued_ts for one in load)
    sound = [one for one in load if figures.complete(one, asked)]
    kept = [one for one in sound if keeps(one, plan.slo)]
    ttfts = [figures.ttft_of(one) for one in sound]
    shed = [one.answer for one in load if one.answer is not None and one.answer.failure == "shed"]
    filling = before.concurrency / (before.offered - before.capacity)  # what arrives and is not served fills it
    span = (min(one.queued_ts for one in load), end)
    window = figures.full_window(served.in_flight, before.concurrency, span, filling)
    return replace(
        before,
        load=figures.counts(load, plan.slo, asked),
        goodput_rate=figures.rate_within(kept, window, before.unloaded_ttft or 0.0, tokens),
        ttft_p50=figures.percentile(ttfts, 50),
        ttft_p99=figures.percentile(ttfts, 99),
        shed_p99=figures.percentile([(one.end_ns - one.due_ns) * _NS for one in shed], 99),
        retry_after=sum(one.retry_after is not None for one in shed),
        in_flight_max=max((number for _, number in served.in_flight), default=0),
        queue_max=None if served.server is None else served.server.waiting_max,
        recovery=figures.recovery(probes, plan.slo, asked, end, figures.as_before(unloaded, plan.margin)),
        client=(*before.client, *_client("the overload", result)),
        notes=served.notes,
    )


def _client(phase: str, result: RunResult) -> tuple[str, ...]:
    """Why the load generator was the limit of a phase: by its own audit, or where it could open no connection."""
    served = result.served
    if served is None:
        return ()
    refused = [one.detail for one in served.answers if one.failure == "connect"]
    own = [detail for detail in refused if any(words in detail for words in OWN_LIMITS)]
    limits = [client.limit(served), f"{len(own):,} requests had no connection: {own[0]}" if own else ""]
    return tuple(f"{phase}: {limit}" for limit in limits if limit)
