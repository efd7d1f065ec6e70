"""The search for the highest rate, on a server that is a queue with a known capacity; no time passes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.engines.over_http import Sent, ServerUse, run_result
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import SpecError, WorkloadError
from pytest_vllmperf.lab.searching import find_rate, rate_search, unusable
from pytest_vllmperf.loadgen import audit
from pytest_vllmperf.loadgen.addresses import Address
from pytest_vllmperf.loadgen.job import Server
from pytest_vllmperf.records.answers import Answer, ClientAudit
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.rates import RateSearch
from pytest_vllmperf.records.run import MeasureSettings, RunResult
from pytest_vllmperf.records.served import Served, Slo
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request, Workload

SECOND = 10**9
WORKLOAD = Workload.synthetic(requests=400, input_tokens=4, output_tokens=10)
ONCE = MeasureSettings(warmup=1, iterations=3)
SEARCH = RateSearch(Slo(ttft=0.5), 0.95)


class Queue(SimulatedEngine):
    """So many slots, each of which serves a request in so many seconds; the others wait in order."""

    def __init__(self, slots: int, seconds: float = 0.2) -> None:
        super().__init__(EngineSpec.create("queue", backend="simulated"))
        self.slots, self.seconds = slots, seconds
        self.address = Address(Server("127.0.0.1", 1), "queue")
        self.rates: list[float | None] = []

    def reset_prefix_cache(self) -> None:
        """Nothing is cached."""

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        self.rates.append(sampling.arrivals.rate)
        due = sampling.arrivals.schedule(len(requests), sampling.seed) or [0] * len(requests)
        free = [0.0] * self.slots
        answers = []
        for request, at in zip(requests, due, strict=True):
            begin = max(heapq.heappop(free), at / SECOND)
            heapq.heappush(free, begin + self.seconds)
            answers.append(answer(request.index, at, int((begin + self.seconds / 2) * SECOND), self.seconds))
        served = Served(ClientAudit(0, 0, None, None, ()), tuple(answers), in_flight=audit.in_flight(answers))
        return run_result(Sent(served, 1.0), ServerUse())


def answer(index: int, due: int, first: int, seconds: float) -> Answer:
    last = first + int(seconds / 2 * SECOND)
    return Answer(index, due, due, first, first, last, last, prompt_tokens=4, output_tokens=10, finish_reason="length")


def quiet(_: str) -> None:
    """Progress that nobody looks at."""


@pytest.mark.parametrize("slots", [4, 16])
def test_the_highest_rate_of_a_queue_lies_below_its_capacity(slots: int) -> None:
    capacity = slots / 0.2
    found = find_rate(Queue(slots), WORKLOAD, ONCE, SEARCH, quiet)
    assert 0.75 * capacity < found.rate.rate < 1.1 * capacity
    assert found.rate.low <= found.rate.rate <= found.rate.high
    assert found.rate.bounded
    assert found.rate.reached
    assert unusable(found.rate, SEARCH) == ""
    assert len(found.run.iterations) == SEARCH.replicates
    assert all(result.max_rate and not result.requests for result in found.run.iterations)


def test_twice_the_slots_is_about_twice_the_rate() -> None:
    few, many = (find_rate(Queue(slots), WORKLOAD, ONCE, SEARCH, quiet).rate.rate for slots in (8, 16))
    assert 1.7 < many / few < 2.4


def test_a_tighter_promise_is_kept_up_to_a_lower_rate() -> None:
    loose, tight = (
        find_rate(Queue(8), WORKLOAD, ONCE, replace(SEARCH, slo=Slo(ttft=ttft)), quiet).rate.rate
        for ttft in (2.0, 0.12)
    )
    assert tight < loose


def test_rates_are_tried_in_turns_and_as_often_as_asked() -> None:
    queue = Queue(4)
    found = find_rate(queue, WORKLOAD, ONCE, replace(SEARCH, replicates=4), quiet)
    assert all(len(one.shares) in (1, 4) for one in found.rate.tried)
    last = [rate for rate in queue.rates if rate is not None][-5:]
    assert len(set(last)) == 5


def test_a_promise_that_no_rate_keeps() -> None:
    search = replace(SEARCH, slo=Slo(ttft=0.01))
    found = find_rate(Queue(4), WORKLOAD, ONCE, search, quiet)
    assert unusable(found.rate, search).startswith("no rate keeps the promise (ttft=0.01s goodput=0.95 poisson)")


def test_rates_at_which_requests_are_alone_are_not_lowered() -> None:
    queue = Queue(4)
    found = find_rate(queue, WORKLOAD, ONCE, replace(SEARCH, slo=Slo(ttft=0.01)), quiet)
    # An answer takes 0.2 s: at one request a second a fifth of a request is in flight.
    assert 0.5 < found.rate.rate < 1.3
    assert all(len(one.shares) == 1 for one in found.rate.tried)
    assert len(found.run.iterations) == 1


def test_a_promise_that_every_rate_keeps() -> None:
    few = WORKLOAD.synthetic(requests=20, input_tokens=4, output_tokens=10)
    search = replace(SEARCH, slo=Slo(ttft=60.0))
    found = find_rate(Queue(4, seconds=0.01), few, ONCE, search, quiet)
    if not found.rate.bounded:
        assert "send more requests at each rate, or make the promise stricter" in unusable(found.rate, search)
    else:  # requests piled up, which is a bound as well
        assert any(one.saturated for one in found.rate.tried)


def test_a_rate_at_which_requests_pile_up_counts_as_broken() -> None:
    patient = replace(SEARCH, slo=Slo(ttft=3600.0))
    found = find_rate(Queue(4), WORKLOAD, ONCE, patient, quiet)
    assert found.rate.bounded
    assert any(one.saturated and min(one.shares) == 0 for one in found.rate.tried)
    assert 0.75 * 20 < found.rate.rate < 1.3 * 20


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"replicates": 0}, "replicates=0 must be a whole number of at least 1"),
        ({"arrivals": "gamma"}, "arrivals='gamma' is none of poisson, constant"),
        ({"goodput": 0.999}, "100 requests x 3 replicates cannot tell a goodput of 0.999"),
    ],
)
def test_what_cannot_be_searched_is_refused(given: dict[str, Any], words: str) -> None:
    asked = {"goodput": 0.95, "replicates": 3, "arrivals": "poisson", **given}
    with pytest.raises((SpecError, WorkloadError), match=words):
        rate_search(Slo(ttft=1.0), requests=100, **asked)


def test_the_key_of_a_search_says_what_was_promised() -> None:
    assert SEARCH.key == "ttft=0.5s goodput=0.95 poisson"
    assert replace(SEARCH, replicates=9).key == SEARCH.key
