"""The phases of an overload, on a server in virtual time whose capacity is known."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import SpecError, WorkloadError
from pytest_vllmperf.lab import overloading
from pytest_vllmperf.lab.overloading import repeated
from pytest_vllmperf.loadgen.job import Server
from pytest_vllmperf.loadgen.opening import Opener
from pytest_vllmperf.records.overload import Overload, OverloadPlan
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.verdict.overload import problems_of
from pytest_vllmperf.workload import Workload
from tests.lab.virtual_server import VirtualServer

PLAN = OverloadPlan(Slo(ttft=2.0), seconds=30.0)
# 19 gaps of 50 ms after 0.1 s: 1.05 s a request.
WORK = Workload.synthetic(requests=10, input_tokens=8, output_tokens=20)
A_REQUEST_S = 1.05

log = logging.getLogger(__name__)


def drive(server: VirtualServer, workload: Workload = WORK, plan: OverloadPlan = PLAN) -> Overload:
    return overloading.overload(server, workload, plan, None, log.info, lambda: None)


def test_a_server_with_a_bounded_queue_stands_it_with_the_figures_that_it_has() -> None:
    seen = drive(VirtualServer(slots=4, queue=4), WORK.at(concurrency=4))
    assert problems_of(seen, PLAN) == []
    assert seen.capacity == pytest.approx(4 / A_REQUEST_S, rel=1e-3)
    assert seen.goodput_at_capacity == pytest.approx(seen.capacity)
    assert seen.goodput_rate == pytest.approx(seen.capacity, rel=0.02)
    assert seen.offered == pytest.approx(3 * seen.capacity)
    assert seen.unloaded_ttft == pytest.approx(0.1)
    assert seen.load is not None
    assert seen.load.due == round(seen.offered * 30)
    assert seen.shed / seen.load.due == pytest.approx(2 / 3, abs=0.05)
    assert 8 < seen.in_flight_max < 12  # 4 slots, a queue of 4, and those that are being refused
    assert seen.queue_max == 7.0
    assert seen.shed_p99 == pytest.approx(0.001)
    assert seen.recovery is not None
    assert seen.recovery_seconds is not None
    assert 0.5 <= seen.recovery_seconds < 3.0


@pytest.mark.parametrize("seed", range(5))
def test_streams_as_long_as_the_overload_and_of_any_length_bias_nothing(seed: int) -> None:
    """Up to 20 s each, within 30 s: requests that are half done at an end count for what was done."""
    work = Workload.synthetic(requests=10, input_tokens=8, output_tokens=(50, 400), seed=seed)
    seen = drive(VirtualServer(slots=16, queue=8), work.at(concurrency=16), replace(PLAN, slo=Slo(ttft=60.0)))
    assert seen.goodput_rate == pytest.approx(seen.goodput_at_capacity, rel=0.03)


@pytest.mark.parametrize(("slots", "queue"), [(1, 4), (4, 0), (4, None), (6, 20)])
def test_the_capacity_is_found_without_a_concurrency(slots: int, queue: int | None) -> None:
    seen = drive(VirtualServer(slots, queue))
    assert slots / 2 < seen.concurrency <= 2 * slots
    # Doubling may pass between the slots and their double where nothing can wait.
    assert slots / A_REQUEST_S * 0.95 <= seen.capacity <= slots / A_REQUEST_S * 1.01


def test_the_rate_of_the_workload_itself_does_not_count() -> None:
    seen = drive(VirtualServer(slots=4, queue=4), WORK.at(rate=0.5, seconds=1.0))
    assert seen.capacity == pytest.approx(4 / A_REQUEST_S, rel=0.01)


def test_an_endless_queue_loses_its_goodput() -> None:
    seen = drive(VirtualServer(slots=4, queue=None), WORK.at(concurrency=4))
    assert seen.load is not None
    assert seen.load.failed == 0
    assert seen.goodput_rate < 0.2 * seen.goodput_at_capacity
    assert [line.split(":")[0] for line in problems_of(seen, PLAN)] == [
        "queues for too long",
        "does not recover within 10 s",
    ]


def test_a_server_that_refuses_everybody_at_first_has_lost_that_time() -> None:
    """However full it is afterwards."""
    seen = drive(VirtualServer(slots=16, queue=16, deaf=15.0), WORK.at(concurrency=16))
    assert seen.goodput_rate < 0.6 * seen.goodput_at_capacity
    assert [line.split(":")[0] for line in problems_of(seen, PLAN)] == ["sheds too much"]


def test_a_load_that_is_no_overload_is_no_pass() -> None:
    """One request in flight at a server of fifty slots: three times that rate is nothing to it."""
    seen = drive(VirtualServer(slots=50, queue=4), WORK.at(concurrency=1))
    assert seen.shed == 0
    (line,) = problems_of(seen, PLAN)
    assert line.startswith("was not overloaded: all ")


def test_a_promise_that_is_not_kept_at_capacity_is_told() -> None:
    seen = drive(VirtualServer(slots=4, queue=4), WORK.at(concurrency=4), replace(PLAN, slo=Slo(ttft=0.05)))
    assert problems_of(seen, PLAN)[0].startswith("does not meet the SLO at capacity: 0 of 16 requests")


def test_a_server_that_sheds_everything_is_not_overloaded_at_all() -> None:
    seen = drive(VirtualServer(slots=0, queue=0), plan=replace(PLAN, recovery=0.1))
    assert (seen.load, seen.capacity, seen.unloaded_ttft) == (None, 0.0, None)
    assert problems_of(seen, PLAN) == [
        "fails below capacity: 10 of 10 requests sent one at a time were not answered (10 shed with 429 or 503)"
    ]


def test_a_server_that_always_gives_fewer_tokens_does_not_break_them_under_load() -> None:
    seen = drive(VirtualServer(slots=4, queue=4, most_tokens=10), WORK.at(concurrency=4))
    assert seen.broken == {}
    assert problems_of(seen, PLAN) == []


def test_connections_that_this_machine_has_not_left_make_the_client_the_limit() -> None:
    seen = drive(VirtualServer(slots=4, queue=None, connections=10), WORK.at(concurrency=4))
    assert seen.refused > 0
    (line,) = seen.client
    assert line.startswith(
        f"the overload: {seen.refused} requests had no connection: a client process can have at most "
    )


def test_the_words_by_which_that_is_known_are_those_of_the_load_generator() -> None:
    words = Opener(Server("127.0.0.1", 1), 1.0, keep_alive=True, most=1).limit()
    assert any(own in words for own in overloading.OWN_LIMITS)


def test_a_load_of_a_few_requests_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"for seconds=1 give only 11 requests, too few to judge; .* 2"):
        drive(VirtualServer(slots=4, queue=4), WORK.at(concurrency=4), replace(PLAN, seconds=1.0))


def test_an_engine_without_http_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot be sent requests over HTTP"):
        overloading.overload(
            SimulatedEngine(EngineSpec.create("sim", backend="simulated")), WORK, PLAN, 1, log.info, lambda: None
        )


def test_synthetic_requests_are_new_ones_each_time() -> None:
    work = replace(WORK.at(rate=3.0, seconds=5.0), seed=7)
    first, second = (repeated(work, 30, sent).requests(1000) for sent in (0, 30))
    prompts = {one.prompt_token_ids for one in (*first, *second)}
    assert len(prompts) == 60
    assert not repeated(work, 30, 0).needs_server


def test_listed_requests_come_again_from_where_they_ended() -> None:
    work = Workload.prompts(["a", "b", "c"], output_tokens=4)
    assert [one.prompt for one in repeated(work, 5, 2).requests(1000)] == ["c", "a", "b", "c", "a"]


def test_lengths_come_along_with_their_requests_and_turns_wait_for_none() -> None:
    talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "a" * 40}]
    work = Workload.conversations([[*talk, *talk], [talk[0], {"role": "assistant", "content": "b" * 400}]])
    found = repeated(work, 6, 1).requests(1000)
    assert [one.output_tokens for one in found] == [10, 100, 10, 10, 100, 10]
    assert [one.after for one in found] == [None] * 6
