"""An overload of a gateway with backpressure and a circuit breaker: a good one, and what one may get wrong in it.

The gateway's capacity is a matter of slots and of fixed times, not of this machine. Promises and margins are wide.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from pytest_vllmperf.engines.endpoint import EndpointEngine
from pytest_vllmperf.lab import overloading
from pytest_vllmperf.loadgen.addresses import server_of
from pytest_vllmperf.loadgen.calls import Address
from pytest_vllmperf.loadgen.listing import ServedModel
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.overload import Overload, OverloadPlan
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.validity import client
from pytest_vllmperf.verdict.overload import problems_of
from pytest_vllmperf.workload import Workload
from tests.serving.gateways import gateway

PLAN = OverloadPlan(Slo(ttft=1.0), factor=3.0, seconds=4.0, margin=0.4, recovery=2.5)
WORK = Workload.synthetic(requests=10, input_tokens=8, output_tokens=4)
AT_CAPACITY = WORK.at(concurrency=2)

log = logging.getLogger(__name__)


def overload(
    *arguments: str,
    workload: Workload = AT_CAPACITY,
    plan: OverloadPlan = PLAN,
    tell: Callable[[str], None] = log.info,
    vram: Callable[[], int | None] = lambda: None,
) -> tuple[Overload, list[str]]:
    """What a gateway does, and what does not hold."""
    with gateway(*arguments) as url:
        spec = EngineSpec.create("scripted", backend="endpoint", url=url)
        address = Address(server_of(url), "scripted")
        engine = EndpointEngine(spec, address, ServedModel(), Timeouts(start=30.0, operation=60.0))
        seen = overloading.overload(engine, workload, plan, 1, tell, vram)
    log.info("%s", seen)
    return seen, problems_of(seen, plan)


def test_a_gateway_with_a_bounded_queue_and_a_breaker_that_closes_comes_through() -> None:
    held = iter((1000, 2000))
    seen, problems = overload(vram=lambda: next(held))
    assert problems == []
    load, recovery = seen.load, seen.recovery
    assert load is not None
    assert recovery is not None
    # Two slots of 0.22 s each; on a busy machine somewhat less.
    assert 4.5 < seen.capacity < 9.5
    assert seen.offered == pytest.approx(3 * seen.capacity)
    assert load.due == seen.answered + seen.shed == round(seen.offered * 4)
    assert load.answered == load.kept
    assert seen.shed > seen.answered > 0
    assert seen.retry_after == seen.shed
    assert seen.broken == {}
    assert seen.refused == 0
    assert seen.unloaded_ttft is not None
    assert seen.ttft_p50 is not None
    assert seen.ttft_p50 > seen.unloaded_ttft
    assert seen.recovery_seconds is not None
    assert recovery.counts.answered == recovery.counts.due > 2
    assert (seen.vram_before, seen.vram_after) == (1000, 2000)
    assert seen.queue_max is None  # the gateway has no /metrics


@pytest.mark.parametrize(
    ("flaw", "line"),
    [
        ("endless-queue", "queues for too long: "),
        ("never-closes", "does not recover within 2.5 s: "),
        pytest.param("panic", "sheds too much: ", marks=pytest.mark.long),
        pytest.param("grudge", "does not recover within 2.5 s: ", marks=pytest.mark.long),
        pytest.param("leak", "does not recover within 2.5 s: TTFT ", marks=pytest.mark.long),
        pytest.param("slow-refusal", "refuses late: ", marks=pytest.mark.long),
    ],
)
def test_what_a_gateway_gets_wrong_has_its_own_line(flaw: str, line: str) -> None:
    _, problems = overload("--flaw", flaw)
    assert [one for one in problems if one.startswith(line)], problems


def test_accepted_requests_that_break_are_told_by_kind() -> None:
    seen, problems = overload("--flaw", "breaks")
    assert set(seen.broken) == {"cut", "error", "short"}
    (line,) = [one for one in problems if one.startswith("breaks requests: ")]
    for words in ("cut off", "ended by an error", "ended with too few tokens"):
        assert words in line


def test_a_gateway_that_sheds_below_its_capacity_is_not_overloaded_at_all() -> None:
    seen, problems = overload("--flaw", "jumpy")
    assert seen.load is None
    (line,) = problems
    assert line.startswith("fails below capacity: ")
    assert "shed with 429 or 503" in line


@pytest.mark.long
def test_the_capacity_is_searched_for_and_a_breaker_that_the_search_opened_closes_first() -> None:
    told: list[str] = []
    seen, problems = overload("--queue", "0", workload=WORK, tell=told.append)
    assert seen.concurrency == 2
    assert told.index("4 requests in flight") < told.index("one request") < told.index(told[-1])
    assert "8 requests in flight" not in told
    assert not [one for one in problems if one.startswith("fails ")], problems


def test_a_concurrency_above_what_the_gateway_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "limit", lambda served: "scripted")
    seen, problems = overload("--slots", "1", "--queue", "0", workload=WORK.at(concurrency=4))
    (line,) = problems
    assert line.startswith("fails at capacity: ")
    assert "closed loop with 4 in flight" in line
    assert seen.client == ("the closed loop: scripted",)
